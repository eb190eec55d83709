"""A page's answer is never believed: odd and forged answers are told apart from good ones, and never crash."""

from __future__ import annotations

import base64
import contextlib
import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.render.answer import BadAnswerError, RefusedPreset, RenderedPreset, judge_answer

OWN = RenderParameters(out_size=16, capture_count=2)
APP = RenderParameters(out_size=16, capture_count=2, probe_url="http://127.0.0.1:5174/preset-probe.html")


def image(level: int, side: int = 16) -> dict[str, str]:
    stream = io.BytesIO()
    Image.new("RGB", (side, side), (level, level, level)).save(stream, "WEBP", lossless=True)
    return {"mime": "image/webp", "b64": base64.b64encode(stream.getvalue()).decode()}


def answer(**changes: Any) -> dict[str, Any]:
    good = {
        "ok": True,
        "reasons": [],
        "errorText": "",
        "metrics": {"avgLuma": 0.9, "motion": 0.9},
        "warnings": [],
        "frames": [image(0), image(255)],
        "frameCount": 2,
        "reference": image(0),
    }
    return good | changes


def test_figures_come_from_the_images_not_from_the_page() -> None:
    result = judge_answer(answer(), OWN)
    assert isinstance(result, RenderedPreset)
    assert result.figures.avg_luma == pytest.approx(0.5)
    assert result.figures.motion == pytest.approx(0.5)
    assert [Image.open(io.BytesIO(data)).size for data in result.frames] == [(16, 16)] * 2


def test_the_apps_page_is_believed_within_range_only() -> None:
    result = judge_answer(answer(reference=None), APP)
    assert isinstance(result, RenderedPreset)
    assert (result.figures.avg_luma, result.figures.motion) == (0.9, 0.9)
    for figure in (1.5, -0.1, float("nan"), float("inf"), True, "0.5", None):
        with pytest.raises(BadAnswerError):
            judge_answer(answer(reference=None, metrics={"avgLuma": figure, "motion": 0.1}), APP)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (None, "NoneType"),
        ([], "list"),
        ({"threw": "Error: x"}, "threw: Error: x"),
        (answer(ok=1), "neither true nor false"),
        (answer(ok="true"), "neither true nor false"),
        (answer(frames=None, frameCount=-1), "-1 frames in place of 2"),
        (answer(frames=[image(0)], frameCount=1), "1 frames in place of 2"),
        (answer(frameCount=900), "900 frames in place of 2"),
        (answer(frames=[image(0), None]), "no object"),
        (answer(frames=[image(0), {"mime": "image/webp", "b64": None}]), "too large"),
        (answer(frames=[image(0), {"mime": "text/html", "b64": "PGI+"}]), "text/html in place of image/webp"),
        (answer(frames=[image(0), {"mime": "image/webp", "b64": "%%%"}]), "not base64"),
        (answer(frames=[image(0), {"mime": "image/webp", "b64": "é"}]), "not base64"),
        (answer(frames=[image(0), image(0, side=32)]), "32x32 pixels, not 16x16"),
        (answer(reference=None), "no reference image"),
        (answer(reference=image(0, side=8)), "8x8 pixels, not 16x16"),
    ],
)
def test_answers_that_are_not_as_agreed(raw: Any, says: str) -> None:
    with pytest.raises(BadAnswerError, match=says):
        judge_answer(raw, OWN)


def test_a_refusal_keeps_legal_reasons_and_tells_of_others() -> None:
    refusal = judge_answer(
        {"ok": False, "reasons": ["shader-compile-failed", "made-up", "shader-compile-failed"], "errorText": "a\nb\0"},
        OWN,
    )
    assert refusal == RefusedPreset(("shader-compile-failed",), "a b [made-up]", tainted=False)


@pytest.mark.parametrize("reasons", [None, [], "shader", [1, None], ["nonsense"]])
def test_a_refusal_without_a_legal_reason_is_a_probe_error(reasons: Any) -> None:
    refusal = judge_answer({"ok": False, "reasons": reasons}, OWN)
    assert isinstance(refusal, RefusedPreset)
    assert refusal.reasons == ("probe-error",)
    assert refusal.error_text


def test_a_tainted_realm_is_told_and_not_stored() -> None:
    result = judge_answer(answer(warnings=["missing-texture:x", "realm-tainted:foo"]), OWN)
    assert isinstance(result, RenderedPreset)
    assert result.tainted
    assert result.warnings == ("missing-texture:x",)


def test_texts_can_be_stored_whatever_the_page_sent() -> None:
    refusal = judge_answer({"ok": False, "reasons": ["render-failed"], "errorText": "\ud800" + "x" * 9999}, OWN)
    assert len(refusal.error_text) <= 2000
    json.dumps(refusal.error_text).encode("utf-8")
    refusal.error_text.encode("utf-8")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted([*answer(), "threw"])), anything, max_size=8))
def test_no_answer_raises_anything_else(changes: dict[str, Any]) -> None:
    for parameters in (OWN, APP):
        with contextlib.suppress(BadAnswerError):
            judge_answer(answer(**changes), parameters)
