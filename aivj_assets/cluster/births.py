"""Births: presets of a batch that are far from every centroid, and together are a style of their own, found a cluster.

What counts as far, as cohesive and as distinct is taken from the library's own distribution, so that it means the same
for a model whose pictures all lie within a narrow cone and for one that spreads them.

Only the rows of the new batch are looked at: they are what can join a new cluster, and a sample of what comes next.
Published presets that lie far keep their cluster, and one founded on them would stay small. A `major`, in which some of
them move, looks at all rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aivj_assets.cluster.lloyd import cosines_between, directions, on_grid
from aivj_assets.cluster.rows import Figures, FloatRows, Labels, RowParts, canonical_order, one_thread_each

_MOST_CANDIDATES = 6000
_GROUPS_A_BIRTH = 6
_FOUNDING_STEPS = 3


@dataclass(frozen=True)
class BirthRules:
    """When a group of far presets founds a cluster. Cosines are -1..1."""

    far_quantile: float = 0.05
    """A preset is far when its cosine is below this quantile of its nearest cluster's members."""
    min_members: int = 40
    min_members_fraction: float = 0.0015
    """Of the rows that are looked at."""
    max_centroid_cosine: float = 0.93
    """With any other centroid; where clusters lie closer, what all but the closest twentieth keep among themselves."""
    min_cohesion_quantile: float = 0.1
    """Members' mean cosine must reach that of all but this share of the clusters."""
    min_nearer_fraction: float = 0.2
    """Members' mean distance (1 - cosine) to a centroid must fall by this share, or the group is a part of a cluster.

    In simulated growths (overlap 0.5 to 0.7) true new styles brought 0.19 to 0.5, nearly all splits of known styles
    0.13 to 0.23.
    """
    min_unexplained_fraction: float = 0.5
    """Share of the far members that must be more than their former clusters' rows have anyway.

    Tails of known styles look like groups of their own; but every batch has them, as large as `far_quantile` says.
    """
    most_a_batch: int = 6

    def members_needed(self, count: int) -> int:
        """Return how many of `count` rows a birth needs."""
        return max(self.min_members, round(self.min_members_fraction * count))


@dataclass(frozen=True)
class Birth:
    """A new cluster and the evidence for it; cosines are -1..1."""

    number: int
    members: int
    """Rows that are nearest to the new centroid when it is founded, and not far from it."""
    far_members: int
    """Of them, those below their former cluster's far quantile."""
    mean_cosine: float
    """Of members, with the new centroid."""
    former_mean_cosine: float
    """Of members, with the nearest of the former centroids."""
    nearest_centroid_cosine: float
    """Of the new centroid with any other, births before it included."""
    nearest_cluster: int
    """Number of the former cluster whose centroid is nearest."""


@dataclass(frozen=True)
class Clustering:
    """What births are held against: unit centroids float32 [k, d] and far quantiles float64 [k].

    `numbers` int64 [at most k] are those of the first ones; in a `major` its own births follow them.
    """

    numbers: Labels
    centroids: FloatRows
    low_cosines: Figures
    usual_cohesion: float
    """Mean cosine of members that all but the loosest clusters reach."""

    @property
    def usual_reach(self) -> float:
        """Cosine below which a row counts as far in half of the clusters."""
        return float(np.median(self.low_cosines))

    @property
    def distinct_cosine(self) -> float:
        """Cosine with its nearest neighbour that all but the closest twentieth of the clusters stay below."""
        return distinct_cosine(cosines_between(self.centroids, self.centroids))


def distinct_cosine(cosines: Figures) -> float:
    """Return what all but the closest twentieth stay below: cosine with the nearest other, of float64 [k, k]."""
    if len(cosines) < 2:
        return -1.0
    return float(np.quantile(np.where(np.eye(len(cosines), dtype=bool), -1, cosines).max(axis=1), 0.95))


def find_births(
    rows: RowParts,
    labels: Labels,
    cosines: Figures,
    known: Clustering,
    *,
    rules: BirthRules,
    most: int,
    first_number: int,
    seed: int,
) -> tuple[FloatRows, tuple[Birth, ...]]:
    """Return centroids float32 [births, d] of new clusters among `rows`, and the evidence for each.

    `labels` int64 [n] (places in `known`) and `cosines` float64 [n] say which centroid is nearest to each row. At most
    `most` are founded, and at most as many as the rules allow a batch: those that bring the rows nearest to a centroid
    first.
    """
    needed = rules.members_needed(len(rows))
    is_far = cosines < known.low_cosines[labels]
    most = min(most, rules.most_a_batch)
    if most < 1 or is_far.sum() < needed:
        return np.empty((0, rows.dim), np.float32), ()
    far = canonical_order(rows, np.flatnonzero(is_far))
    if len(far) > _MOST_CANDIDATES:
        far = far[np.sort(np.random.default_rng(seed).choice(len(far), _MOST_CANDIDATES, replace=False))]
    proposals = _proposals(rows.take(far), most, needed, seed)
    for _ in range(_FOUNDING_STEPS):
        proposals = directions(_won_sums(rows, np.maximum(cosines, known.usual_reach), proposals), proposals)
    return _founded(
        rows, proposals, known, labels=labels, cosines=cosines, rules=rules, most=most, first_number=first_number
    )


def _founded(
    rows: RowParts, proposals: FloatRows, known: Clustering, *,
    labels: Labels, cosines: Figures, rules: BirthRules, most: int, first_number: int,
) -> tuple[FloatRows, tuple[Birth, ...]]:  # fmt: skip
    """Choose among proposals: each in turn the one that brings rows nearest to a centroid, if it keeps the rules."""
    needed, limit = rules.members_needed(len(rows)), max(rules.max_centroid_cosine, known.distinct_cosine)
    products = np.concatenate(rows.map_chunks(lambda _, chunk: chunk.astype(np.float64) @ proposals.T))
    # Of each proposal with the known centroids and with the proposals, in columns.
    close = cosines_between(proposals, np.concatenate([known.centroids, proposals]))
    is_far = cosines < known.low_cosines[labels]
    unexplained = _unexplained(labels, is_far, known, rules)
    # A row that would be far from the new centroid, too, is none of its members: else each of several new styles
    # would win the rows of the others.
    best, k, former = np.maximum(cosines, known.usual_reach), len(known.centroids), len(known.numbers)
    chosen: list[int] = []
    births: list[Birth] = []
    for _ in range(len(proposals)):
        gains = np.maximum(0, products - best[:, None]).sum(axis=0)
        pick = int(gains.argmax())
        if gains[pick] <= 0 or len(births) >= most:
            break
        own = products[:, pick].copy()
        products[:, pick] = -1
        won = np.flatnonzero(own > best)
        nearest_cosine = float(close[pick, [*range(k), *(k + other for other in chosen)]].max())
        if len(won) < needed or nearest_cosine > limit or own[won].mean() < known.usual_cohesion:
            continue
        if (1 - own[won]).mean() > (1 - rules.min_nearer_fraction) * (1 - cosines[won]).mean():
            continue
        far_of = np.bincount(labels[won[is_far[won]]], minlength=k)
        if np.minimum(far_of, unexplained).sum() < rules.min_unexplained_fraction * far_of.sum():
            continue
        unexplained = np.maximum(0, unexplained - far_of)
        beside = int(close[pick, :former].argmax())
        births.append(
            Birth(
                number=first_number + len(births), members=len(won), far_members=int(far_of.sum()),
                mean_cosine=_mean(own[won]), former_mean_cosine=_mean(cosines[won]),
                nearest_centroid_cosine=nearest_cosine, nearest_cluster=int(known.numbers[beside]),
            )
        )  # fmt: skip
        chosen.append(pick)
        best[won] = own[won]
    return proposals[chosen], tuple(births)


def _unexplained(labels: Labels, is_far: npt.NDArray[np.bool_], known: Clustering, rules: BirthRules) -> Figures:
    """Return for each cluster how many more of its rows are far than would be, were they all of its kind."""
    counts = np.bincount(labels, minlength=len(known.centroids))
    far = np.bincount(labels[is_far], minlength=len(known.centroids))
    return np.maximum(0, far - rules.far_quantile * counts)


def _mean(values: Figures) -> float:
    """Return the mean to nine decimals: beyond them it would depend on the order of rows."""
    return round(float(values.mean()), 9)


def _won_sums(rows: RowParts, best: Figures, proposals: FloatRows) -> Figures:
    """Return for each proposal by itself the exact sum of the rows that are nearer to it than to their centroid."""
    from scipy.sparse import csr_array

    def of_chunk(start: int, chunk: FloatRows) -> Figures:
        won = np.greater((chunk.astype(np.float64) @ proposals.T).T, best[start : start + len(chunk)])
        used = np.flatnonzero(won.any(axis=0))
        return np.asarray(csr_array(won[:, used].astype(np.float64)) @ on_grid(chunk[used]))

    total = np.zeros(proposals.shape)
    for part in rows.map_chunks(of_chunk):
        total += part
    return total


def _proposals(far: FloatRows, most: int, needed: int, seed: int) -> FloatRows:
    """Return directions [groups, d] of groups of far rows."""
    from sklearn.cluster import KMeans

    groups = max(2, min(most * _GROUPS_A_BIRTH, len(far) // max(needed // 2, 1)))
    with one_thread_each():
        fit = KMeans(n_clusters=groups, n_init=2, random_state=seed, max_iter=20).fit(far)
    return directions(fit.cluster_centers_.astype(np.float64), far[:groups])
