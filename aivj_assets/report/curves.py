"""Line plots for metadata and pages, in the style of `pictures`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

from aivj_assets.report.pictures import (
    ACCENT,
    GROUND,
    INK,
    LINE,
    SOFT,
    Colour,
    _Box,
    _empty,
    _font,
    _frame,
    _nice_ticks,
    _plain,
    _x_tick,
)

_COLOURS: tuple[Colour, ...] = (ACCENT, (250, 204, 21), (74, 222, 128), (244, 114, 182), (167, 139, 250))
CONTROL: Colour = (120, 120, 140)
_SUPERSAMPLE = 3
_DASH_PX = 7
_HEAD_ROOM = 0.04


@dataclass(frozen=True)
class Curve:
    """One value per x; a control is drawn grey and dashed."""

    name: str
    values: Sequence[float]
    is_control: bool = False


def line_plot(
    x: Sequence[float], curves: Sequence[Curve], title: str, x_label: str, *, marked: float | None = None
) -> Image.Image:
    """Return curves over rising x, which stand at even ratios (a logarithmic axis), with a vertical line at `marked`.

    The legend stands in the title's second line. Values that are not finite break a curve.
    """
    if any(len(curve.values) != len(x) for curve in curves):
        raise ValueError("as many values as x")
    if any(left >= right for left, right in pairwise(x)) or any(each <= 0 for each in x):
        raise ValueError("x rises from above 0")
    finite = [value for curve in curves for value in curve.values if np.isfinite(value)]
    if not finite:
        return _empty(title, "no values")
    image, draw, box = _frame(title, "", x_label)
    ticks = _nice_ticks(min(finite), max(finite), 5)
    for tick in ticks:
        y = box.y(_share(tick, ticks[0], ticks[-1]))
        draw.line((box.left, y, box.right, y), fill=LINE)
        draw.text((box.left - 8, y), f"{tick:,.6g}", font=_font(12), fill=SOFT, anchor="rm")
    places = [_HEAD_ROOM + (1 - 2 * _HEAD_ROOM) * _share(float(np.log(each)), *np.log([x[0], x[-1]])) for each in x]
    for each, place in zip(x, places, strict=True):
        _x_tick(draw, box, place, f"{each:g}")
    if marked is not None and marked in x:
        middle = box.x(places[list(x).index(marked)])
        draw.line((middle, box.top - 4, middle, box.bottom), fill=INK)
    _legend(draw, curves)
    return _drawn(image, box, places, curves, (ticks[0], ticks[-1]))


def _share(value: float, low: float, high: float) -> float:
    return 0.5 if high <= low else float((value - low) / (high - low))


def _colours(curves: Sequence[Curve]) -> list[Colour]:
    coloured = iter(range(len(curves)))
    return [CONTROL if curve.is_control else _COLOURS[next(coloured) % len(_COLOURS)] for curve in curves]


def _legend(draw: ImageDraw.ImageDraw, curves: Sequence[Curve]) -> None:
    left, font = float(14), _font(12)
    for curve, colour in zip(curves, _colours(curves), strict=True):
        draw.line((left, 39, left + 16, 39), fill=colour, width=3)
        draw.text((left + 21, 32), _plain(curve.name), font=font, fill=SOFT)
        left += 21 + font.getlength(_plain(curve.name)) + 18


def _drawn(
    image: Image.Image, box: _Box, places: Sequence[float], curves: Sequence[Curve], span: tuple[float, float]
) -> Image.Image:
    """Return the picture with its curves; they are drawn larger and scaled down, as Pillow's lines have hard edges."""
    size = image.size
    layer = Image.new("RGBA", (size[0] * _SUPERSAMPLE, size[1] * _SUPERSAMPLE), (*GROUND, 0))
    draw = ImageDraw.Draw(layer)
    for curve, colour in zip(curves, _colours(curves), strict=True):
        points = [
            (box.x(place) * _SUPERSAMPLE, box.y(_share(value, *span)) * _SUPERSAMPLE) if np.isfinite(value) else None
            for place, value in zip(places, curve.values, strict=True)
        ]
        for one, other in pairwise(points):
            if one and other:
                _segment(draw, one, other, colour, dashed=curve.is_control)
        radius = (2.5 if curve.is_control else 4) * _SUPERSAMPLE
        for point in filter(None, points):
            draw.ellipse((point[0] - radius, point[1] - radius, point[0] + radius, point[1] + radius), fill=colour)
    image.paste(layer.resize(size, Image.Resampling.LANCZOS), mask=layer.getchannel("A").resize(size))
    return image


def _segment(
    draw: ImageDraw.ImageDraw, one: tuple[float, float], other: tuple[float, float], colour: Colour, *, dashed: bool
) -> None:
    width = (2 if dashed else 3) * _SUPERSAMPLE
    length = float(np.hypot(other[0] - one[0], other[1] - one[1]))
    count = max(1, int(length / (_DASH_PX * _SUPERSAMPLE))) if dashed else 1
    for number in range(0, count, 2):
        ends = [
            (one[0] + (other[0] - one[0]) * at / count, one[1] + (other[1] - one[1]) * at / count)
            for at in (number, min(number + 1, count))
        ]
        draw.line(ends, fill=colour, width=width)
