"""Which new cluster continues which former one, and what a change of clusters moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aivj_assets.cluster.lloyd import cosines_between
from aivj_assets.cluster.rows import Figures, FloatRows, Labels


@dataclass(frozen=True)
class Changes:
    """Published presets whose cluster changed, arrays [m] in row order: cluster numbers, and the gain in cosine.

    `gain` is the cosine with the centroid of the new cluster minus that with the former cluster's centroid, both as
    they are in the new version; of a cluster that is retired, as it was last.
    """

    rows: Labels
    old: Labels
    new: Labels
    gain: Figures

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def none(cls) -> Changes:
        """Return no change."""
        nothing = np.empty(0, np.int64)
        return cls(nothing, nothing, nothing, np.empty(0))


@dataclass(frozen=True)
class Migration:
    """A line of the migration table: how many presets went from one cluster to another, with what mean gain."""

    old: int
    new: int
    presets: int
    mean_gain: float


def migration_table(changes: Changes) -> tuple[Migration, ...]:
    """Return the changes counted by (old, new) cluster number, in ascending order."""
    pairs, inverse, counts = np.unique(
        np.stack([changes.old, changes.new], axis=1), axis=0, return_inverse=True, return_counts=True
    )
    # Sorted before they are added: the sum must not depend on the order of rows.
    order = np.lexsort((changes.gain, inverse))
    gains = np.split(changes.gain[order], np.cumsum(counts)[:-1])
    return tuple(
        Migration(int(old), int(new), int(count), float(own.mean()))
        for (old, new), count, own in zip(pairs, counts, gains, strict=False)
    )


def match_by_cosine(former: FloatRows, new: FloatRows) -> Labels:
    """Return for each new centroid the former one that it continues, -1 for none: the largest sum of cosines."""
    return best_pairs(cosines_between(former, new))


def best_pairs(worth: Figures) -> Labels:
    """Return for each column of [former, new] the row of the pairing of largest total worth, -1 where it has none.

    Hungarian method (Kuhn 1955) as `scipy.optimize.linear_sum_assignment`.
    """
    from scipy.optimize import linear_sum_assignment

    former, new = linear_sum_assignment(worth, maximize=True)
    matched = np.full(worth.shape[1], -1, dtype=np.int64)
    matched[new] = former
    return matched


def moves_within_budget(gains: Figures, min_gain: float, most: int, tie_order: Sequence[int] | Labels) -> Labels:
    """Return the rows with at least `min_gain` (cosine), at most `most`, the largest gains first.

    Rows of equal gain go by `tie_order` int [n].
    """
    order = np.lexsort((np.asarray(tie_order), -gains))
    return np.sort(order[: min(most, int((gains >= min_gain).sum()))])
