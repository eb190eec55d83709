"""Presets that look alike: copies of the same pictures, and re-saved or hardly changed presets, found by cluster."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aivj_assets.contracts.clusters import Clusters
from aivj_assets.contracts.embeddings import Embeddings
from aivj_assets.contracts.frames_index import BLACK_MAX_LUMA, FLAT_MAX_STD, FailedRecord, OkRecord
from aivj_assets.contracts.qa_duplicates import (
    DEFAULT_MAX_HASH_DISTANCE,
    DEFAULT_MIN_COSINE,
    DuplicateCounts,
    DuplicateElsewhere,
    DuplicateGroup,
    DuplicatePreset,
    DuplicateThresholds,
    KeepReason,
    QaDuplicates,
)
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir, BatchKey
from aivj_assets.qa.leaders import FloatRows, NearPairs, Places, find_nearest, follow_leaders
from aivj_assets.qa.misfits import find_misfits
from aivj_assets.qa.picture_hash import PresetHashes

Records = Mapping[str, OkRecord | FailedRecord]
PairDistances = Callable[[Places, Places], Places]


def duplicate_thresholds(
    max_hash_distance: int = DEFAULT_MAX_HASH_DISTANCE, min_cosine: float = DEFAULT_MIN_COSINE
) -> DuplicateThresholds:
    """Return thresholds with the bounds of `black` and `flat`, which are the rendering's."""
    return DuplicateThresholds(
        max_hash_distance=max_hash_distance,
        min_cosine=min_cosine,
        black_max_luma=BLACK_MAX_LUMA,
        flat_max_std=FLAT_MAX_STD,
    )


@dataclass(frozen=True)
class OtherBatch:
    """Another accepted batch of the pack: its presets and their clusters, in one order."""

    key: str
    folder: BatchDir
    preset_ids: Sequence[str]
    clusters: Sequence[str]
    rows: Callable[[Places], FloatRows]
    """Its unit rows float32 [m, d] of some places among `preset_ids`."""
    records: Callable[[], Records]
    """Its index; asked for when a row is near one of this batch."""


def find_duplicates(
    folder: BatchDir,
    batch: BatchKey,
    clusters: Clusters,
    embeddings: Embeddings,
    *,
    records: Records,
    manifest_ids: Sequence[str],
    thresholds: DuplicateThresholds | None = None,
    kept: Collection[str] = (),
    dropped: Collection[str] = (),
    others: Iterable[OtherBatch] = (),
) -> QaDuplicates:
    """Return a batch's near-duplicates and misfits.

    Two presets are near-duplicates when they are in one cluster, their rows have a cosine of at least `minCosine` and
    their captures differ in at most `maxHashDistance` bits (see `PresetHashes.distances`). Each group is around the
    preset to keep: one that a person kept before (`kept`), else the one with the most detail, else the first in
    `manifest_ids`; the others are near that one itself. Copies, whose captures are byte for byte those of another, are
    found wherever they are. Misfits take no part, and neither does what a person `dropped`, which is not counted
    either. `others` are asked for presets near one that is to keep here.

    Raises `UserError` when a clustered preset has no ok record or no row. A missing frame is near nothing.
    """
    limits = thresholds or duplicate_thresholds()
    gone = set(dropped)
    assignments = {name: cluster for name, cluster in clusters.assignments.items() if name not in gone}
    ok = {name: _ok_record(name, records) for name in assignments}
    misfits = find_misfits(folder, ok, assignments)
    dull = {misfit.preset_id for misfit in misfits}
    places = {preset_id: place for place, preset_id in enumerate(manifest_ids)}
    shown = [_Shown.of(folder, ok[name]) for name in assignments if name not in dull]
    in_order = sorted(
        shown, key=lambda one: (one.id not in kept, -one.detail_bytes, places.get(one.id, len(places)), one.id)
    )
    search = _Search(in_order, assignments, embeddings, limits, set(kept))
    search.run()
    copies = sum(len(ids) - 1 for ids in search.copies.values())
    leaders = len(search.copies) - sum(leader != name for name, leader in search.leader.items())
    return QaDuplicates(
        batch=batch.key,
        lineage=clusters.lineage.name if clusters.lineage else None,
        lineage_version=clusters.lineage.version if clusters.lineage else None,
        thresholds=limits,
        counts=DuplicateCounts(
            presets=len(ok),
            unique=leaders,
            exact_duplicates=copies,
            near_duplicates=len(search.copies) - leaders,
            misfits=len(misfits),
        ),
        groups=search.groups(),
        misfits=misfits,
        elsewhere=[found for other in others for found in search.elsewhere(other)],
    )


def _ok_record(preset_id: str, records: Records) -> OkRecord:
    record = records.get(preset_id)
    if not isinstance(record, OkRecord):
        raise UserError(f"clustered preset '{preset_id}' has no frames; materialise embeddings and clusters again.")
    return record


@dataclass(frozen=True)
class _Shown:
    """A preset's captures on disk."""

    id: str
    paths: tuple[Path, ...]
    frame: str
    sizes: tuple[int, ...] | None
    """In bytes; None where a capture is missing."""

    @classmethod
    def of(cls, folder: BatchDir, record: OkRecord) -> _Shown:
        paths = tuple(folder.path / name for name in record.frames)
        try:
            sizes = tuple(path.stat().st_size for path in paths)
        except OSError:
            sizes = None
        return cls(record.preset_id, paths, record.frames[(len(paths) - 1) // 2], sizes)

    @property
    def detail_bytes(self) -> float:
        """Mean size of a capture: at one quality setting, more bytes are more detail."""
        return sum(self.sizes) / len(self.sizes) if self.sizes else 0.0

    def digest(self) -> bytes | None:
        """Return the SHA-1 over the captures' bytes; None where one cannot be read."""
        digest = hashlib.sha1(usedforsecurity=False)
        try:
            for path in self.paths:
                digest.update(path.read_bytes())
        except OSError:
            return None
        return digest.digest()


@dataclass
class _Search:
    """Presets in the order of preference, and what is found of them."""

    shown: Sequence[_Shown]
    assignments: Mapping[str, str]
    embeddings: Embeddings
    limits: DuplicateThresholds
    kept: set[str]
    leader: dict[str, str] = field(default_factory=dict)
    """The preset to keep of every first of its copies; its own id where that is itself."""

    @cached_property
    def place(self) -> dict[str, int]:
        return {one.id: place for place, one in enumerate(self.shown)}

    @cached_property
    def row_of(self) -> dict[str, int]:
        return {preset_id: row for row, preset_id in enumerate(self.embeddings.preset_ids)}

    @cached_property
    def hashes(self) -> PresetHashes:
        return PresetHashes([one.paths for one in self.shown])

    @cached_property
    def copies(self) -> dict[str, list[str]]:
        """{the preferred one of those that show the same bytes: all of them}. Only files of one size are read."""
        sizes = Counter(one.sizes for one in self.shown)
        found: defaultdict[object, list[str]] = defaultdict(list)
        for one in self.shown:
            alike = one.sizes is not None and sizes[one.sizes] > 1
            found[(one.digest() if alike else None) or one.id].append(one.id)
        return {ids[0]: ids for ids in found.values()}

    def rows(self, names: Sequence[str]) -> FloatRows:
        missing = next((name for name in names if name not in self.row_of), None)
        if missing is not None:
            raise UserError(f"clustered preset '{missing}' has no embedding; materialise clusters again.")
        return np.asarray(self.embeddings.vectors[[self.row_of[name] for name in names]])

    def places(self, names: Sequence[str]) -> Places:
        return np.array([self.place[name] for name in names], dtype=np.int64)

    def run(self) -> None:
        """Find the leader of every first of its copies, cluster by cluster."""
        members: defaultdict[str, list[str]] = defaultdict(list)
        for name in self.copies:
            members[self.assignments[name]].append(name)
        for names in members.values():
            places = self.places(names)

            def distances(some: Places, others: Places, places: Places = places) -> Places:
                return self.hashes.distances(places[some], self.hashes, places[others])

            leaders = follow_leaders(self.rows(names), self.limits.min_cosine, self._within(distances))
            self.leader |= {name: names[leader] for name, leader in zip(names, leaders.tolist(), strict=True)}

    def groups(self) -> list[DuplicateGroup]:
        """Return the groups of two and more, the largest first."""
        followers: defaultdict[str, list[str]] = defaultdict(list)
        for name, leader in self.leader.items():
            followers[leader].append(name)
        made = [
            self._group(leader, names)
            for leader, names in followers.items()
            if len(names) > 1 or len(self.copies[leader]) > 1
        ]
        return sorted(made, key=lambda group: (-len(group.presets), group.cluster, group.keep))

    def _group(self, leader: str, names: Sequence[str]) -> DuplicateGroup:
        keep = self.places([leader])
        distances = self.hashes.distances(np.repeat(keep, len(names)), self.hashes, self.places(names))
        cosines = self.rows(names) @ self.rows([leader])[0]
        presets = [
            self._member(copy, leader, int(distance), float(cosine))
            for name, distance, cosine in zip(names, distances, cosines, strict=True)
            for copy in self.copies[name]
        ]
        presets.sort(key=lambda one: (one.preset_id != leader, not one.exact, -one.cosine, one.preset_id))
        detail = self.shown[int(keep[0])].detail_bytes
        most = max(self.shown[self.place[one.preset_id]].detail_bytes for one in presets[1:])
        reason: KeepReason = "most detail" if detail > most else "first in the manifest"
        return DuplicateGroup(
            cluster=self.assignments[leader],
            keep=leader,
            reason="kept before" if leader in self.kept else reason,
            presets=presets,
        )

    def _member(self, name: str, leader: str, distance: int, cosine: float) -> DuplicatePreset:
        copied = name in self.copies[leader]
        one = self.shown[self.place[name]]
        return DuplicatePreset(
            preset_id=name,
            # Copies of a flat or unreadable first capture have no distance.
            hash_distance=0 if copied else distance,
            cosine=1.0 if copied else round(min(1.0, cosine), 6),
            exact=copied and name != leader,
            frame=one.frame,
            detail_bytes=round(one.detail_bytes, 1),
        )

    def elsewhere(self, other: OtherBatch) -> list[DuplicateElsewhere]:
        """Return the presets to keep here that are near one of another batch, each with the nearest one there."""
        mine: defaultdict[str, list[str]] = defaultdict(list)
        for name, leader in self.leader.items():
            if name == leader:
                mine[self.assignments[name]].append(name)
        clusters = np.asarray(other.clusters, dtype=object)
        hashes = _OtherHashes(other)
        found = []
        for cluster, names in mine.items():
            theirs = np.flatnonzero(clusters == cluster)
            nearest, cosines, distances = self._nearest(names, other, theirs, hashes)
            found += [
                DuplicateElsewhere(
                    preset_id=name,
                    cluster=cluster,
                    batch=other.key,
                    other_preset_id=other.preset_ids[place],
                    other_frame=hashes.frame(place),
                    hash_distance=distance,
                    cosine=round(min(1.0, cosine), 6),
                )
                for name, place, cosine, distance in zip(
                    names, nearest.tolist(), cosines.tolist(), distances.tolist(), strict=True
                )
                if place >= 0
            ]
        return found

    def _nearest(
        self, names: Sequence[str], other: OtherBatch, theirs: Places, hashes: _OtherHashes
    ) -> tuple[Places, FloatRows, Places]:
        """Return for each preset the place of the nearest one in another batch, -1 where none, cosine and distance."""
        places = self.places(names)

        def distances(some: Places, others: Places) -> Places:
            return self.hashes.distances(places[some], hashes.hashes, theirs[others])

        found, cosines = find_nearest(
            self.rows(names),
            other.rows(theirs),
            self.limits.min_cosine,
            self._within(distances),
        )
        which = np.flatnonzero(found >= 0)
        bits = np.zeros(len(names), dtype=np.int64)
        if len(which):
            bits[which] = distances(which, found[which])
        nearest = np.full(len(names), -1, dtype=np.int64)
        nearest[which] = theirs[found[which]]
        return nearest, cosines, bits

    def _within(self, distances: PairDistances) -> NearPairs:
        """Return whether pairs are near by their hashes; nothing is read where there is no pair."""

        def near(some: Places, others: Places) -> npt.NDArray[np.bool_]:
            if not len(some):
                return np.zeros(0, dtype=bool)
            return distances(some, others) <= self.limits.max_hash_distance

        return near


class _OtherHashes:
    """Captures of another batch; its index is read when it is first asked for."""

    def __init__(self, other: OtherBatch) -> None:
        self._other = other

    @cached_property
    def _frames(self) -> list[list[str]]:
        records = self._other.records()
        found = [records.get(preset_id) for preset_id in self._other.preset_ids]
        return [record.frames if isinstance(record, OkRecord) else [] for record in found]

    @cached_property
    def hashes(self) -> PresetHashes:
        return PresetHashes([[self._other.folder.path / name for name in frames] for frames in self._frames])

    def frame(self, place: int) -> str:
        """Return the capture in the middle of a preset's, relative to the batch's folder."""
        frames = self._frames[place]
        return frames[(len(frames) - 1) // 2]
