"""The style map as a static page: `map.html` with all places in it, names and sprite sheets beside it in `map/`."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aivj_assets.contracts.base import utc_now
from aivj_assets.contracts.manifest import split_author_title
from aivj_assets.contracts.style import ENERGIES, Energy
from aivj_assets.contracts.style_map import StyleMapMovement
from aivj_assets.layout import StyleMapDir, StyleMapSide, write_text_atomic
from aivj_assets.qa.map_sprites import SHEET_COLUMNS, SPRITE_PX, SPRITES_PER_SHEET, write_sheets

NAMES_PER_FILE = 8192

_TEMPLATES = Path(__file__).parent / "templates"
_SCRIPTS = ("map_data.js", "map_draw.js", "map_view.js", "map_panel.js", "map_main.js")
_STEPS = 65535
_SIDE_NAME = StyleMapDir.PARTS[1]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class MapPoints:
    """The presets of a map, one a row of every field; `places` float64 [n, 2] in any unit, `motion` 0..1."""

    ids: Sequence[str]
    labels: Sequence[str]
    """Names as in the manifest: "Author - Title"."""
    clusters: Sequence[str]
    energies: Sequence[Energy]
    batches: Sequence[str]
    motion: Sequence[float]
    places: npt.NDArray[np.float64]
    pictures: Sequence[Path | None]

    @classmethod
    def join(cls, parts: Sequence[MapPoints]) -> MapPoints:
        """Return the rows of all parts, one after the other."""

        def rows(name: str) -> list[Any]:
            return [value for part in parts for value in getattr(part, name)]

        return cls(
            rows("ids"), rows("labels"), rows("clusters"), rows("energies"), rows("batches"), rows("motion"),
            np.concatenate([part.places for part in parts]), rows("pictures"),
        )  # fmt: skip

    def take(self, order: npt.NDArray[np.int64]) -> MapPoints:
        """Return these rows, in this order."""

        def rows(values: Sequence[Any]) -> list[Any]:
            return [values[row] for row in order.tolist()]

        return MapPoints(
            rows(self.ids), rows(self.labels), rows(self.clusters), rows(self.energies), rows(self.batches),
            rows(self.motion), self.places[order], rows(self.pictures),
        )  # fmt: skip


@dataclass(frozen=True)
class MapHeading:
    """What the page says of its pack. `labels` are the clusters', `review_pages` the batches', relative to the page."""

    pack: str
    lineage: str
    lineage_version: int
    labels: Mapping[str, str]
    review_pages: Mapping[str, str]
    method: str
    movement: StyleMapMovement | None = None
    left_out: Mapping[str, str] | None = None


@dataclass(frozen=True)
class WrittenMap:
    """What was written: the page (to be put beside the folder), its digest, presets without a picture."""

    page: str
    digest: str
    side_bytes: int
    without_picture: list[str]


def write_map_side(
    side: StyleMapSide, points: MapPoints, heading: MapHeading, *, progress: Progress | None = None
) -> WrittenMap:
    """Write sprite sheets and names into `side` and return the page that belongs to them.

    Presets are put in an order by which neighbours on the map share a sprite sheet.
    """
    grid = quantised(points.places)
    order = morton_order(grid)
    points, grid = points.take(order), grid[order]
    unread = write_sheets(points.pictures, side.sheet, progress=progress)
    digest = _digest(points, grid, heading)
    names = list(_write_names(side, points, digest))
    page = render_map(points, grid, heading, digest=digest, side=side, name_files=names)
    side_bytes = sum(path.stat().st_size for path in side.path.iterdir())
    return WrittenMap(page, digest, side_bytes, [points.ids[row] for row in unread])


def write_map_page(path: Path, written: WrittenMap) -> int:
    """Write the page whole and return its size in bytes."""
    write_text_atomic(path, written.page)
    return len(written.page.encode("utf-8"))


def quantised(places: npt.NDArray[np.float64]) -> npt.NDArray[np.uint16]:
    """Return places as uint16 [n, 2]: the longer side of the map fills 0..65535, the shorter one is centred."""
    low, high = places.min(axis=0), places.max(axis=0)
    span = float((high - low).max()) or 1.0
    unit = (places - (low + high) / 2) / span + 0.5
    grid: npt.NDArray[np.uint16] = np.clip(np.round(unit * _STEPS), 0, _STEPS).astype(np.uint16)
    return grid


def morton_order(grid: npt.NDArray[np.uint16]) -> npt.NDArray[np.int64]:
    """Return row numbers of uint16 [n, 2] along a Z-order curve."""

    def apart(values: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint64]:
        bits = values.astype(np.uint64)
        for shift, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
            bits = (bits | (bits << np.uint64(shift))) & np.uint64(mask)
        return bits

    order: npt.NDArray[np.int64] = np.argsort(apart(grid[:, 0]) | (apart(grid[:, 1]) << np.uint64(1)), kind="stable")
    return order


def packed(data: bytes) -> str:
    """Return bytes as base64 of gzip, always the same for the same bytes."""
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode("ascii")


def _by_number(clusters: set[str]) -> list[str]:
    return sorted(clusters, key=lambda name: (len(name), name))


def _digest(points: MapPoints, grid: npt.NDArray[np.uint16], heading: MapHeading) -> str:
    digest = hashlib.sha256(grid.tobytes())
    plain = [
        list(points.ids), list(points.labels), list(points.clusters), list(points.energies), list(points.batches),
        list(points.motion), heading.pack, heading.lineage, heading.lineage_version, dict(heading.labels),
        dict(heading.review_pages), dict(heading.left_out or {}),
    ]  # fmt: skip
    digest.update(json.dumps(plain, separators=(",", ":")).encode("utf-8"))
    return digest.hexdigest()


def _write_names(side: StyleMapSide, points: MapPoints, digest: str) -> Iterator[str]:
    """Write ids, authors and titles, some thousand a file, and yield the files' names.

    A page from disk may not fetch, but it may load scripts: each calls one function with packed text, never a name.
    """
    for part, begin in enumerate(range(0, len(points.ids), NAMES_PER_FILE)):
        rows = slice(begin, begin + NAMES_PER_FILE)
        split = [split_author_title(label) for label in points.labels[rows]]
        listed = {
            "ids": list(points.ids[rows]),
            "authors": [author or "" for author, _ in split],
            "titles": [title or name for (_, title), name in zip(split, points.ids[rows], strict=True)],
        }
        # A name may hold half of a surrogate pair: no UTF-8 takes it.
        text = json.dumps(listed, ensure_ascii=False, separators=(",", ":")).encode("utf-8", errors="replace")
        path = side.names(part)
        write_text_atomic(path, f'aivjMapNames("{digest}", {part}, "{packed(text)}");\n')
        yield path.name


def _packed_points(
    points: MapPoints, grid: npt.NDArray[np.uint16], clusters: Sequence[str], batches: Sequence[str]
) -> str:
    def numbers(values: Sequence[str], known: Sequence[str], kind: str) -> bytes:
        number_of = {name: number for number, name in enumerate(known)}
        return np.array([number_of[value] for value in values], dtype=kind).tobytes()

    motion = np.clip(np.round(np.asarray(points.motion) * _STEPS), 0, _STEPS).astype("<u2")
    return packed(
        grid.astype("<u2").tobytes()
        + numbers(points.clusters, clusters, "<u2")
        + numbers(points.batches, batches, "<u2")
        + motion.tobytes()
        + numbers(points.energies, ENERGIES, "u1")
    )


def render_map(
    points: MapPoints,
    grid: npt.NDArray[np.uint16],
    heading: MapHeading,
    *,
    digest: str,
    side: StyleMapSide,
    name_files: Sequence[str],
) -> str:
    """Return the page as HTML. Names of presets are not in it; labels and batches are escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    clusters, batches = _by_number(set(points.clusters)), list(dict.fromkeys(heading.review_pages))
    script = "\n" + '"use strict";\n' + "\n".join((_TEMPLATES / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    facts = {
        "presets": len(points.ids),
        "digest": digest,
        "clusters": [{"id": name, "label": heading.labels.get(name, name)} for name in clusters],
        "energies": list(ENERGIES),
        "batches": [{"name": name, "page": heading.review_pages[name]} for name in batches],
        "nameFiles": [f"{_SIDE_NAME}/{name}" for name in name_files],
        "namesPerFile": NAMES_PER_FILE,
        "sheets": _sheets(len(points.ids), side),
        "columns": SHEET_COLUMNS,
        "spritePx": SPRITE_PX,
        "spritesPerSheet": SPRITES_PER_SHEET,
    }
    facts_json = json.dumps(facts, separators=(",", ":")).replace("<", "\\u003c")
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES, encoding="utf-8"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("map.html.j2").render(
        pack=heading.pack, lineage=heading.lineage, lineage_version=heading.lineage_version, generated_at=utc_now(),
        presets=len(points.ids), clusters=_rows(points, heading, clusters), batches=batches,
        left_out=dict(heading.left_out or {}), method=heading.method, movement=heading.movement,
        style=Markup((_TEMPLATES / "map.css").read_text(encoding="utf-8")),  # noqa: S704 - the project's own files
        script=Markup(script),  # noqa: S704
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode('utf-8')).digest()).decode('ascii')}",
        facts_json=Markup(facts_json),  # noqa: S704 - JSON without "<"
        points=_packed_points(points, grid, clusters, batches),
    )  # fmt: skip


def _sheets(presets: int, side: StyleMapSide) -> list[dict[str, Any]]:
    listed = []
    for begin in range(0, presets, SPRITES_PER_SHEET):
        count = min(SPRITES_PER_SHEET, presets - begin)
        path = side.sheet(begin // SPRITES_PER_SHEET)
        listed.append(
            {
                "path": f"{_SIDE_NAME}/{path.name}",
                "width": min(count, SHEET_COLUMNS) * SPRITE_PX,
                "height": -(-count // SHEET_COLUMNS) * SPRITE_PX,
            }
        )
    return listed


@dataclass(frozen=True)
class ClusterRow:
    """A cluster in the page's table: presets, presets by energy (calm, groove, peak), links to the review pages."""

    id: str
    label: str
    size: int
    energies: list[int]
    pages: list[tuple[str, str]]


def _rows(points: MapPoints, heading: MapHeading, clusters: Sequence[str]) -> list[ClusterRow]:
    by_energy = Counter(zip(points.clusters, points.energies, strict=True))
    in_batch = set(zip(points.clusters, points.batches, strict=True))
    sizes = Counter(points.clusters)
    return [
        ClusterRow(
            name,
            heading.labels.get(name, name),
            sizes[name],
            [by_energy[name, energy] for energy in ENERGIES],
            [(batch, f"{page}#{name}") for batch, page in heading.review_pages.items() if (name, batch) in in_batch],
        )
        for name in clusters
    ]
