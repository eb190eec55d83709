"""The growth benchmark as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aivj_assets.cluster.growth_bench import (
    FOUND_F1,
    TARGET_INERTIA_RATIO,
    TARGET_MAJOR_CHURN,
    GrowthBench,
    StepFigures,
    StrategyFigures,
)
from aivj_assets.cluster.growth_scale import (
    ACTS,
    TARGET_BATCH_S,
    TARGET_MAJOR_S,
    TARGET_PEAK_BYTES,
    ScaleBench,
)
from aivj_assets.cluster.strategies import DEFAULT_STRATEGY


def print_growth_bench(console: Console, bench: GrowthBench) -> None:
    """Print a line a strategy, then the default's versions, and whether it reaches what is asked of it."""
    plan = bench.plan
    table = Table(
        title=f"{plan['styles']} styles, {round(plan['late_fraction'] * plan['styles'])} of them late; overlap "
        f"{plan['overlap']}, seed {plan['seed']}; {bench.batches[0]:,} to {sum(bench.batches):,} presets in "
        f"{plan['steps']} steps; k {bench.k} to at most {bench.k_limit}",
        title_justify="left",
    )
    heads = (
        "strategy", "churn a batch\nmean / max", "since\nfirst", "inertia / re-fit\nend (max)", "late found\n(re-fit)",
        "k", "ARI, NMI\nto truth", "ARI, NMI\nto version before", "size entropy,\nlargest", "s a batch\nmean / max",
        "peak\nMB",
    )  # fmt: skip
    for head in heads:
        table.add_column(head, justify="left" if head == "strategy" else "right")
    for strategy in bench.strategies:
        table.add_row(*_row(strategy))
    console.print(table)
    for text in _notes(bench):
        console.print(escape(text), highlight=False)


def print_scale_bench(console: Console, bench: ScaleBench) -> None:
    """Print a line an act and size, and whether the largest library reaches what is asked of it."""
    table = Table(title=f"k {bench.k}, {bench.plan['dim']} dimensions; rows memory-mapped", title_justify="left")
    for head in ("act", "presets", "batch", "k", "births", "ids changed", "seconds", "ms a 1,000\npresets", "peak\nMB"):
        table.add_column(head, justify="left" if head == "act" else "right")
    for act in ACTS:
        for one in bench.of(act):
            table.add_row(
                one.act, f"{one.presets:,}", f"{one.batch:,}", str(one.k), str(one.births), f"{one.changed:,}",
                f"{one.time_s:.2f}", f"{one.time_s * 1e6 / (one.presets + one.batch):.1f}",
                f"{one.peak_memory_bytes / 1e6:.0f}",
            )  # fmt: skip
    console.print(table)
    batch, major = bench.of(DEFAULT_STRATEGY)[-1], bench.of("major")[-1]
    peak = max(one.peak_memory_bytes for one in (batch, major))
    for what, passed in (
        (
            f"a batch of {batch.batch:,} with {batch.births} births under {TARGET_BATCH_S:.0f} s",
            batch.time_s < TARGET_BATCH_S,
        ),
        (f"a major at {major.presets:,} presets under {TARGET_MAJOR_S:.0f} s", major.time_s < TARGET_MAJOR_S),
        (f"both under {TARGET_PEAK_BYTES / 2**30:.1f} GiB", peak < TARGET_PEAK_BYTES),
    ):
        console.print(escape(f"{what}: {'reached' if passed else 'missed'}"), highlight=False)


def _row(strategy: StrategyFigures) -> list[str]:
    batches, last = strategy.batches(), strategy.steps[-1]
    churn, seconds = [one.churn for one in batches], [one.time_s for one in batches]
    return [
        strategy.strategy,
        f"{_mean(churn):.1%} / {max(churn):.1%}",
        f"{last.since_first:.1%}",
        f"{last.inertia_ratio:.4f} ({max(one.inertia_ratio for one in strategy.steps):.4f})",
        f"{_share(last.late_found)} ({_share(last.late_found_refit)})",
        str(last.k),
        f"{last.ari_truth:.3f}, {last.nmi_truth:.3f}",
        f"{_mean([one.ari_before or 0 for one in batches]):.3f}, {_mean([one.nmi_before or 0 for one in batches]):.3f}",
        f"{last.size_entropy:.3f}, {last.largest_fraction:.1%}",
        f"{_mean(seconds):.2f} / {max(seconds):.2f}",
        f"{max(one.peak_memory_bytes for one in strategy.steps) / 1e6:.0f}",
    ]


def _notes(bench: GrowthBench) -> list[str]:
    lines = []
    default = next((one for one in bench.strategies if one.strategy == DEFAULT_STRATEGY), None)
    if default is not None:
        lines += [_major_line(one) for one in default.majors()]
        lines += _verdicts(default)
    lines += [
        "inertia / re-fit: mean squared distance to the cluster's direction, over a full re-fit's with the same k.",
        f"late found: share of the styles that came after the first batch with a cluster of F1 {FOUND_F1} or more.",
        "churn: share of published presets whose id a batch changed; since first: changed since first publication.",
        f"re-fits for comparison took {bench.refit_s:.0f} s; "
        + ", ".join(f"{name} {value}" for name, value in bench.libraries.items()),
    ]
    return lines


def _major_line(one: StepFigures) -> str:
    return (
        f"major of lineage at {one.presets:,} presets: {one.churn:.1%} of ids changed, {one.births} births, "
        f"{one.retired} retired, inertia / re-fit {one.inertia_ratio:.4f}, {one.time_s:.1f} s"
    )


def _verdicts(default: StrategyFigures) -> list[str]:
    last = default.steps[-1]
    churn = max(one.churn for one in default.batches())
    majors = [one.churn for one in default.majors()]
    highest = max(one.inertia_ratio for one in default.steps)
    found = last.late_found is None or last.late_found >= (last.late_found_refit or 0)
    checks = [
        ("no published id changed outside a major", churn == 0),
        (f"inertia / re-fit at most {TARGET_INERTIA_RATIO} in the end", last.inertia_ratio <= TARGET_INERTIA_RATIO),
        (f"inertia / re-fit at most {TARGET_INERTIA_RATIO} at every step", highest <= TARGET_INERTIA_RATIO),
        ("as many late styles found as by the re-fit", found),
        (
            f"at most one major, of at most {TARGET_MAJOR_CHURN:.0%}",
            len(majors) <= 1 and max(majors, default=0) <= TARGET_MAJOR_CHURN,
        ),
    ]
    return [f"lineage: {what}: {'reached' if passed else 'missed'}" for what, passed in checks]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
