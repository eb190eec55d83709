"""What benchmarks find, as models for JSON, and the arithmetic behind them. Figures carry their units."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, Literal

from pydantic import BaseModel, Field

from aivj_assets.render.bench.usage import ROLES, MemorySample, Role, Usage

NIGHT_S = 8 * 3600
NIGHT_PRESETS = 15_000
MAX_SERIES_POINTS = 2_000

SPLIT_PARTS: Mapping[str, tuple[str, ...]] = {
    "load_ms": ("convert", "load"),
    "js_ms": ("js",),
    "gl_ms": ("gl",),
    "readback_ms": ("readback",),
    "encode_ms": ("encode",),
    "write_ms": ("judge", "write"),
}
"""Which of a preset's timings each part of the split is made of."""


class Target(BaseModel):
    """A figure and what it should be; `value` None where it could not be measured, which is not reached."""

    name: str
    value: float | None
    comparison: Literal[">=", "<="]
    threshold: float
    unit: str = ""

    @property
    def reached(self) -> bool:
        """Tell whether the value is as it should be."""
        if self.value is None:
            return False
        return self.value >= self.threshold if self.comparison == ">=" else self.value <= self.threshold

    def to_json(self) -> dict[str, Any]:
        """Return the target with its verdict."""
        return {**self.model_dump(), "reached": self.reached}


class Machine(BaseModel):
    """Where was measured."""

    platform: str
    cpu_count: int
    memory_bytes: int
    browser_version: str
    renderer: str
    renderer_class: str
    page: dict[str, Any] = Field(description="engine, versions and renderer as the render page tells them")


class LoopFigures(BaseModel):
    """One of the two loops. Times are wall time from the first browser's start to the last file."""

    renderer: str
    workers: int
    presets: int
    ok: int
    failed: int
    captures: int = Field(description="image files that lie on disk")
    wall_s: float
    cpu_s_per_preset: dict[str, float] = Field(description="by role of the process, and their sum as `total`")
    peak_rss_bytes: int = Field(description="largest sum of resident memory over all processes at one moment")

    @property
    def presets_per_s(self) -> float | None:
        """Presets with a record, failed ones included, a second of wall time."""
        return self.presets / self.wall_s if self.presets and self.wall_s > 0 else None


class Split(BaseModel):
    """Where a worker's time goes, in ms a preset. All parts sum to `wall_ms`."""

    load_ms: float
    js_ms: float
    gl_ms: float
    readback_ms: float
    encode_ms: float
    write_ms: float
    idle_ms: float = Field(description="the rest, told apart in idle_of_which; below 0 where parts overlap")
    wall_ms: float = Field(description="wall time of all workers together, a preset")
    idle_of_which: dict[str, float] = Field(
        description="calls: between the page's work and ours; shards: browser starts, index lines; outside: starts of "
        "workers, and waiting for the last one"
    )


class RenderBench(BaseModel):
    """`aivj bench render`."""

    generated_at: str
    interrupted: bool
    machine: Machine
    parameters: dict[str, Any]
    seed: int
    block: int
    presets: list[dict[str, str]] = Field(description="id, path and kind of each, in the order of rendering")
    ours: LoopFigures
    plain: LoopFigures
    split: Split | None
    plain_weight: float | None = Field(description="our time for the plain loop's presets / for all, each a preset")
    failures: dict[str, str] = Field(description="error texts of the plain loop and ours by `<loop>:<id>`")

    @property
    def ratio(self) -> float | None:
        """How many times as many presets a second as the plain loop."""
        ours, plain = self.ours.presets_per_s, self.plain.presets_per_s
        return ours / plain if ours and plain else None

    @property
    def ratio_over_equal_presets(self) -> float | None:
        """The ratio corrected for a plain loop that got fewer, and so perhaps heavier or lighter, presets."""
        return self.ratio / self.plain_weight if self.ratio and self.plain_weight else None

    @property
    def targets(self) -> list[Target]:
        """What is asked of the renderer, and what is hoped for."""
        rate, night = self.ours.presets_per_s, presets_in(NIGHT_S, self.ours.presets_per_s)
        return [
            Target(name="presets a second", value=rate, comparison=">=", threshold=1.5),
            Target(name="presets a second, aim", value=rate, comparison=">=", threshold=2.4),
            Target(name="ratio to the plain loop", value=self.ratio, comparison=">=", threshold=3.5),
            Target(name="ratio to the plain loop, aim", value=self.ratio, comparison=">=", threshold=6.0),
            Target(name="presets in 8 h", value=night, comparison=">=", threshold=NIGHT_PRESETS),
        ]

    def to_json(self) -> dict[str, Any]:
        """Return all figures, those that follow from others included."""
        return {
            **self.model_dump(mode="json"),
            "ours": _with_rate(self.ours),
            "plain": _with_rate(self.plain),
            "ratio": self.ratio,
            "ratio_over_equal_presets": self.ratio_over_equal_presets,
            "presets_in_8_h": presets_in(NIGHT_S, self.ours.presets_per_s),
            "targets": [target.to_json() for target in self.targets],
        }


class FailedPreset(BaseModel):
    """A preset of a library that does not render."""

    id: str
    rel_path: str
    reason: str
    error_text: str
    pixel_shaders: bool


class LibraryCounts(BaseModel):
    """How many presets of a set render."""

    presets: int
    ok: int
    failed: int

    @property
    def ok_rate(self) -> float | None:
        """Ok presets a preset with a record, 0..1."""
        done = self.ok + self.failed
        return self.ok / done if done else None


class LibraryBench(BaseModel):
    """`aivj bench library`. Presets that were left out at the import count as failed."""

    generated_at: str
    interrupted: bool
    machine: Machine
    parameters: dict[str, Any]
    sources: list[str]
    all: LibraryCounts
    with_pixel_shaders: LibraryCounts
    failure_reasons: dict[str, int]
    failures: list[FailedPreset]
    flags: dict[str, int]
    warnings: dict[str, int]
    convert_ms: dict[str, float] = Field(description="mean, p95, max and n of the conversion, in ms")
    rendered: int = Field(description="presets that this run rendered; the others were there already")
    wall_s: float

    @property
    def presets_per_s(self) -> float | None:
        """Presets that this run rendered a second of wall time."""
        return self.rendered / self.wall_s if self.rendered and self.wall_s > 0 else None

    @property
    def targets(self) -> list[Target]:
        """What is asked of the conversion."""
        shaders, convert_ms = self.with_pixel_shaders.ok_rate, self.convert_ms.get("mean")
        return [
            Target(name="ok rate", value=self.all.ok_rate, comparison=">=", threshold=0.97),
            Target(name="ok rate with pixel shaders", value=shaders, comparison=">=", threshold=0.93),
            Target(name="conversion, mean", value=convert_ms, comparison="<=", threshold=10.0, unit="ms"),
        ]

    def to_json(self) -> dict[str, Any]:
        """Return all figures, those that follow from others included."""
        return {
            **self.model_dump(mode="json"),
            "ok_rate": self.all.ok_rate,
            "ok_rate_with_pixel_shaders": self.with_pixel_shaders.ok_rate,
            "presets_per_s": self.presets_per_s,
            "targets": [target.to_json() for target in self.targets],
        }


class Phase(BaseModel):
    """A stretch of a long run."""

    name: str
    presets: int
    ok: int
    failed: int
    wall_s: float
    cpu_s: dict[str, float] = Field(description="by role of the process, and their sum as `total`")


class MemoryTrend(BaseModel):
    """Memory of one role over a run: means of the first and the last quarter of the samples, and the peak."""

    first_quarter_bytes: float
    last_quarter_bytes: float
    peak_bytes: int

    @property
    def growth_fraction(self) -> float | None:
        """(last quarter - first quarter) / first quarter."""
        first = self.first_quarter_bytes
        return (self.last_quarter_bytes - first) / first if first else None


class SoakBench(BaseModel):
    """`aivj bench soak`."""

    generated_at: str
    interrupted: bool
    machine: Machine
    parameters: dict[str, Any]
    seed: int
    workers: int
    repeat: int
    phases: list[Phase]
    differing: list[str] = Field(description="ids of repeated presets whose frames were not the same bytes again")
    memory: dict[str, MemoryTrend] = Field(description="by role of the process, and their sum as `total`")
    series: list[dict[str, float]] = Field(description="at_s and resident bytes by role")

    @property
    def cpu_difference_fraction(self) -> float | None:
        """(CPU-seconds of the repeated presets at the end - at the start) / at the start."""
        by_name = {phase.name: phase.cpu_s["total"] for phase in self.phases if phase.ok + phase.failed == self.repeat}
        first, again = by_name.get("first"), by_name.get("again")
        return (again - first) / first if first and again is not None else None

    @property
    def targets(self) -> list[Target]:
        """What a long run must not do."""
        difference = self.cpu_difference_fraction
        growth = self.memory["total"].growth_fraction if "total" in self.memory and not self.interrupted else None
        return [
            Target(
                name="CPU of the same presets, last against first",
                value=None if difference is None else abs(difference),
                comparison="<=",
                threshold=0.05,
            ),
            Target(name="growth of memory, last quarter", value=growth, comparison="<=", threshold=0.10),
            Target(
                name="repeated presets with other frames",
                value=None if difference is None else len(self.differing),
                comparison="<=",
                threshold=0,
            ),
        ]

    def to_json(self) -> dict[str, Any]:
        """Return all figures, those that follow from others included."""
        trends = {
            name: {**trend.model_dump(), "growth_fraction": trend.growth_fraction}
            for name, trend in self.memory.items()
        }
        return {
            **self.model_dump(mode="json"),
            "memory": trends,
            "cpu_difference_fraction": self.cpu_difference_fraction,
            "targets": [target.to_json() for target in self.targets],
        }


def presets_in(seconds: float, presets_per_s: float | None) -> int | None:
    """Return how many presets are rendered in a time at a rate."""
    return None if presets_per_s is None else math.floor(seconds * presets_per_s)


def split_of(
    timings_ms: Iterable[Mapping[str, float]], *, presets: int, wall_s: float, workers: int, shards_s: float
) -> Split | None:
    """Return where the time of `workers` over `wall_s` went, a preset; None when no preset was rendered.

    `shards_s` is the sum of the shards' durations, which lie within `workers` x `wall_s`.
    """
    if presets == 0:
        return None
    totals: Counter[str] = Counter()
    for timings in timings_ms:
        totals.update(timings)
    parts = {part: sum(totals[name] for name in names) / presets for part, names in SPLIT_PARTS.items()}
    wall_ms = 1000 * wall_s * workers / presets
    busy_ms, tries_ms, shards_ms = sum(parts.values()), totals["total"] / presets, 1000 * shards_s / presets
    idle = {"calls": tries_ms - busy_ms, "shards": shards_ms - tries_ms, "outside": wall_ms - shards_ms}
    return Split(**parts, idle_ms=wall_ms - busy_ms, wall_ms=wall_ms, idle_of_which=idle)


def weight_of(timings_ms: Mapping[str, Mapping[str, float]], part: Collection[str]) -> float | None:
    """Return the mean `total` of some presets / of all, by preset id; None where there is none of either."""
    totals = {preset_id: timings["total"] for preset_id, timings in timings_ms.items() if "total" in timings}
    some = [total for preset_id, total in totals.items() if preset_id in part]
    return fmean(some) / fmean(totals.values()) if some and any(totals.values()) else None


def cpu_by_role(cpu_s: Mapping[Role, float], presets: int = 1) -> dict[str, float]:
    """Return CPU-seconds by role and their sum as `total`, divided by `presets`; empty when that is 0."""
    if presets == 0:
        return {}
    shares: dict[str, float] = {role: cpu_s.get(role, 0.0) / presets for role in ROLES}
    return {**shares, "total": sum(shares.values())}


def distribution(values: Sequence[float]) -> dict[str, float]:
    """Return mean, 95th percentile (nearest rank), maximum and number; empty for no values."""
    if not values:
        return {}
    ordered = sorted(values)
    return {
        "mean": sum(ordered) / len(ordered),
        "p95": ordered[math.ceil(0.95 * len(ordered)) - 1],
        "max": ordered[-1],
        "n": len(ordered),
    }


def memory_trends(samples: Sequence[MemorySample]) -> dict[str, MemoryTrend]:
    """Return the trend of each role's memory and of their sum; empty with fewer than four samples."""
    quarter = len(samples) // 4
    if quarter == 0:
        return {}
    series: dict[str, list[int]] = {role: [sample.rss_bytes.get(role, 0) for sample in samples] for role in ROLES}
    series["total"] = [sample.total_bytes for sample in samples]
    return {
        name: MemoryTrend(
            first_quarter_bytes=sum(values[:quarter]) / quarter,
            last_quarter_bytes=sum(values[-quarter:]) / quarter,
            peak_bytes=max(values),
        )
        for name, values in series.items()
    }


def thinned_series(samples: Sequence[MemorySample], most: int = MAX_SERIES_POINTS) -> list[dict[str, float]]:
    """Return every nth sample as a plain object, at most `most` of them."""
    step = max(1, math.ceil(len(samples) / most))
    return [
        {"at_s": round(sample.at_s, 3), **{str(role): size for role, size in sample.rss_bytes.items()}}
        for sample in samples[::step]
    ]


def loop_figures(usage: Usage, *, ok: int, failed: int, **more: Any) -> LoopFigures:
    """Return a loop's figures from what its processes used."""
    presets = ok + failed
    per_preset = cpu_by_role(usage.cpu_s, presets)
    return LoopFigures(
        presets=presets, ok=ok, failed=failed, cpu_s_per_preset=per_preset, peak_rss_bytes=usage.peak_rss_bytes, **more
    )


def _with_rate(loop: LoopFigures) -> dict[str, Any]:
    return {**loop.model_dump(mode="json"), "presets_per_s": loop.presets_per_s}
