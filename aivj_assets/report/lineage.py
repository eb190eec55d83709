"""What `aivj lineage show` prints: versions in the order in which they came, and batches that were taken out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aivj_assets.contracts.lineage import LineageVersion, RemovedBatch


def print_lineage(
    console: Console, name: str, versions: Sequence[LineageVersion], removed: Mapping[str, RemovedBatch]
) -> None:
    """Print a lineage's versions, the first one first."""
    head = versions[-1]
    console.print(
        f"Lineage {name}: version {head.number}, {head.presets:,} presets in {head.k} clusters, {len(head.batches)} "
        f"batches, embedded by {head.card.name}",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
    table = Table(title="Versions", title_justify="left")
    for heading, justify in (
        ("", "right"), ("what", "left"), ("presets", "right"), ("k", "right"), ("births", "left"),
        ("retired", "left"), ("ids\nchanged", "right"), ("since\nfirst", "right"), ("on", "left"),
    ):  # fmt: skip
        table.add_column(heading, justify="right" if justify == "right" else "left", overflow="fold")
    for facts in versions:
        table.add_row(
            str(facts.number),
            escape(f"{facts.kind} {facts.batch or ''}".strip()),
            f"{facts.presets:,}",
            str(facts.k),
            ", ".join(line.id for line in facts.births) or "-",
            _few([line.id for line in facts.retirements]),
            f"{facts.changed:,}",
            f"{facts.since_first_changed / facts.presets:.1%}",
            facts.at[5:10],
        )
    console.print(table)
    for facts in versions:
        if facts.reason:
            console.print(f"version {facts.number}: {facts.reason}", markup=False, highlight=False, soft_wrap=True)
    for key, gone in removed.items():
        console.print(
            f"{key} was removed ({gone.at[:10]}): {gone.reason}", markup=False, highlight=False, soft_wrap=True
        )


def _few(ids: Sequence[str]) -> str:
    return "-" if not ids else ", ".join(ids) if len(ids) <= 6 else f"{ids[0]} to {ids[-1]} ({len(ids)})"
