"""The table that ends `aivj run PACK --all-batches`: one line a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aivj_assets.contracts.frames_meta import FramesMeta
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot


@dataclass(frozen=True)
class BatchLine:
    """One batch: what was done in this call (`ran`, `was current`, …) and why it is not accepted, None when it is.

    A batch that was stopped, or whose turn did not come, is `unfinished`: neither accepted nor rejected.
    """

    batch: BatchKey
    done: str
    problem: str | None
    presets: str
    unfinished: bool = False

    @property
    def verdict(self) -> str:
        """The verdict as rich markup."""
        if self.problem is None:
            return "[green]accepted[/]"
        return "[yellow]incomplete[/]" if self.unfinished else "[red]not accepted[/]"


def read_presets(root: DataRoot, batch: BatchKey) -> str:
    """Return how many presets of a batch were rendered, as a person reads it; `-` before there are frames."""
    path = root.batch(batch).frames_meta
    try:
        meta = FramesMeta.load(path) if path.exists() else None
    except UserError:
        meta = None
    return "-" if meta is None else f"{meta.ok:,} of {meta.total:,} ok"


def print_batches(console: Console, pack: str, lines: Sequence[BatchLine]) -> None:
    """Print what became of a pack's batches."""
    accepted = sum(line.problem is None for line in lines)
    table = Table(title=f"Pack {escape(pack)}: {accepted} of {len(lines)} batches accepted", title_justify="left")
    table.add_column("batch", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("presets", no_wrap=True)
    table.add_column("this time", no_wrap=True)
    if accepted < len(lines):
        table.add_column("why", overflow="fold")
    for line in lines:
        why = [escape(line.problem or "")] if accepted < len(lines) else []
        table.add_row(str(line.batch), line.verdict, line.presets, line.done or "-", *why)
    console.print(table)
