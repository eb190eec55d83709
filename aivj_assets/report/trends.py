"""Figures over batches as data for an inline SVG: places of points, ticks and thresholds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aivj_assets.contracts.gate_report import BatchNumbers, BatchStatus
from aivj_assets.contracts.gates import GATES
from aivj_assets.report.pictures import _nice_ticks

WIDTH, HEIGHT = 560, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 546, 12, 186
_LABELS = 6


@dataclass(frozen=True)
class Point:
    """One batch's figure: its place in the picture, its text, and the batch's place in the report, from 1."""

    x: float
    y: float
    text: str
    number: int
    state: str
    marked: bool
    """Whether the gate behind the figure did not pass."""


@dataclass(frozen=True)
class Series:
    """One figure over batches; `path` breaks where a batch has none."""

    name: str
    points: list[Point]
    path: str


@dataclass(frozen=True)
class Trend:
    """One chart. Ticks and the threshold are (place, text)."""

    name: str
    title: str
    series: list[Series]
    y_ticks: list[tuple[float, str]]
    x_ticks: list[tuple[float, str]]
    threshold: tuple[float, str] | None
    words: str
    """What the picture shows, for those who do not see it."""


@dataclass(frozen=True)
class _Plan:
    name: str
    title: str
    fields: tuple[tuple[str, str], ...]
    """(figure, name of its curve)."""
    gate: str | None = None
    unit: str = ""


_PLANS = (
    _Plan("ok_rate", "ok rate", (("ok_rate", "ok presets / presets"),), "ok_rate"),
    _Plan("top_same", "commonest first frame", (("top_same", "share of ok presets"),), "top_same"),
    _Plan("luma", "avgLuma, darkest and brightest preset", (("luma_max", "brightest"), ("luma_min", "darkest"))),
    _Plan("luma_range", "avgLuma, max - min", (("luma_range", "range"),), "luma_range"),
    _Plan("motion", "motion, stillest and liveliest preset", (("motion_max", "liveliest"), ("motion_min", "stillest"))),
    _Plan("motion_range", "motion, max - min", (("motion_range", "range"),), "motion_range"),
    _Plan("throughput", "rendering, presets a second", (("presets_per_s", "presets/s"),), unit="/s"),
)


def trends_of(batches: Sequence[BatchStatus]) -> list[Trend]:
    """Return a chart for each figure that a batch has, over the batches in their order."""
    found = (_trend(plan, batches) for plan in _PLANS)
    return [trend for trend in found if trend is not None]


def _trend(plan: _Plan, batches: Sequence[BatchStatus]) -> Trend | None:
    values = {field: [_value(batch.numbers, field) for batch in batches] for field, _ in plan.fields}
    known = [value for column in values.values() for value in column if value is not None]
    if not known:
        return None
    gate = next((gate for gate in GATES if gate.name == plan.gate), None)
    # A threshold that no curve comes near would flatten them all: it is always in the picture all the same.
    reach = [*known, *([gate.threshold] if gate is not None else [])]
    ticks = _nice_ticks(min(reach), max(reach), 4)
    low, high = ticks[0], ticks[-1]

    def place_y(value: float) -> float:
        return round(BOTTOM - (value - low) / (high - low) * (BOTTOM - TOP), 1)

    def place_x(number: int) -> float:
        share = 0.5 if len(batches) == 1 else number / (len(batches) - 1)
        return round(LEFT + 12 + share * (RIGHT - LEFT - 24), 1)

    series = [
        Series(name, points, _path(points, values[field]))
        for field, name in plan.fields
        for points in [_points(batches, values[field], plan, place_x, place_y)]
    ]
    return Trend(
        plan.name,
        plan.title,
        series,
        [(place_y(tick), f"{tick:.6g}") for tick in ticks],
        [(place_x(number), str(number + 1)) for number in _label_places(len(batches))],
        None if gate is None else (place_y(gate.threshold), f"required {gate.comparison} {gate.threshold:g}"),
        _words(plan, values, len(batches)),
    )


def _value(numbers: BatchNumbers, field: str) -> float | None:
    value = getattr(numbers, field)
    return None if value is None else float(value)


def _points(
    batches: Sequence[BatchStatus],
    values: Sequence[float | None],
    plan: _Plan,
    place_x: Callable[[int], float],
    place_y: Callable[[float], float],
) -> list[Point]:
    points = []
    for number, (batch, value) in enumerate(zip(batches, values, strict=True)):
        if value is None:
            continue
        marked = any(gate.gate == plan.gate for gate in batch.failed_gates)
        text = f"{batch.batch}: {value:.4g}{plan.unit}{', failed' if marked else ''}"
        points.append(Point(place_x(number), place_y(value), text, number + 1, batch.state, marked))
    return points


def _path(points: Sequence[Point], values: Sequence[float | None]) -> str:
    """Return the line through the points as SVG path data."""
    places = iter(points)
    parts, pen_down = [], False
    for value in values:
        if value is None:
            pen_down = False
            continue
        point = next(places)
        parts.append(f"{'L' if pen_down else 'M'}{point.x} {point.y}")
        pen_down = True
    return " ".join(parts)


def _label_places(count: int) -> list[int]:
    """Return which batches are numbered on the axis: the first, the last and some between."""
    if count <= _LABELS:
        return list(range(count))
    return sorted({round(number * (count - 1) / (_LABELS - 1)) for number in range(_LABELS)})


def _words(plan: _Plan, values: dict[str, list[float | None]], count: int) -> str:
    told = []
    for field, name in plan.fields:
        known = [value for value in values[field] if value is not None]
        if known:
            told.append(f"{name} between {min(known):.4g} and {max(known):.4g} in {len(known)} of {count} batches")
    return f"{plan.title}: {'; '.join(told)}."
