"""Talking to a render page about presets: payload, prewarm, and what a browser on this machine renders with."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from typing import Any

from aivj_assets.contracts.render_parameters import SILENCE, PageDescription, RenderParameters, given_sound
from aivj_assets.contracts.sound_file import load_sound
from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot
from aivj_assets.render.environment import BrowserReport, RenderEnvironment
from aivj_assets.render.session import BrowserError, RenderSession

logger = logging.getLogger(__name__)

# The smallest preset there is: engine and GPU get their first work from it, not from a preset that may be hostile.
_PREWARM_PRESET = "[preset00]\nfDecay=0.98\nnWaveMode=0\n"
_PREWARM_URL = "prewarm.milk"


def build_payload(parameters: RenderParameters, rel_path: str, text: str) -> dict[str, Any]:
    """Return the payload of `__nw_dumpPresetFrames` for one preset (CONTRACTS: The render page's function)."""
    return {
        "url": rel_path,
        "presetData": text,
        "width": parameters.width,
        "height": parameters.height,
        "outSize": parameters.out_size,
        "warmupFrames": parameters.warmup_frames,
        "captureCount": parameters.capture_count,
        "captureEvery": parameters.capture_every,
        "timeoutMs": parameters.timeout_ms,
        "format": parameters.format,
        "webpQuality": parameters.webp_quality,
        "audio": parameters.audio,
        "timeMode": parameters.time_mode,
        "fixedStepFps": parameters.fixed_step_fps,
        "audioSeed": parameters.audio_seed,
        "bpm": parameters.bpm,
    }


def sound_fields(root: DataRoot, parameters: RenderParameters) -> Mapping[str, Any]:
    """Return the fields of a payload that hold the sound which `audio` names by its digest; none for another sound.

    The samples last as long as the rendering. Raises `UserError` when the data root does not hold that sound.
    """
    digest = given_sound(parameters.audio)
    if digest is None:
        return {}
    heard = load_sound(root.sound(digest), digest).first(simulated_s(parameters))
    return {"audioSamples": base64.b64encode(heard.samples.tobytes()).decode(), "audioChannels": heard.channels}


def simulated_s(parameters: RenderParameters) -> float:
    """Return how much time passes from a preset's first frame to its last capture."""
    frames = parameters.warmup_frames + parameters.capture_count * parameters.capture_every
    return frames / parameters.fixed_step_fps


def outer_timeout_s(timeout_ms: int) -> float:
    """Return how long a call may take before the page is taken for hung: its own deadline and 3 to 10 s on top."""
    return timeout_ms / 1000 + min(10.0, max(3.0, timeout_ms / 3000))


def ask_prewarm(session: RenderSession, parameters: RenderParameters) -> Any:
    """Make the prewarm call once and return the page's answer, unchecked; raises `BrowserError` as `dump` does."""
    payload = build_payload(parameters, _PREWARM_URL, _PREWARM_PRESET)
    payload |= {"captureCount": 0, "warmupFrames": 2, "timeoutMs": parameters.prewarm_timeout_ms}
    if given_sound(parameters.audio) is not None:
        payload["audio"] = SILENCE
    return session.dump(payload, outer_timeout_s(parameters.prewarm_timeout_ms))


def no_answer(error: BrowserError) -> str:
    """Return the one line for a page that does not answer its prewarm call."""
    return (
        f"The render page does not answer its prewarm call ({error}): raise prewarmTimeoutMs, or set headless false to "
        "see what the browser does."
    )


def prewarm(session: RenderSession, parameters: RenderParameters) -> None:
    """Make one probe call without captures; raises `UserError` when the page does not answer twice."""
    for attempt in (1, 2):
        try:
            answer = ask_prewarm(session, parameters)
        except BrowserError as error:
            if attempt == 2:
                raise UserError(no_answer(error)) from None
            session.recover()
        else:
            if not isinstance(answer, dict) or answer.get("ok") is not True:
                logger.info("the prewarm call was refused; rendering goes on: %s", str(answer)[:300])
            return


def check_renderer(report: BrowserReport, expected: PageDescription, parameters: RenderParameters) -> None:
    """Raise `UserError` when a started browser is not the one that was planned with, or is no GPU where one must be."""
    check_gpu(report, parameters)
    if report.page == expected:
        return
    if report.page.renderer != expected.renderer:
        raise UserError(
            f"This browser renders with '{report.page.renderer}', the batch was planned with '{expected.renderer}': "
            "frames of two renderers are never mixed. Free the GPU, or run again so that the batch is planned anew."
        )
    raise UserError(
        f"The render page is another one than the batch was planned with ({_differences(report.page, expected)}): run "
        "again, so that the batch is planned anew."
    )


def check_gpu(report: BrowserReport, parameters: RenderParameters) -> None:
    """Raise `UserError` when `requireGpu` is set and the renderer is software."""
    if parameters.require_gpu and report.renderer_class != "gpu":
        raise UserError(
            f"requireGpu is set, but WebGL runs on '{report.page.renderer}' ({report.renderer_class}): "
            "update the graphics driver, try headless false, or unset requireGpu."
        )


def describe_renderer(environment: RenderEnvironment, parameters: RenderParameters) -> BrowserReport:
    """Start a browser once, return what it and its page say of themselves, and end it.

    Raises `UserError` with what to do: the browser does not start, has no WebGL2, is no GPU where one is required, or
    the page does not load.
    """
    with RenderSession(environment, parameters) as session:
        report = session.describe()
    check_gpu(report, parameters)
    return report


def _differences(page: PageDescription, expected: PageDescription) -> str:
    """Name the fields that two descriptions differ in: `pageVersion 4 in place of 3`."""
    now, before = page.to_json(), expected.to_json()
    names = [name for name in {**before, **now} if now.get(name) != before.get(name)]
    return "; ".join(f"{name} {now.get(name) or 'untold'} in place of {before.get(name) or 'untold'}" for name in names)
