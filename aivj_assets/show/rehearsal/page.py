"""A rehearsal as a static page: everything in `index.html` but the pictures, which lie on sheets in `pictures/`.

Rows of a track are packed as bytes and drawn on one canvas, so that a page of an hour stays below a megabyte.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aivj_assets.contracts.audio_timeline import ROW_S, WINDOW_FEATURES, AudioTimeline
from aivj_assets.contracts.manifest import split_author_title
from aivj_assets.contracts.rehearsal import RULE_NOTES, PlayName, Rehearsal
from aivj_assets.contracts.show_log import EndLine, PickLine
from aivj_assets.contracts.style import ENERGIES
from aivj_assets.layout import write_text_atomic
from aivj_assets.show.rehearsal.heard import Heard, ShowLines, Shown
from aivj_assets.show.rehearsal.page_tables import (
    REASON_WORDS,
    RELAXED_WORDS,
    cluster_bars,
    comparison_rows,
    dwell_rows,
)
from aivj_assets.show.rehearsal.pictures import SHEET_COLUMNS, SPRITE_HEIGHT_PX, SPRITE_WIDTH_PX, SPRITES_PER_SHEET

PAGE_NAME, PICTURES_NAME = "index.html", "pictures"
_TEMPLATES = Path(__file__).parent / "templates"
_SCRIPTS = ("page_data.js", "page_view.js", "page_draw.js", "page_detail.js", "page_main.js")
_ONSET_SCALE = 64
"""An onset of 1 is a typical one; 4 and more fill the lane."""


@dataclass(frozen=True)
class PageInput:
    """What the page shows. `peaks` int8 [rows, 2]; `sprites` are the sheets' pictures in order, one a preset."""

    rehearsal: Rehearsal
    timeline: AudioTimeline
    heard: Heard
    peaks: npt.NDArray[np.int8]
    lines: ShowLines
    shown: Mapping[PlayName, Sequence[Shown]]
    labels: Mapping[str, str]
    """Names of presets as in the manifest: "Author - Title"."""
    cluster_labels: Mapping[str, str]
    cluster_sizes: Mapping[str, int]
    sprites: Sequence[str]


def write_page(folder: Path, made: PageInput) -> int:
    """Write `index.html` whole and return its size in bytes."""
    page = render_page(made)
    write_text_atomic(folder / PAGE_NAME, page)
    return len(page.encode("utf-8"))


def render_page(made: PageInput) -> str:
    """Return the page as HTML. Names of presets are only in packed JSON and are shown as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    script = "\n" + '"use strict";\n' + "\n".join((_TEMPLATES / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES, encoding="utf-8"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["clock"] = clock
    rehearsal = made.rehearsal
    return environment.get_template("page.html.j2").render(
        rehearsal=rehearsal,
        ours=rehearsal.figures("selector"),
        rule_notes=RULE_NOTES,
        titles={name: _name_of(made, name)[1] for name in {one.preset_id or "" for one in rehearsal.violations}},
        comparison=comparison_rows(rehearsal),
        dwell=dwell_rows(made.shown, made.heard, rehearsal.selection),
        clusters=cluster_bars(made.shown["selector"], made.cluster_sizes, made.cluster_labels),
        style=Markup((_TEMPLATES / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - the project's own files
        script=Markup(script),  # noqa: S704
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode('utf-8')).digest()).decode('ascii')}",
        facts=packed(json.dumps(_facts(made), separators=(",", ":")).encode("utf-8")),
        rows=packed(packed_rows(made.timeline, made.peaks)),
    )  # fmt: skip


def packed(data: bytes) -> str:
    """Return bytes as base64 of gzip, always the same for the same bytes."""
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode("ascii")


def packed_rows(timeline: AudioTimeline, peaks: npt.NDArray[np.int8]) -> bytes:
    """Return the rows as one array of n bytes after another.

    Least and largest sample (int8), loudness, onset, low, mid, high (uint8), and a byte of which two bits are the tier
    and one each beat, bar, phrase, section.
    """

    def share(name: str, scale: float = 255.0) -> bytes:
        column = np.asarray(timeline.columns[name], dtype=np.float64)
        return np.clip(np.round(column * scale), 0, 255).astype(np.uint8).tobytes()

    place = {tier: number for number, tier in enumerate(ENERGIES)}
    marks = np.array([place[tier] for tier in timeline.tiers], dtype=np.uint8)
    for bit, name in enumerate(("beat", "bar", "phrase", "section"), start=2):
        marks |= (np.asarray(timeline.columns[name]) > 0).astype(np.uint8) << np.uint8(bit)
    return b"".join(
        [
            np.ascontiguousarray(peaks[:, 0]).tobytes(), np.ascontiguousarray(peaks[:, 1]).tobytes(),
            share("loudness"), share("onset", _ONSET_SCALE), share("low"), share("mid"), share("high"), marks.tobytes(),
        ]
    )  # fmt: skip


def clock(time_s: float) -> str:
    """Return a time as `1:02:03` or `2:03`."""
    minutes, seconds = divmod(round(time_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _name_of(made: PageInput, preset_id: str) -> tuple[str, str]:
    """Return author ("" where none is known) and title."""
    author, title = split_author_title(made.labels.get(preset_id, preset_id))
    return author or "", title or preset_id


def _facts(made: PageInput) -> dict[str, Any]:
    timeline, rehearsal = made.timeline, made.rehearsal
    picks = [line for line in made.lines if isinstance(line, PickLine)]
    ends = {line.number: line for line in made.lines if isinstance(line, EndLine)}
    names = list(dict.fromkeys(name for pick in picks for name in _presets_of(pick)))
    number_of = {name: number for number, name in enumerate(names)}
    return {
        "rows": timeline.rows,
        "rowS": ROW_S,
        "firstS": timeline.columns["timeS"][0] if timeline.rows else 0.0,
        "endS": made.heard.end_s,
        "energies": list(ENERGIES),
        "sections": [[one.name, one.start_s, one.end_s, ENERGIES.index(one.tier)] for one in rehearsal.sections],
        "presets": [[name, *_name_of(made, name)] for name in names],
        "clusters": dict(made.cluster_labels),
        "sprites": [number_of[name] for name in made.sprites],
        "sheet": {
            "folder": PICTURES_NAME, "columns": SHEET_COLUMNS, "each": SPRITES_PER_SHEET, "width": SPRITE_WIDTH_PX,
            "height": SPRITE_HEIGHT_PX,
        },
        "features": list(WINDOW_FEATURES),
        "reasons": REASON_WORDS,
        "relaxed": RELAXED_WORDS,
        "picks": [_pick(pick, ends.get(pick.number), number_of) for pick in picks],
        "plays": {
            name: [[round(one.time_s, 3), ENERGIES.index(one.energy)] for one in shown]
            for name, shown in made.shown.items()
        },
        "violations": [[round(one.time_s, 3), one.rule, one.detail] for one in rehearsal.violations],
    }  # fmt: skip


def _presets_of(pick: PickLine) -> list[str]:
    return [pick.preset_id, *(candidate.preset_id for candidate in pick.candidates)]


def _pick(pick: PickLine, end: EndLine | None, number_of: Mapping[str, int]) -> dict[str, Any]:
    return {
        "t": round(pick.time_s, 3),
        "tier": ENERGIES.index(pick.tier),
        "preset": number_of[pick.preset_id],
        "cluster": pick.cluster,
        "energy": ENERGIES.index(pick.energy),
        "p": round(pick.probability, 5),
        "reason": pick.reason,
        "relaxed": list(pick.relaxed),
        "favourite": pick.favourite,
        "count": pick.candidate_count,
        "candidates": [[number_of[one.preset_id], one.cluster, round(one.probability, 5)] for one in pick.candidates],
        "features": [round(pick.features.get(name, 0.0), 4) for name in WINDOW_FEATURES],
        "end": None if end is None else round(end.time_s, 3),
        "endedBy": None if end is None else end.ended_by,
    }
