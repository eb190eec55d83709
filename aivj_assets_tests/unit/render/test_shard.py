"""What a shard does before it needs a browser."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from aivj_assets.contracts.frames_index import FailedRecord
from aivj_assets.contracts.render_parameters import PageDescription, RenderParameters
from aivj_assets.errors import UserError
from aivj_assets.render.environment import RenderEnvironment
from aivj_assets.render.page_calls import answer_limits, has_webgl, max_image_bytes, read_description
from aivj_assets.render.probe import build_payload, outer_timeout_s
from aivj_assets.render.shard import render_shard

PAGE = PageDescription(engine="butterchurn", engine_version="3", page_version="1", renderer="llvmpipe")


@pytest.fixture
def no_browser(tmp_path: Path) -> RenderEnvironment:
    """An environment whose browser does not exist: a shard that starts one fails."""
    return RenderEnvironment(tmp_path / "none", "system", tmp_path, tmp_path, is_root=False, platform="linux")


def test_files_that_are_no_presets_need_no_browser(small_batch: Any, no_browser: RenderEnvironment) -> None:
    small_batch.add("empty", b"\n \n")
    small_batch.add("binary", b"a\0b")
    small_batch.add("missing", None)
    small_batch.add("large", b"x" * 300_000)
    small_batch.add("escaping", None, rel_path="pack/../../../../etc/passwd.json")
    small_batch.add("kind", None, rel_path="pack/notes.txt")
    shard = small_batch.plan(RenderParameters(log_every=2), PAGE).shards[0]
    heard: list[Any] = []
    lines: list[str] = []
    outcome = render_shard(shard, environment=no_browser, on_record=heard.append, say=lines.append)
    assert (outcome.ok, outcome.failed, outcome.left, outcome.browsers_started) == (0, 6, 0, 0)
    records = small_batch.records()
    assert list(records.values()) == heard
    assert {key: record.reasons for key, record in records.items() if isinstance(record, FailedRecord)} == {
        "empty": ["empty"],
        "binary": ["binary-nul"],
        "missing": ["read-failed"],
        "large": ["read-failed"],
        "escaping": ["read-failed"],
        "kind": ["read-failed"],
    }
    assert len(lines) == 3
    # Nothing has changed: nothing is left to do.
    assert small_batch.plan(RenderParameters(), PAGE).pending == ()


def test_after_the_deadline_no_preset_is_started(small_batch: Any, no_browser: RenderEnvironment) -> None:
    small_batch.add("p0", "{}")
    shard = small_batch.plan(RenderParameters(), PAGE).shards[0]
    late = shard.model_copy(update={"deadline_epoch_s": time.time() - 1})
    outcome = render_shard(late, environment=no_browser)
    assert (outcome.ok, outcome.failed, outcome.left) == (0, 0, 1)
    assert outcome.stop_reason == "stopAfterSec is over"
    assert small_batch.records() == {}


def test_a_missing_browser_is_raised_once_and_loses_nothing(small_batch: Any, no_browser: RenderEnvironment) -> None:
    small_batch.add("empty", b"")
    small_batch.add("p0", "{}")
    shard = small_batch.plan(RenderParameters(), PAGE).shards[0]
    with pytest.raises(UserError, match="does not start"):
        render_shard(shard, environment=no_browser)
    assert list(small_batch.records()) == ["empty"]


def test_the_payload_is_the_contracts() -> None:
    parameters = RenderParameters(format="jpeg", audio_seed=7, bpm=140, timeout_ms=45_000)
    assert build_payload(parameters, "pack/a.milk", "text") == {
        "url": "pack/a.milk",
        "presetData": "text",
        "width": 256,
        "height": 144,
        "outSize": 224,
        "warmupFrames": 60,
        "captureCount": 3,
        "captureEvery": 30,
        "timeoutMs": 45_000,
        "format": "jpeg",
        "webpQuality": 0.92,
        "audio": "synthetic",
        "timeMode": "fixedStep",
        "fixedStepFps": 30,
        "audioSeed": 7,
        "bpm": 140.0,
    }


@pytest.mark.parametrize(("timeout_ms", "seconds"), [(1000, 4), (9000, 12), (30_000, 40), (90_000, 100)])
def test_the_outer_deadline_leaves_the_page_time_to_answer(timeout_ms: int, seconds: float) -> None:
    assert outer_timeout_s(timeout_ms) == pytest.approx(seconds)


def test_limits_hold_an_uncompressed_image() -> None:
    limits = answer_limits(RenderParameters(out_size=224, capture_count=3))
    assert limits["frames"] == 4
    assert limits["imageChars"] * 3 / 4 >= max_image_bytes(224) >= 224 * 224 * 4


@pytest.mark.parametrize("told", [None, [], {"engine": 7, "rendererUnmasked": None, "converterVersions": []}])
def test_a_page_that_tells_nothing_has_the_browsers_renderer(told: Any) -> None:
    page = read_description(told, "ANGLE (Mesa, llvmpipe)")
    assert page == PageDescription(engine="", engine_version="", page_version="", renderer="ANGLE (Mesa, llvmpipe)")


@pytest.mark.parametrize(
    ("told", "usable"),
    [
        ({"webgl2": True, "rendererUnmasked": "ANGLE (NVIDIA)"}, True),
        ({"webgl2": False, "rendererUnmasked": None}, False),
        ({"webgl2": True, "rendererUnmasked": None}, False),
        ({"webgl2": True, "rendererUnmasked": ""}, False),
        (None, False),
    ],
)
def test_a_page_that_lost_webgl_is_known(told: Any, usable: bool) -> None:
    assert has_webgl(told) is usable


def test_converters_decide_the_description() -> None:
    told = {"engine": "butterchurn", "engineVersion": "3", "pageVersion": "1", "rendererUnmasked": "GPU"}
    plain = read_description(told, "x")
    assert plain.renderer == "GPU"
    assert read_description({**told, "converterVersions": {"b": "1", "a": "2"}}, "x") != plain
