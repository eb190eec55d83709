from typing import Any

import pytest
from pydantic import ValidationError

from aivj_assets.contracts.render_parameters import (
    PageDescription,
    RenderParameters,
    fingerprint,
    operational_parameters,
    pixel_parameters,
)
from aivj_assets_tests.builders import PAGE

PIXEL_CHANGES: list[dict[str, Any]] = [
    {"width": 512}, {"height": 288}, {"outSize": 112}, {"format": "png"}, {"webpQuality": 0.5},
    {"timeMode": "realtime"},
    {"fixedStepFps": 60}, {"warmupFrames": 90}, {"captureCount": 1}, {"captureEvery": 60}, {"audio": "silence"},
    {"audioSeed": 2}, {"bpm": 140}, {"probeUrl": "http://127.0.0.1:5174/preset-probe.html"},
]  # fmt: skip
OPERATIONAL_CHANGES: list[dict[str, Any]] = [
    {"manifest": "x"}, {"outDir": "x"}, {"resume": False}, {"retryFailed": True}, {"headless": False},
    {"prewarm": False}, {"prewarmTimeoutMs": 5000}, {"timeoutMs": 45000}, {"refreshEvery": 50}, {"retryTimes": 0},
    {"presetDelayMs": 7}, {"logEvery": 1}, {"stopAfterSec": 9.0}, {"renderer": "gpu"}, {"requireGpu": True},
]  # fmt: skip


def made(**parameters: Any) -> str:
    return fingerprint(pixel_parameters(RenderParameters.model_validate(parameters), PAGE))


def test_every_parameter_is_of_one_kind() -> None:
    pixels = pixel_parameters(RenderParameters(), PAGE)
    operational = operational_parameters(RenderParameters(manifest="m", out_dir="o"))
    aliases = {info.alias for info in RenderParameters.model_fields.values()}
    # `renderer` is asked for in one set (gpu, software) and found in the other (the WebGL string).
    of_page = {"engine", "engineVersion", "pageVersion", "renderer"}
    assert set(pixels) & set(operational) == {"renderer"}
    assert set(pixels) | set(operational) == aliases | of_page
    assert {name for change in PIXEL_CHANGES for name in change} == set(pixels) - of_page
    assert {name for change in OPERATIONAL_CHANGES for name in change} == set(operational)


@pytest.mark.parametrize("change", PIXEL_CHANGES, ids=str)
def test_what_decides_the_pictures_changes_the_fingerprint(change: dict[str, Any]) -> None:
    assert made(**change) != made()


@pytest.mark.parametrize("change", OPERATIONAL_CHANGES, ids=str)
def test_what_does_not_decide_the_pictures_leaves_the_fingerprint(change: dict[str, Any]) -> None:
    assert made(**change) == made()


def test_pages_of_the_app_at_two_addresses_are_two_pages() -> None:
    assert pixel_parameters(RenderParameters(), PAGE)["probeUrl"] is None
    assert made(probeUrl="http://127.0.0.1:5174/a.html") != made(probeUrl="http://127.0.0.1:5174/b.html")


@pytest.mark.parametrize("field", ["engine", "engine_version", "page_version", "renderer"])
def test_the_page_and_the_gpu_belong_to_the_fingerprint(field: str) -> None:
    other: PageDescription = PAGE.model_copy(update={field: "other"})
    assert fingerprint(pixel_parameters(RenderParameters(), other)) != made()


def test_the_fingerprint_is_sixteen_digits_whatever_the_order() -> None:
    assert fingerprint({"a": 1, "b": "ü"}) == fingerprint({"b": "ü", "a": 1})
    # printf '{"a":1,"b":"ü"}' | sha256sum
    assert fingerprint({"a": 1, "b": "ü"}) == "1a59e522e02ce50a"


@pytest.mark.parametrize(("page", "delay_ms"), [(None, 0), ("http://127.0.0.1:5174/preset-probe.html", 200)])
def test_the_delay_follows_the_page_unless_it_is_set(page: str | None, delay_ms: int) -> None:
    assert RenderParameters(probe_url=page).preset_delay_ms == delay_ms
    assert RenderParameters(probe_url=page, preset_delay_ms=5).preset_delay_ms == 5


@pytest.mark.parametrize(
    "change",
    [
        {"fixedStepFps": 0}, {"captureCount": 0}, {"captureEvery": 0}, {"warmupFrames": -1}, {"refreshEvery": 0},
        {"webpQuality": 0}, {"webpQuality": 1.1}, {"outSize": 8}, {"format": "gif"}, {"timeMode": "wall"},
        {"audioSeed": 2**32}, {"bpm": float("nan")}, {"timeoutMs": 10}, {"stopAfterSec": -1}, {"renderer": "cpu"},
    ],
    ids=str,
)  # fmt: skip
def test_values_that_make_no_sense_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RenderParameters.model_validate(change)


@pytest.mark.parametrize(
    ("image_format", "suffix", "mime"),
    [("webp", "webp", "image/webp"), ("png", "png", "image/png"), ("jpeg", "jpg", "image/jpeg")],
)
def test_image_formats(image_format: str, suffix: str, mime: str) -> None:
    parameters = RenderParameters.model_validate({"format": image_format})
    assert (parameters.suffix, parameters.mime) == (suffix, mime)


@pytest.mark.parametrize(
    ("parameters", "known"),
    [
        ({}, "828538b1dca47da7"),
        ({"audio": "silence"}, "967fc7113e524c6f"),
        ({"probeUrl": "http://127.0.0.1:5174/preset-probe.html"}, "aea86e825f54d5df"),
        ({"audioSeed": 7, "captureCount": 32}, "a77bf1ebeae26e78"),
    ],
)
def test_libraries_that_were_rendered_before_keep_their_fingerprints(parameters: dict[str, Any], known: str) -> None:
    # Taken when there were two sounds; frozen in the profiles of lineages.
    assert made(**parameters) == known


SOUND = f"sha256:{'ab' * 32}"


@pytest.mark.parametrize("audio", ["synthetic:pulse", "synthetic:bursts", "synthetic:sweep", SOUND])
def test_another_sound_is_another_fingerprint(audio: str) -> None:
    assert made(audio=audio) not in {made(), made(audio="silence")}
    assert pixel_parameters(RenderParameters(audio=audio), PAGE)["audio"] == audio


def test_techno_is_the_name_of_the_sound_that_there_was() -> None:
    assert made(audio="synthetic:techno") == made()


@pytest.mark.parametrize("audio", ["", "techno", "synthetic:polka", "sha256:12", "file:", "Silence", "a.wav"])
def test_an_unknown_sound_is_one_line_with_those_there_are(audio: str) -> None:
    with pytest.raises(ValidationError) as refused:
        RenderParameters(audio=audio)
    assert f"'{audio}' is no sound; there are synthetic, synthetic:pulse" in str(refused.value)


@pytest.mark.parametrize("audio", ["silence", "synthetic:pulse", "file:a.wav", SOUND])
def test_the_apps_page_knows_one_sound(audio: str) -> None:
    with pytest.raises(ValidationError, match=r"the app's page \(probeUrl\) knows only synthetic"):
        RenderParameters(audio=audio, probe_url="http://127.0.0.1:5174/preset-probe.html")


def test_a_path_is_never_part_of_a_fingerprint() -> None:
    with pytest.raises(ValueError, match="not decoded"):
        pixel_parameters(RenderParameters(audio="file:a.wav"), PAGE)
