"""A render page's answer, judged: presets are untrusted and run beside the page's code, so it is never believed."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aivj_assets.contracts.frames_index import REASON_CODES
from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.render.images import BadImageError, ImageFigures, decode_image, measure_images, measure_with_motion

TAINTED_WARNING = "realm-tainted"
_MAX_WARNINGS = 20


@dataclass(frozen=True)
class RenderedPreset:
    """Verified captures and their figures."""

    frames: tuple[bytes, ...]
    figures: ImageFigures
    warnings: tuple[str, ...]
    tainted: bool
    """The page says that the preset changed something for good: the next preset needs a fresh page."""
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    """Where the page says its time went (convert, load, js, gl, readback, encode); for benchmarks only."""


@dataclass(frozen=True)
class RefusedPreset:
    """The page says that the preset failed."""

    reasons: tuple[str, ...]
    error_text: str
    tainted: bool
    timings_ms: Mapping[str, float] = field(default_factory=dict)


class BadAnswerError(ValueError):
    """An answer that is not as agreed; the text says in what."""


def judge_answer(raw: Any, parameters: RenderParameters) -> RenderedPreset | RefusedPreset:
    """Return what a page's answer means; raises `BadAnswerError` when it is not as agreed.

    The figures are computed here from the decoded images. Only the app's page, which returns no reference image, has
    its own two figures taken, when both are finite and within 0..1.
    """
    if not isinstance(raw, dict):
        raise BadAnswerError(f"the page answered {type(raw).__name__}")
    if "threw" in raw:
        raise BadAnswerError(f"the page threw: {_text(raw['threw'])}")
    warnings = tuple(text for text in _texts(raw.get("warnings"))[:_MAX_WARNINGS])
    tainted = any(text.startswith(TAINTED_WARNING) for text in warnings)
    if raw.get("ok") is False:
        return _refusal(raw, tainted)
    if raw.get("ok") is not True:
        raise BadAnswerError("the answer's ok is neither true nor false")
    frames = _frames(raw, parameters)
    try:
        captures = [decode_image(data, parameters.mime, parameters.out_size) for data in frames]
        reference = _image_bytes(raw["reference"], parameters.mime) if raw.get("reference") is not None else None
        if reference is not None:
            figures = measure_images(captures, decode_image(reference, parameters.mime, parameters.out_size))
        elif parameters.probe_url is None:
            raise BadAnswerError("the answer holds no reference image")
        else:
            figures = measure_with_motion(captures, *_own_figures(raw.get("metrics")))
    except BadImageError as error:
        raise BadAnswerError(f"the page returned {error}") from None
    kept = tuple(text for text in warnings if not text.startswith(TAINTED_WARNING))
    return RenderedPreset(frames, figures, kept, tainted, _timings(raw))


def _refusal(raw: Mapping[str, Any], tainted: bool) -> RefusedPreset:
    told = _texts(raw.get("reasons"))
    legal = tuple(dict.fromkeys(reason for reason in told if reason in REASON_CODES))
    text = _text(raw.get("errorText"))
    unknown = [reason for reason in told if reason not in REASON_CODES]
    if unknown:
        text = f"{text} [{', '.join(unknown)[:200]}]".strip()
    return RefusedPreset(legal or ("probe-error",), text or "the page gave no reason", tainted, _timings(raw))


def _frames(raw: Mapping[str, Any], parameters: RenderParameters) -> tuple[bytes, ...]:
    frames = raw.get("frames")
    count = raw.get("frameCount", len(frames) if isinstance(frames, list) else -1)
    if not isinstance(frames, list) or count != parameters.capture_count or len(frames) != parameters.capture_count:
        raise BadAnswerError(f"the answer holds {count} frames in place of {parameters.capture_count}")
    return tuple(_image_bytes(frame, parameters.mime) for frame in frames)


def _image_bytes(value: Any, mime: str) -> bytes:
    if not isinstance(value, dict):
        raise BadAnswerError("an image of the answer is no object")
    if value.get("mime") != mime:
        raise BadAnswerError(f"an image is {_text(value.get('mime'))[:50] or 'untyped'} in place of {mime}")
    encoded = value.get("b64")
    if not isinstance(encoded, str):
        raise BadAnswerError("an image is too large or no text")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise BadAnswerError("an image is not base64") from None


def _own_figures(metrics: Any) -> tuple[float, float]:
    metrics = metrics if isinstance(metrics, dict) else {}
    figures = []
    for name in ("avgLuma", "motion"):
        value = metrics.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise BadAnswerError(f"the page told no {name} and returned no reference image")
        if not 0 <= value <= 1:
            raise BadAnswerError(f"the page told {name} {value:g}, outside of 0..1")
        figures.append(float(value))
    return figures[0], figures[1]


def _timings(raw: Mapping[str, Any]) -> dict[str, float]:
    told = raw.get("timings_ms")
    pairs = told.items() if isinstance(told, dict) else ()
    return {name: float(ms) for name, ms in pairs if isinstance(ms, int | float) and math.isfinite(ms)}


def _text(value: Any) -> str:
    """Return one line of at most 2000 characters that JSON can hold, whatever the page sent."""
    text = value if isinstance(value, str) else "" if value is None else str(value)
    return " ".join(text.encode("utf-8", errors="replace").decode("utf-8").replace("\0", " ").split())[:2000]


def _texts(value: Any) -> list[str]:
    return [_text(item)[:500] for item in value if isinstance(item, str)] if isinstance(value, list) else []
