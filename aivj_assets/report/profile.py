"""What `aivj profile` prints: the pack's frozen card, what it was before, and which batch carries which card."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aivj_assets.contracts.embeddings import ModelCard
from aivj_assets.contracts.profile import PackProfile


def print_profile(
    console: Console, pack: str, profile: PackProfile, rows: Sequence[tuple[str, ModelCard | None, str | None]]
) -> None:
    """Print a pack's profile; `rows` are (batch, card of its rows or None, why it is not accepted or None)."""
    frozen = profile.embedding
    if frozen is None:
        text = f"Pack {pack}: no card is frozen yet; the first batch that is accepted to the end freezes its own."
    else:
        text = f"Pack {pack}: frozen to {frozen.card.name} by {frozen.batch} ({frozen.frozen_at})"
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    table = Table(title="Batches", title_justify="left")
    for heading in ("batch", "embedded with", "the pack's card", "accepted"):
        table.add_column(heading, overflow="fold")
    for batch, card, problem in rows:
        same = frozen is not None and card == frozen.card
        table.add_row(
            escape(batch),
            "-" if card is None else escape(card.name),
            "-" if card is None or frozen is None else "[green]yes[/]" if same else "[red]no[/]",
            "[green]yes[/]" if problem is None else "[red]no[/]",
        )
    console.print(table)
    if profile.history:
        earlier = Table(title="Earlier cards", title_justify="left")
        for heading in ("card", "frozen by", "replaced", "why"):
            earlier.add_column(heading, overflow="fold")
        for old in profile.history:
            earlier.add_row(*map(escape, (old.card.name, old.batch, old.replaced_at, old.reason)))
        console.print(earlier)
    for batch, _, problem in rows:
        if problem is not None:
            console.print(f"{batch} is not accepted: {problem.rstrip('.')}.", markup=False, soft_wrap=True)
