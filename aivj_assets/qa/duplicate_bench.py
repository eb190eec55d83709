"""What thresholds would call near-duplicates in one batch: pairs over a grid, beside what their titles tell."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from aivj_assets.contracts.clusters import Clusters
from aivj_assets.contracts.embeddings import Embeddings
from aivj_assets.contracts.frames_index import OkRecord
from aivj_assets.contracts.qa_duplicates import DuplicateThresholds
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir
from aivj_assets.qa.duplicates import Records
from aivj_assets.qa.leaders import BLOCK_ROWS, FloatRows, Places
from aivj_assets.qa.misfits import find_misfits
from aivj_assets.qa.picture_hash import BITS, PresetHashes

COSINES = (0.93, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995)
DISTANCES = (0, 2, 4, 8, 10, 12, 16, BITS)
"""The last one asks for the cosine alone."""
MOST_PAIRS = 300_000
_NO_LETTER = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class NearPair:
    """Two presets of one cluster; `distance` is more than 64 where no capture can be compared."""

    one: str
    other: str
    cosine: float
    distance: int
    same_title: bool

    def margin(self, thresholds: DuplicateThresholds) -> float:
        """Return how far inside the thresholds the pair is, outside when negative: 1 is the same picture."""
        limit = thresholds.max_hash_distance
        return min(
            (self.cosine - thresholds.min_cosine) / max(1 - thresholds.min_cosine, 1e-6),
            (limit - self.distance) / max(limit, 1),
        )


@dataclass(frozen=True)
class DuplicateBench:
    """The pairs of a batch's clusters with a cosine of at least the lowest of `COSINES`, the nearest first."""

    presets: int
    """Without misfits."""
    same_title_pairs: int
    """Of any two presets whose titles are equal but for case, spaces and signs: most, but not all, look the same."""
    pairs: list[NearPair]
    is_cut: bool
    """There are more pairs than `MOST_PAIRS`: the nearest by cosine are here."""

    def found(self, min_cosine: float, max_distance: int) -> tuple[int, int]:
        """Return how many pairs (of one title, of two titles) these thresholds call near-duplicates."""
        counts = Counter(
            pair.same_title
            for pair in self.pairs
            if pair.cosine >= min_cosine and (pair.distance <= max_distance or max_distance == BITS)
        )
        return counts[True], counts[False]

    def around(self, thresholds: DuplicateThresholds, count: int) -> tuple[list[NearPair], list[NearPair]]:
        """Return the pairs just inside the thresholds and those just outside, the nearest to them first."""
        margins = [(pair.margin(thresholds), pair) for pair in self.pairs]
        inside = sorted((item for item in margins if item[0] >= 0), key=lambda item: item[0])
        outside = sorted((item for item in margins if item[0] < 0), key=lambda item: -item[0])
        return [pair for _, pair in inside[:count]], [pair for _, pair in outside[:count]]

    def to_json(self) -> dict[str, Any]:
        """Return all figures."""
        grid = [
            {"minCosine": cosine, "maxHashDistance": bits, "sameTitle": same, "otherTitles": other}
            for cosine in COSINES
            for bits in DISTANCES
            for same, other in [self.found(cosine, bits)]
        ]
        return {"presets": self.presets, "sameTitlePairs": self.same_title_pairs, "isCut": self.is_cut, "grid": grid}


def bench_duplicates(
    folder: BatchDir, clusters: Clusters, embeddings: Embeddings, *, records: Records, labels: Mapping[str, str]
) -> DuplicateBench:
    """Measure every near pair within the clusters of a batch; `labels` are the manifest's, {presetId: label}.

    Raises `UserError` when there is no preset to compare.
    """
    ok = {name: record for name in clusters.assignments if isinstance(record := records.get(name), OkRecord)}
    assignments = {name: clusters.assignments[name] for name in ok}
    dull = {misfit.preset_id for misfit in find_misfits(folder, ok, assignments)}
    place = {name: number for number, name in enumerate(embeddings.preset_ids)}
    names = [name for name in ok if name not in dull and name in place]
    members: defaultdict[str, list[int]] = defaultdict(list)
    for number, name in enumerate(names):
        members[assignments[name]].append(number)
    if not names:
        raise UserError("No preset of the batch can be compared: all are misfits, or none has an embedding.")
    vectors = embeddings.vectors
    found = [
        _near_pairs(np.asarray(vectors[[place[names[number]] for number in group]]), np.array(group))
        for group in members.values()
    ]
    one, other, cosines = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(-cosines, kind="stable")[:MOST_PAIRS]
    one, other, kept = one[order], other[order], cosines[order]
    hashes = PresetHashes([[folder.path / frame for frame in ok[name].frames] for name in names])
    titles = [title_key(labels.get(name, name)) for name in names]
    pairs = [
        NearPair(names[a], names[b], cosine, distance, titles[a] == titles[b])
        for a, b, cosine, distance in zip(
            one.tolist(), other.tolist(), kept.tolist(), hashes.distances(one, hashes, other).tolist(), strict=True
        )
    ]
    same = sum(count * (count - 1) // 2 for count in Counter(titles).values())
    return DuplicateBench(len(names), same, pairs, len(cosines) > MOST_PAIRS)


def title_key(label: str) -> str:
    """Return a preset's name without what re-saving changes: case, spaces, signs."""
    return _NO_LETTER.sub("", label.casefold()) or label


def _near_pairs(rows: FloatRows, numbers: Places) -> tuple[Places, Places, FloatRows]:
    """Return the pairs of unit rows [n, d] above the lowest cosine, by `numbers`, and their cosines."""
    parts: list[tuple[Places, Places, FloatRows]] = []
    for start in range(0, len(rows), BLOCK_ROWS):
        for first in range(0, start + 1, BLOCK_ROWS):
            cosines = rows[start : start + BLOCK_ROWS] @ rows[first : first + BLOCK_ROWS].T
            later, earlier = np.nonzero(cosines >= COSINES[0])
            kept = later + start > earlier + first
            later, earlier = later[kept], earlier[kept]
            parts.append((numbers[earlier + first], numbers[later + start], cosines[later, earlier]))
    one, other, values = (np.concatenate(column) for column in zip(*parts, strict=True))
    return one, other, np.clip(values, -1, 1)
