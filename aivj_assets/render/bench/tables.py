"""Benchmarks' results as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aivj_assets.render.bench.results import (
    NIGHT_S,
    LibraryBench,
    LoopFigures,
    Machine,
    RenderBench,
    SoakBench,
    Target,
    presets_in,
)
from aivj_assets.render.chromium import classify_renderer

_INTERRUPTED = "[yellow]Interrupted: the figures are over what was done until then.[/]"


def print_render_bench(console: Console, bench: RenderBench) -> None:
    """Print the two loops beside each other, the split of our time, the targets."""
    _print_head(console, bench.machine, interrupted=bench.interrupted)
    table = Table(title=f"Rendering {len(bench.presets)} presets, seed {bench.seed}", title_justify="left")
    for name in ("", f"ours, {bench.ours.workers} browsers", "plain loop"):
        table.add_column(name, justify="right" if name else "left", overflow="fold")
    loops = (bench.ours, bench.plain)
    rows: list[tuple[str, Sequence[str]]] = [
        ("renderer", [classify_renderer(loop.renderer) if loop.renderer else "-" for loop in loops]),
        ("presets, ok + failed", [f"{loop.presets} = {loop.ok} + {loop.failed}" for loop in loops]),
        ("captures on disk", [str(loop.captures) for loop in loops]),
        ("wall time", [f"{loop.wall_s:.1f} s" for loop in loops]),
        ("presets a second", [_number(loop.presets_per_s, 3) for loop in loops]),
        ("presets in 8 h", [_whole(presets_in(NIGHT_S, loop.presets_per_s)) for loop in loops]),
        ("peak memory", [_megabytes(loop.peak_rss_bytes) for loop in loops]),
        *_cpu_rows(loops),
    ]
    for name, cells in rows:
        table.add_row(name, *(escape(cell) for cell in cells))
    console.print(table)
    if bench.split is not None:
        parts = bench.split.model_dump(exclude={"idle_of_which"})
        split = Table(title="Our time, ms a preset and worker", title_justify="left")
        for name in parts:
            split.add_column(name.removesuffix("_ms"), justify="right")
        split.add_row(*(f"{value:.0f}" for value in parts.values()))
        console.print(split)
        idle = ", ".join(f"{name} {value:.0f}" for name, value in bench.split.idle_of_which.items())
        console.print(f"idle of which: {idle} ms", highlight=False)
    _print_targets(console, bench.targets)
    if bench.plain.presets < bench.ours.presets and bench.ratio_over_equal_presets is not None:
        console.print(
            f"The plain loop's {bench.plain.presets} presets cost us {bench.plain_weight:.2f} times the mean of all: "
            f"over the same presets the ratio would be about {bench.ratio_over_equal_presets:.2f}.",
            highlight=False,
            soft_wrap=True,
        )


def print_library_bench(console: Console, bench: LibraryBench) -> None:
    """Print how much of a library renders, the failures by reason with examples, the targets."""
    _print_head(console, bench.machine, interrupted=bench.interrupted)
    table = Table(title=f"Library: {', '.join(bench.sources)}", title_justify="left")
    for name in ("", "presets", "ok", "failed", "no record", "ok rate"):
        table.add_column(name, justify="right" if name else "left")
    for name, counts in (("all", bench.all), ("with pixel shaders", bench.with_pixel_shaders)):
        left = counts.presets - counts.ok - counts.failed
        cells = [str(count) for count in (counts.presets, counts.ok, counts.failed, left)]
        table.add_row(name, *cells, "-" if counts.ok_rate is None else f"{100 * counts.ok_rate:.2f} %")
    console.print(table)
    if bench.failures:
        reasons = Table(title="Failures", title_justify="left")
        for name in ("reason", "presets", "for example"):
            reasons.add_column(name, justify="right" if name == "presets" else "left", overflow="fold")
        for reason, count in bench.failure_reasons.items():
            example = next(failure for failure in bench.failures if failure.reason == reason)
            reasons.add_row(escape(reason), str(count), escape(f"{example.rel_path}: {example.error_text[:200]}"))
        console.print(reasons)
    for name, counted in (("Flags", bench.flags), ("Warnings", bench.warnings)):
        console.print(f"{name}: {_counted(counted)}", highlight=False, markup=False)
    took = bench.convert_ms
    if took:
        figures = f"mean {took['mean']:.1f}, p95 {took['p95']:.1f}, max {took['max']:.1f} ms"
        console.print(f"Conversion: {figures} over {took['n']:.0f} presets", highlight=False)
    rate = _number(bench.presets_per_s, 2)
    console.print(f"Rendered now: {bench.rendered} in {bench.wall_s:.0f} s, {rate} presets/s", highlight=False)
    _print_targets(console, bench.targets)


def print_soak_bench(console: Console, bench: SoakBench) -> None:
    """Print the phases, the memory of each role, the targets."""
    _print_head(console, bench.machine, interrupted=bench.interrupted)
    phases = Table(title=f"Long run, {bench.workers} workers, seed {bench.seed}", title_justify="left")
    for name in ("phase", "presets", "ok", "failed", "wall time", "CPU-seconds"):
        phases.add_column(name, justify="left" if name == "phase" else "right")
    for phase in bench.phases:
        counts = [str(count) for count in (phase.presets, phase.ok, phase.failed)]
        phases.add_row(phase.name, *counts, f"{phase.wall_s:.1f} s", f"{phase.cpu_s['total']:.1f}")
    console.print(phases)
    memory = Table(title="Resident memory", title_justify="left")
    for name in ("role", "first quarter", "last quarter", "growth", "peak"):
        memory.add_column(name, justify="left" if name == "role" else "right")
    for role, trend in bench.memory.items():
        growth = "-" if trend.growth_fraction is None else f"{100 * trend.growth_fraction:+.1f} %"
        quarters = (_megabytes(trend.first_quarter_bytes), _megabytes(trend.last_quarter_bytes))
        memory.add_row(role, *quarters, growth, _megabytes(trend.peak_bytes))
    console.print(memory)
    _print_targets(console, bench.targets)


def _print_head(console: Console, machine: Machine, *, interrupted: bool) -> None:
    memory = machine.memory_bytes / 2**30
    line = f"{machine.platform}, {machine.cpu_count} cores, {memory:.0f} GiB, {machine.browser_version}, "
    line += f"{machine.renderer_class}: {machine.renderer}"
    console.print(line, highlight=False, markup=False, soft_wrap=True)
    if interrupted:
        console.print(_INTERRUPTED)


def _print_targets(console: Console, targets: Iterable[Target]) -> None:
    table = Table(title="Targets", title_justify="left")
    for name in ("", "measured", "wanted", ""):
        table.add_column(name, justify="left" if not name else "right")
    for target in targets:
        unit = f" {target.unit}" if target.unit else ""
        measured = "-" if target.value is None else f"{target.value:,.4g}{unit}"
        verdict = "[green]reached[/]" if target.reached else "[red]not reached[/]"
        table.add_row(target.name, measured, f"{target.comparison} {target.threshold:,.4g}{unit}", verdict)
    console.print(table)


def _cpu_rows(loops: Sequence[LoopFigures]) -> list[tuple[str, Sequence[str]]]:
    roles = dict.fromkeys(role for loop in loops for role in loop.cpu_s_per_preset)
    return [
        (f"CPU-s a preset, {role}", [_number(loop.cpu_s_per_preset.get(role), 3) for loop in loops]) for role in roles
    ]


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _megabytes(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:,.0f} MB"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _whole(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
