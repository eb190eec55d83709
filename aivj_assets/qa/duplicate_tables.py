"""What thresholds would call near-duplicates as a table for the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aivj_assets.contracts.qa_duplicates import DuplicateThresholds
from aivj_assets.qa.duplicate_bench import COSINES, DISTANCES, DuplicateBench
from aivj_assets.qa.picture_hash import BITS

_LEGEND = (
    "Titles are equal but for case, spaces and signs. Most such pairs are re-saved presets that look the same, not "
    "all; pairs of two titles may well look the same. Look at them with --sheet FILE."
)


def print_duplicate_bench(console: Console, bench: DuplicateBench, thresholds: DuplicateThresholds) -> None:
    """Print pairs of one title + pairs of two titles for each pair of thresholds; those in force are in bold."""
    title = f"Near pairs of {bench.presets:,} presets, of one title + of two; across: bits of 64 that may differ"
    table = Table(title=title, title_justify="left")
    table.add_column("cosine", justify="right", no_wrap=True)
    for bits in DISTANCES:
        table.add_column("any" if bits == BITS else str(bits), justify="right", no_wrap=True)
    for cosine in COSINES:
        cells = []
        for bits in DISTANCES:
            same, other = bench.found(cosine, bits)
            is_set = cosine == thresholds.min_cosine and bits == thresholds.max_hash_distance
            cells.append(f"[bold]{same}+{other}[/bold]" if is_set else f"{same}+{other}")
        table.add_row(f"{cosine:g}", *cells)
    console.print(table)
    same, other = bench.found(thresholds.min_cosine, thresholds.max_hash_distance)
    in_force = f"cosine from {thresholds.min_cosine:g}, up to {thresholds.max_hash_distance} bits"
    lines = [
        f"in force: {in_force}: {same} of the {bench.same_title_pairs} pairs of one title, {other} others",
        _LEGEND,
    ]
    if bench.is_cut:
        lines.append(f"Only the nearest {len(bench.pairs):,} pairs are counted.")
    for line in lines:
        console.print(escape(line), highlight=False, soft_wrap=True)
