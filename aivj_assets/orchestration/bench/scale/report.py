"""What the benchmark says: a row a batch, how figures grow, whether the bounds hold."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from aivj_assets.orchestration.bench.scale.growth import Growth, growth_of
from aivj_assets.orchestration.bench.scale.rehearse import REAL_CPU_S_A_PRESET, ScaleBatch, ScaleState
from aivj_assets.orchestration.bench.scale.run_times import SHARDS

MAX_IDLE_FRACTION = 0.03
MAX_PROCESS_BYTES = 2 * 1024**3
MAX_EXPONENT = 1.15
"""A figure whose power is above this, and fits (`_TRUSTED_R2`), grows faster than the library."""

_TRUSTED_R2 = 0.8
# Growth of what takes less, in seconds or megabytes, is noise; a curve of fewer points is none.
_LEAST = 1.0
_FEWEST_POINTS = 5
_TENTHS_BELOW_S = 20
_SHOWN_STEPS = (SHARDS, "embeddings", "publication")
_SIZES = (
    "published_bytes", "run_manifest_bytes", "gate_report_bytes", "lineage_bytes", "embedding_cache_bytes",
    "dagster_bytes", "compute_logs_bytes",
)  # fmt: skip


@dataclass(frozen=True)
class Bound:
    """One bound: what was measured, the most it may be, both as a person reads them."""

    name: str
    holds: bool
    measured: str
    most: str


def report(state: ScaleState, at_end: Mapping[str, Any]) -> dict[str, Any]:
    """Return all figures: the machine, batches, growth by figure, bounds, what was measured at the end."""
    grown = growth(state.batches)
    bounds = find_bounds(state, grown, at_end)
    return {
        "version": "v0",
        "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "options": state.options,
        "browsers": state.browsers,
        "prepareS": state.prepare_s,
        "realCpuSAPreset": REAL_CPU_S_A_PRESET,
        "idleFraction": round(idle_fraction(state), 4),
        "batches": [batch.to_json() for batch in state.batches],
        "growth": {name: one.to_json() for name, one in grown.items()},
        "bounds": [vars(bound) for bound in bounds],
        **at_end,
    }


def idle_fraction(state: ScaleState) -> float:
    """Return what runs took beyond their steps' work, as a fraction of what rendering the presets would take."""
    whole = [batch for batch in state.batches if not batch.reused]
    real_s = sum(batch.presets for batch in whole) * REAL_CPU_S_A_PRESET / max(1, state.browsers)
    return sum(batch.idle_s for batch in whole) / real_s if real_s else 0.0


def growth(batches: Sequence[ScaleBatch]) -> dict[str, Growth]:
    """Return {figure: its growth over the library's size}: times in s, memory and sizes in MB.

    Batches that Ctrl-C broke are left out.
    """
    whole = [batch for batch in batches if not batch.reused]
    sizes = [batch.library_presets for batch in whole]
    return {name: growth_of(sizes, figures) for name, figures in _figures(whole)}


def _figures(batches: Sequence[ScaleBatch]) -> Iterator[tuple[str, list[float]]]:
    yield "batch s", [batch.wall_s for batch in batches]
    yield "batch CPU s", [batch.cpu_s for batch in batches]
    yield "idle s", [batch.idle_s for batch in batches]
    yield "diary s", [batch.diary_s for batch in batches]
    yield "gate report s", [batch.gate_report_s for batch in batches]
    steps = sorted({step for batch in batches for step in batch.stages})
    for step in steps:
        yield f"{step} s", [batch.stages.get(step, 0.0) for batch in batches]
    for step in sorted({step for batch in batches for step in batch.peaks}):
        yield f"{step} MB", [batch.peaks.get(step, 0) / 1e6 for batch in batches]
    for name in _SIZES:
        yield f"{name.removesuffix('_bytes')} on disk MB", [batch.sizes.get(name, 0) / 1e6 for batch in batches]


def find_bounds(state: ScaleState, grown: Mapping[str, Growth], at_end: Mapping[str, Any]) -> list[Bound]:
    """Return the bounds and whether they hold."""
    idle, steep = idle_fraction(state), super_linear(grown)
    peaks = {name: peak for batch in state.batches for name, peak in batch.peaks.items()}
    peaks["the UI"] = int((at_end.get("ui") or {}).get("peakBytes", 0))
    where = max(peaks, key=lambda name: peaks[name])
    return [
        Bound(
            "orchestration, of the time of real rendering", idle <= MAX_IDLE_FRACTION, f"{idle:.1%}",
            f"{MAX_IDLE_FRACTION:.0%}",
        ),
        Bound(
            "memory of a process", peaks[where] <= MAX_PROCESS_BYTES, f"{peaks[where] / 1e6:,.0f} MB ({where})",
            f"{MAX_PROCESS_BYTES / 1e6:,.0f} MB",
        ),
        Bound("figures that grow faster than the library", not steep, ", ".join(steep) or "none", "none"),
    ]  # fmt: skip


def super_linear(grown: Mapping[str, Growth]) -> list[str]:
    """Return the figures that grow faster than the library, each with its exponent; too few points show none."""
    return [
        f"{name} (n^{one.exponent:.2f})"
        for name, one in grown.items()
        if one.exponent is not None
        and one.r2 is not None
        and one.exponent > MAX_EXPONENT
        and one.r2 >= _TRUSTED_R2
        and one.points >= _FEWEST_POINTS
        and one.last >= _LEAST
    ]


def print_report(console: Console, state: ScaleState, figures: Mapping[str, Any]) -> None:
    """Print the tables."""
    console.print(_batches_table(state.batches))
    console.print(_growth_table(growth(state.batches)))
    ui = figures.get("ui")
    if ui:
        console.print(_ui_table(ui["pages"]))
    for sensor in figures.get("sensors", []):
        console.print(f"Sensor {sensor['sensor']}: a look takes {sensor['s']:.2f} s", highlight=False)
    table = Table(title="Bounds")
    for heading in ("bound", "measured", "at most", ""):
        table.add_column(heading)
    for bound in figures["bounds"]:
        table.add_row(bound["name"], bound["measured"], bound["most"], "holds" if bound["holds"] else "DOES NOT HOLD")
    console.print(table)


def _batches_table(batches: Sequence[ScaleBatch]) -> Table:
    """Return a row a batch; the times of all steps are in the JSON."""
    table = Table(title="Batches, in seconds of the clock")
    for heading in ("presets", "all", "shards", "embed", "publish", "idle", "CPU", "load", "MB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for batch in batches:
        took = (batch.wall_s, *(batch.stages.get(name, 0.0) for name in _SHOWN_STEPS), batch.idle_s, batch.cpu_s)
        table.add_row(
            f"{batch.library_presets:,}" + ("*" if batch.reused else ""),
            *(f"{seconds:.0f}" if seconds >= _TENTHS_BELOW_S else f"{seconds:.1f}" for seconds in took),
            "" if batch.load is None else f"{batch.load:.1f}",
            f"{max(batch.peaks.values(), default=0) / 1e6:.0f}",
        )
    table.caption = (
        "presets: of all batches so far (*: resumed after Ctrl-C, counts for nothing); shards: all of them, of which "
        "several run at once; idle: beyond the work of steps; MB: the largest process"
    )
    return table


def _growth_table(grown: Mapping[str, Growth]) -> Table:
    table = Table(title="Growth with the library: n^exponent, or so much a thousand presets")
    for heading in ("figure", "at the end", "exponent", "R2", "a thousand", "R2"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    for name, one in grown.items():
        if one.last < _LEAST:
            continue
        told = (one.exponent, one.r2, one.per_thousand, one.line_r2)
        table.add_row(name, f"{one.last:,.1f}", *("-" if value is None else f"{value:.2f}" for value in told))
    return table


def _ui_table(pages: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="The UI at the end, opened a second time")
    for heading in ("page", "shown after s", "queries", "slowest query", "s"):
        table.add_column(heading, justify="left" if heading in {"page", "slowest query"} else "right")
    for page in pages:
        queries = page["queries"]
        slowest = (queries[0]["query"], f"{queries[0]['s']:.2f}") if queries else ("", "")
        table.add_row(page["page"], f"{page['shownS']:.2f}", str(len(queries)), *slowest)
    return table
