"""The rows of a pack's accepted batches: whose they are, finding one by its name, showing some."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from aivj_assets.contracts.embeddings import EmbeddingsMeta, ModelCard, load_embeddings
from aivj_assets.contracts.frames_index import FailedRecord, OkRecord, read_records
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.embed.search import Match, Rows
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir, BatchKey, DataRoot
from aivj_assets.report.matches import MatchView

# The capture that stands for a preset, as on the review page: the first may still look like an initial state.
_SHOWN_CAPTURE = 1
_SUGGESTED = 3
_COMPARED = 200
_LIKE = 0.5  # difflib's ratio, 0..1


@dataclass(frozen=True)
class SearchedPack:
    """The batches of a pack (or the one batch that was named) whose embeddings are accepted, and their card."""

    root: DataRoot
    name: str
    batches: list[BatchKey]
    left_out: dict[str, str]
    card: ModelCard

    @property
    def pack(self) -> str:
        """The pack's name, also where one of its batches was named."""
        return self.batches[0].pack


@dataclass
class PackRows:
    """The rows of all batches searched, one batch after the other, memory-mapped.

    They are loaded after the model: on Windows a mapped file cannot be replaced by a run, so it is held for moments.
    """

    pack: SearchedPack
    parts: list[Rows] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    _ends: list[int] = field(default_factory=list)

    @classmethod
    def load(cls, pack: SearchedPack) -> PackRows:
        """Map the rows; raises `UserError` when a batch was embedded anew meanwhile."""
        rows = cls(pack)
        for batch in pack.batches:
            embeddings = load_embeddings(pack.root.batch(batch))
            if embeddings.meta.card != pack.card:
                raise UserError(f"Batch {batch} was embedded by another model meanwhile; search again.")
            rows.parts.append(embeddings.vectors)
            rows.ids += embeddings.preset_ids
            rows._ends.append(len(rows.ids))
        return rows

    def batch_of(self, row: int) -> BatchKey:
        """Return the batch that a row is in."""
        return self.pack.batches[int(np.searchsorted(self._ends, row, side="right"))]

    def vector(self, row: int) -> Rows:
        """Return a copy of a row, float32 [d]."""
        part = int(np.searchsorted(self._ends, row, side="right"))
        return np.array(self.parts[part][row - (self._ends[part] - len(self.parts[part]))])

    def views(self, matches: Sequence[Match]) -> list[MatchView]:
        """Return matches as they are shown, ranked in the order given.

        Each batch's manifest and index are read once; a preset whose frame is not there has no picture.
        """
        labels: dict[int, str] = {}
        pictures: dict[int, Path | None] = {}
        rows = {match.row for match in matches}
        for batch in self.pack.batches:
            here = {row: self.ids[row] for row in rows if self.batch_of(row) == batch}
            if not here:
                continue
            named = _labels_of(self.pack.root, batch, set(here.values()))
            shown = _pictures_of(self.pack.root.batch(batch), set(here.values()))
            for row, preset_id in here.items():
                labels[row] = named.get(preset_id, preset_id)
                pictures[row] = shown.get(preset_id)
        return [
            MatchView(
                self.ids[match.row], labels[match.row], self.batch_of(match.row).key, match.cosine, rank,
                pictures[match.row],
            )
            for rank, match in enumerate(matches, start=1)
        ]  # fmt: skip

    def find(self, names: Sequence[str]) -> list[int]:
        """Return the rows of presets named by id, else by their whole name; raises `UserError` for the first unknown.

        The text of the error names what comes near, or why a preset that is in the pack has no row.
        """
        row_of: dict[str, int] = {}
        for row, preset_id in enumerate(self.ids):
            row_of.setdefault(preset_id, row)
        found = [row_of[name] if name in row_of else self._find_by_label(name, row_of) for name in names]
        return list(dict.fromkeys(found))

    def _find_by_label(self, name: str, row_of: Mapping[str, int]) -> int:
        labels: dict[str, str] = {}
        for batch in self.pack.batches:
            for preset in Manifest.load(self.pack.root.manifest(batch)).presets:
                if preset.id == name:
                    raise UserError(f"Preset '{name}' has no embedding: {self._why_no_row(batch, name)}.")
                labels[preset.id] = preset.label
        named = [preset_id for preset_id, label in labels.items() if label.casefold() == name.casefold()]
        with_row = [preset_id for preset_id in named if preset_id in row_of]
        if len(with_row) == 1:
            return row_of[with_row[0]]
        if with_row:
            raise UserError(f"{len(with_row)} presets are named '{name}'; give an id: {', '.join(with_row[:5])}.")
        near = closest(name, list(row_of), {preset_id: labels.get(preset_id, "") for preset_id in row_of})
        hint = f"the closest: {', '.join(near)}" if near else "none comes near; ids.txt beside the embeddings lists all"
        raise UserError(f"There is no preset '{name}' among the {len(row_of):,} of '{self.pack.name}' ({hint}).")

    def _why_no_row(self, batch: BatchKey, preset_id: str) -> str:
        folder = self.pack.root.batch(batch)
        record = read_records(folder.frames_index).get(preset_id)
        if isinstance(record, FailedRecord):
            return f"it could not be rendered ({', '.join(record.reasons)})"
        why = EmbeddingsMeta.load(folder.embeddings_meta).left_out.get(preset_id)
        return f"it was left out ({why})" if why else f"its batch {batch} was embedded without it"


def closest(name: str, ids: Sequence[str], labels: Mapping[str, str]) -> list[str]:
    """Return up to three ids that come nearest to a mistyped id or name, best first.

    difflib takes a minute for 130,000 ids: it compares the few that share most letter triples with the name.
    """
    wanted = name.casefold()
    triples = {wanted[start : start + 3] for start in range(max(1, len(wanted) - 2))} - {""}
    texts = {
        preset_id: [text.casefold() for text in (preset_id, labels.get(preset_id, "")) if text] for preset_id in ids
    }

    def shared(preset_id: str) -> int:
        return max(sum(triple in text for triple in triples) for text in texts[preset_id])

    few = sorted(texts, key=lambda preset_id: (-shared(preset_id), preset_id))[:_COMPARED]
    scores = {
        preset_id: max(difflib.SequenceMatcher(None, text, wanted).ratio() for text in texts[preset_id])
        for preset_id in few
    }
    near = [preset_id for preset_id in few if scores[preset_id] >= _LIKE or (wanted and wanted in texts[preset_id][0])]
    return sorted(near, key=lambda preset_id: (-scores[preset_id], preset_id))[:_SUGGESTED]


def _labels_of(root: DataRoot, batch: BatchKey, wanted: set[str]) -> dict[str, str]:
    return {preset.id: preset.label for preset in Manifest.load(root.manifest(batch)).presets if preset.id in wanted}


def _pictures_of(folder: BatchDir, wanted: set[str]) -> dict[str, Path | None]:
    records = read_records(folder.frames_index)
    return {preset_id: shown_picture(folder, records.get(preset_id)) for preset_id in wanted}


def shown_picture(folder: BatchDir, record: OkRecord | FailedRecord | None) -> Path | None:
    """Return the frame that stands for a preset; None without one inside the batch's folder."""
    if not isinstance(record, OkRecord):
        return None
    frame = record.frames[min(_SHOWN_CAPTURE, len(record.frames) - 1)]
    path = folder.path.joinpath(*PurePosixPath(frame).parts)
    return path if path.resolve().is_relative_to(folder.path.resolve()) else None
