"""What `aivj profile` prints: what is frozen for a lineage, what was before, and which batch carries what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aivj_assets.contracts.profile import Frozen, LineageProfile


@dataclass(frozen=True)
class ProfileRow:
    """One batch: what it carries in a few words (None: not made, or not known), and why it is not accepted, or None."""

    batch: str
    card: str | None
    frozen_card: bool
    pixels: str | None
    frozen_pixels: bool
    problem: str | None


def print_profile(console: Console, lineage: str, profile: LineageProfile, rows: Sequence[ProfileRow]) -> None:
    """Print a lineage's profile, field by field, and its batches held against it."""
    parts: tuple[tuple[str, Frozen | None], ...] = (
        ("model card", profile.embedding), ("pixel parameters", profile.pixels),
    )  # fmt: skip
    for noun, frozen in parts:
        if frozen is None:
            text = (
                f"Lineage {lineage}: no {noun} frozen yet; the first batch that is accepted to the end freezes its own."
            )
        else:
            text = f"Lineage {lineage}: frozen to {frozen.name} by {frozen.batch} ({frozen.frozen_at})"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    if profile.pixels is not None:
        values = ", ".join(f"{name} {value}" for name, value in profile.pixels.parameters.items() if value is not None)
        console.print(f"  {values}", markup=False, highlight=False, soft_wrap=True)
    _print_batches(console, profile, rows)
    if profile.history:
        earlier = Table(title="Earlier", title_justify="left")
        for heading in ("what", "frozen by", "replaced", "why"):
            earlier.add_column(heading, overflow="fold")
        for old in profile.history:
            earlier.add_row(*map(escape, (old.name, old.batch, old.replaced_at, old.reason)))
        console.print(earlier)
    _print_what_is_open(console, profile, rows)


def _print_batches(console: Console, profile: LineageProfile, rows: Sequence[ProfileRow]) -> None:
    table = Table(title="Batches", title_justify="left")
    for heading in ("batch", "embedded with", "frozen card", "rendered with", "frozen parameters", "accepted"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(
            escape(row.batch),
            escape(row.card or "-"),
            _yes(row.frozen_card) if row.card and profile.embedding else "-",
            escape(row.pixels or "-"),
            _yes(row.frozen_pixels) if row.pixels and profile.pixels else "-",
            _yes(row.problem is None),
        )
    console.print(table)


def _print_what_is_open(console: Console, profile: LineageProfile, rows: Sequence[ProfileRow]) -> None:
    for row in rows:
        if row.problem is not None:
            console.print(f"{row.batch} is not accepted: {row.problem.rstrip('.')}.", markup=False, soft_wrap=True)
    for row in rows:
        if row.card and profile.embedding and not row.frozen_card:
            _say_again(console, row.batch, "card", "embed it with the lineage's model")
        if row.pixels and profile.pixels and not row.frozen_pixels:
            _say_again(console, row.batch, "pixel parameters", "render it with the lineage's")


def _yes(holds: bool) -> str:
    return "[green]yes[/]" if holds else "[red]no[/]"


def _say_again(console: Console, batch: str, noun: str, what: str) -> None:
    text = f"{batch} carries another {noun}: {what} (aivj run {batch}), or it is not published with the others."
    console.print(text, markup=False, highlight=False, soft_wrap=True)
