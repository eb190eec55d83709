"""What presets hear: other synthetic sounds, and samples that are handed in."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aivj_assets.contracts.render_parameters import SOUNDS, RenderParameters, fingerprint, pixel_parameters
from aivj_assets.contracts.sound_file import Sound, save_sound
from aivj_assets.layout import DataRoot
from aivj_assets.render.environment import BrowserReport, RenderEnvironment
from aivj_assets.render.probe import build_payload, simulated_s, sound_fields
from aivj_assets.render.session import RenderSession
from aivj_assets_tests.browser.render.workers import render

pytestmark = pytest.mark.browser

SEEN = RenderParameters(
    warmup_frames=20, capture_count=12, capture_every=4, width=32, height=32, out_size=16, format="png"
)


@pytest.fixture(scope="module")
def session(render_environment: RenderEnvironment) -> Iterator[RenderSession]:
    with RenderSession(render_environment, SEEN) as opened:
        yield opened


@pytest.fixture
def look(session: RenderSession, preset_text: Callable[..., str]) -> Callable[..., list[tuple[float, float]]]:
    """What a preset that shows bass in red and treble in green saw of a sound: (red, green) of each capture, 0..255."""
    text = preset_text("a.q1 = a.bass / 4; a.q2 = a.treb / 4;", comp="shader_body { ret = vec3(q1, q2, 0); }")

    def seen(audio: str, **more: Any) -> list[tuple[float, float]]:
        payload = {**build_payload(SEEN, "a.json", text), "audio": audio, **more}
        answer = session.dump(payload, 30)
        assert answer["ok"], answer
        pictures = [Image.open(io.BytesIO(base64.b64decode(frame["b64"]))).convert("RGB") for frame in answer["frames"]]
        return [tuple(np.asarray(picture).reshape(-1, 3).mean(axis=0)[:2]) for picture in pictures]

    return seen


def test_each_sound_shows_in_another_way_and_the_first_is_the_one_that_there_was(
    look: Callable[..., list[tuple[float, float]]],
) -> None:
    shown = {audio: look(audio) for audio in (*SOUNDS, "silence")}
    assert len({str(colours) for colours in shown.values()}) == len(shown)
    bass = {audio: np.std([red for red, _ in colours]) for audio, colours in shown.items()}
    treble = {audio: np.std([green for _, green in colours]) for audio, colours in shown.items()}
    assert bass["synthetic:pulse"] > 20
    assert treble["synthetic:bursts"] > 20
    assert bass["silence"] < 5
    assert treble["silence"] < 5


@pytest.mark.parametrize("channels", [1, 2])
def test_samples_that_are_handed_in_are_heard_as_they_are(
    session: RenderSession, look: Callable[..., list[tuple[float, float]]], tmp_path: Any, channels: int
) -> None:
    root = DataRoot(tmp_path)
    sound = session.synthetic_sound("synthetic:pulse", simulated_s(SEEN))
    sound = Sound(sound.samples[:, :channels])  # left and right are the same here
    save_sound(root.sound(sound.sha256), sound)
    parameters = SEEN.model_copy(update={"audio": f"sha256:{sound.sha256}"})
    fields = sound_fields(root, parameters)
    assert look(parameters.audio, **fields) == look("synthetic:pulse")
    # What lies beyond the end of the samples is silence.
    short = {**fields, "audioSamples": base64.b64encode(bytes([128] * 2 * channels)).decode()}
    assert look(f"sha256:{'0' * 64}", **short) == look("silence")


@pytest.mark.parametrize(
    ("audio", "says"),
    [
        ("synthetic:polka", 'payload.audio must be "synthetic", "synthetic:<sound>", "silence" or'),
        (7, "payload.audio must be"),
        (f"sha256:{'0' * 64}", "payload.audioSamples must hold the samples that payload.audio names"),
    ],
)
def test_a_sound_that_the_page_cannot_make_is_one_line(session: RenderSession, audio: Any, says: str) -> None:
    answer = session.dump({**build_payload(SEEN, "a.json", "{}"), "audio": audio}, 30)
    assert (answer["ok"], answer["reasons"]) == (False, ["probe-error"])
    assert says in answer["errorText"]
    assert "\n" not in answer["errorText"]


def test_a_batch_is_rendered_with_a_kept_sound_which_its_fingerprint_names(
    small_batch: Any,
    session: RenderSession,
    preset_text: Callable[..., str],
    render_environment: RenderEnvironment,
    browser_report: BrowserReport,
) -> None:
    text = preset_text("a.q1 = a.bass / 4;", comp="shader_body { ret = vec3(q1, 0, 0); }")
    small_batch.add("p", text)
    sound = session.synthetic_sound("synthetic:pulse", 5.0)
    save_sound(small_batch.root.sound(sound.sha256), sound)
    parameters = SEEN.model_copy(update={"audio": f"sha256:{sound.sha256}"})
    assert render(small_batch, render_environment, browser_report, parameters).ok == 1
    answer = session.dump({**build_payload(SEEN, "a.json", text), "audio": "synthetic:pulse"}, 30)
    assert small_batch.frame_bytes("p") == [base64.b64decode(frame["b64"]) for frame in answer["frames"]]
    pixels = pixel_parameters(parameters, browser_report.page)
    assert small_batch.records()["p"].fingerprint == fingerprint(pixels)
    assert pixels["audio"] == parameters.audio
