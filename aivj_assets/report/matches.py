"""What a search found: a table in the terminal, a page with pictures that needs nothing but itself, and JSON."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from aivj_assets.contracts.embeddings import ModelCard
from aivj_assets.contracts.manifest import split_author_title
from aivj_assets.report.html import render_template, write_html

# A stored frame has about 10 KB; larger pictures are made smaller, or a page of 1,000 could not be opened.
_PICTURE_LIMIT_BYTES = 40_000
_PICTURE_SIDE = 448  # pixels
_PICTURE_TYPES = {"WEBP": "image/webp", "PNG": "image/png", "JPEG": "image/jpeg"}


@dataclass(frozen=True)
class MatchView:
    """A preset of the result, or with `rank` None what was asked for; an image that was asked for has no id."""

    preset_id: str
    label: str
    """The name by which people know it."""
    batch: str
    cosine: float | None
    rank: int | None = None
    picture: Path | None = None
    """The picture to show; None where there is none."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object, without what is not there."""
        fields = {
            "rank": self.rank, "presetId": self.preset_id or None, "label": self.label, "batch": self.batch or None,
            "cosine": self.cosine, "picture": str(self.picture) if self.picture else None,
        }  # fmt: skip
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True)
class MatchGroup:
    """Presets, best first; with labels one group a label, `suits` the presets whose best label it is."""

    matches: list[MatchView]
    name: str = ""
    suits: int = 0


@dataclass(frozen=True)
class BestLabel:
    """A preset's best label; `margin` is how far the second lies below, NaN where there is none."""

    preset_id: str
    batch: str
    label: str
    cosine: float
    margin: float

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object; a margin that is not there is left out."""
        found = {"presetId": self.preset_id, "batch": self.batch, "label": self.label, "cosine": self.cosine}
        return found if math.isnan(self.margin) else {**found, "margin": self.margin}


@dataclass(frozen=True)
class SearchResult:
    """What was asked of which presets, and what was found."""

    pack: str
    """The pack, or the batch that was searched alone."""
    kind: str
    """`texts`, `labels`, `presets` or `image`: what `asked` holds."""
    asked: list[str]
    groups: list[MatchGroup]
    card: ModelCard
    presets: int
    """Presets that were compared."""
    batches: list[str]
    left_out: dict[str, str] = field(default_factory=dict)
    """Batches of the pack that were not searched: {batch: why}."""
    query: list[MatchView] = field(default_factory=list)
    best_labels: list[BestLabel] = field(default_factory=list)

    @property
    def title(self) -> str:
        """What was asked for, in a few words."""
        if self.kind == "labels":
            return f"{len(self.asked)} label{'s' if len(self.asked) > 1 else ''}"
        names = [view.label for view in self.query] if self.kind == "presets" else self.asked
        return " + ".join(names)

    def to_json(self) -> dict[str, Any]:
        """Return all of it as a JSON object."""
        found: dict[str, Any] = {
            "pack": self.pack,
            self.kind: self.asked,
            "model": self.card.to_json(),
            "presets": self.presets,
            "batches": self.batches,
            "leftOut": self.left_out,
        }
        if self.kind != "labels":
            return {**found, "matches": [match.to_json() for match in self.groups[0].matches]}
        groups = [
            {"label": group.name, "suits": group.suits, "matches": [match.to_json() for match in group.matches]}
            for group in self.groups
        ]
        return {**found, "groups": groups, "bestLabels": [best.to_json() for best in self.best_labels]}


# ---------------------------------------------------------------------- the terminal


def print_result(console: Console, result: SearchResult) -> None:
    """Print the batches that were left out, a line each, and the table."""
    for batch, why in result.left_out.items():
        line = f"Batch {batch} is left out: {why.rstrip('.')}."
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if not any(group.matches for group in result.groups):
        console.print("There is no other preset to compare with.", highlight=False)
        return
    table = _labels_table(console, result) if result.kind == "labels" else _matches_table(console, result)
    if console.is_terminal:
        console.print(table)
        return
    # In a file or a pipe a row is a line, however wide.
    wide = console.options.update(max_width=10_000, width=10_000)
    table.width = Measurement.get(console, wide, table).maximum
    console.print(table, crop=False, no_wrap=True, soft_wrap=True, width=table.width)


def _matches_table(console: Console, result: SearchResult) -> Table:
    table = _table(_title(console, result), ("rank", "cosine", "preset", "name", "batch"))
    for view in [*result.query, *result.groups[0].matches]:
        rank = "asked" if view.rank is None else str(view.rank)
        cosine = "" if view.cosine is None else f"{view.cosine:.4f}"
        cells = [Text(rank), Text(cosine), *(_cell(console, text) for text in (view.preset_id, view.label, view.batch))]
        table.add_row(*cells, style="cyan" if view.rank is None else None)
    return table


def _labels_table(console: Console, result: SearchResult) -> Table:
    table = _table(_title(console, result), ("presets", "cosine", "label", "best preset", "name"))
    for group in result.groups:
        if group.matches:
            best = group.matches[0]
            cells = (_cell(console, text) for text in (group.name, best.preset_id, best.label))
            table.add_row(Text(str(group.suits)), Text(f"{best.cosine:.4f}"), *cells)
    return table


def _title(console: Console, result: SearchResult) -> Text:
    return _cell(console, f"{result.title}: {result.presets:,} presets of {result.pack}, {result.card.model}")


def _table(title: Text, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number < 2 else "left", overflow="fold")
    return table


def _cell(console: Console, text: str) -> Text:
    """Return a text from outside as the terminal can show it: no control characters, no letter that it lacks."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    encoding = console.encoding
    return Text(plain.encode(encoding, "replace").decode(encoding))


# ---------------------------------------------------------------------- the page


def write_page(path: Path, result: SearchResult) -> None:
    """Write the page whole; raises `UserError` when it cannot be written."""
    write_html(path, render_page(result))


def render_page(result: SearchResult) -> str:
    """Return the page as HTML, its pictures inside. Names of presets are untrusted: all values are escaped."""
    filters: dict[str, Callable[..., Any]] = {"author_title": split_author_title, "data_uri": picture_uri}
    return render_template("matches.html.j2", filters, result=result)


def picture_uri(path: Path | None) -> str | None:
    """Return a picture as a data URI, large ones made smaller; None where there is none that can be read."""
    from PIL import Image, UnidentifiedImageError

    if path is None:
        return None
    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as picture:
            media_type = _PICTURE_TYPES.get(picture.format or "")
            # Also what is small is decoded: a torn file would leave a hole in the page.
            picture.load()
            if media_type is None or len(data) > _PICTURE_LIMIT_BYTES:
                picture.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE))
                smaller = io.BytesIO()
                picture.convert("RGB").save(smaller, "WEBP", quality=80)
                data, media_type = smaller.getvalue(), "image/webp"
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
        return None
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"
