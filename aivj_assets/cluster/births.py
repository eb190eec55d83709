"""Births: presets of a batch that are far from every centroid, and together are a style of their own, found a cluster.

What counts as far, as cohesive and as distinct is taken from the library's own distribution, so that it means the same
for a model whose pictures all lie within a narrow cone and for one that spreads them.

Only the rows of the new batch are looked at. They are what can join a new cluster, and they are a sample of what comes
next; published presets that lie far are mostly the remains of styles that share a cluster, and a cluster founded on
them would stay small. In growth simulations births from all rows filled the k limit and missed most late styles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aivj_assets.cluster.lloyd import directions, on_grid
from aivj_assets.cluster.rows import Figures, FloatRows, Labels, RowParts, canonical_order

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
    most_a_batch: int = 6

    def members_needed(self, count: int) -> int:
        """Return how many of `count` rows a birth needs."""
        return max(self.min_members, round(self.min_members_fraction * count))


@dataclass(frozen=True)
class Birth:
    """A new cluster and the evidence for it; cosines are -1..1."""

    number: int
    members: int
    """Rows that are nearest to the new centroid when it is founded."""
    far_members: int
    """Of them, those below their former cluster's far quantile."""
    mean_cosine: float
    """Of members, with the new centroid."""
    former_mean_cosine: float
    """Of members, with the nearest of the former centroids."""
    nearest_centroid_cosine: float
    nearest_cluster: int


@dataclass(frozen=True)
class Clustering:
    """What births are held against: `numbers` int64 [k], unit centroids float32 [k, d], far quantiles float64 [k]."""

    numbers: Labels
    centroids: FloatRows
    low_cosines: Figures
    usual_cohesion: float
    """Mean cosine of members that all but the loosest clusters reach."""

    @property
    def distinct_cosine(self) -> float:
        """Cosine with its nearest neighbour that all but the closest twentieth of the clusters stay below."""
        if len(self.centroids) < 2:
            return -1.0
        cosines = self.centroids.astype(np.float64) @ self.centroids.T.astype(np.float64)
        np.fill_diagonal(cosines, -1)
        return float(np.quantile(cosines.max(axis=1), 0.95))


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
        proposals = directions(_won_sums(rows, cosines, proposals), proposals)
    limit = max(rules.max_centroid_cosine, known.distinct_cosine)
    products = np.concatenate(rows.map_chunks(lambda _, chunk: (chunk @ proposals.T).astype(np.float64)))
    best, every = cosines.copy(), known.centroids
    births: list[Birth] = []
    for _ in range(len(proposals)):
        gains = np.maximum(0, products - best[:, None]).sum(axis=0)
        pick = int(gains.argmax())
        if gains[pick] <= 0 or len(births) >= most:
            break
        own, close = products[:, pick].copy(), every @ proposals[pick]
        products[:, pick] = -1
        won = np.flatnonzero(own > best)
        if len(won) < needed or close.max() > limit or own[won].mean() < known.usual_cohesion:
            continue
        births.append(
            Birth(
                number=first_number + len(births), members=len(won), far_members=int(is_far[won].sum()),
                mean_cosine=float(own[won].mean()), former_mean_cosine=float(cosines[won].mean()),
                nearest_centroid_cosine=float(close.max()),
                nearest_cluster=int(known.numbers[close[: len(known.numbers)].argmax()]),
            )
        )  # fmt: skip
        every = np.concatenate([every, proposals[pick : pick + 1]])
        best[won] = own[won]
    return every[len(known.centroids) :], tuple(births)


def _won_sums(rows: RowParts, best: Figures, proposals: FloatRows) -> Figures:
    """Return for each proposal by itself the exact sum of the rows that are nearer to it than to their centroid."""
    from scipy.sparse import csr_array

    def of_chunk(start: int, chunk: FloatRows) -> Figures:
        won = np.greater((chunk @ proposals.T).T, best[start : start + len(chunk)])
        used = np.flatnonzero(won.any(axis=0))
        return np.asarray(csr_array(won[:, used].astype(np.float64)) @ on_grid(chunk[used]))

    total = np.zeros(proposals.shape)
    for part in rows.map_chunks(of_chunk):
        total += part
    return total


def _proposals(far: FloatRows, most: int, needed: int, seed: int) -> FloatRows:
    """Return directions [groups, d] of groups of far rows."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    groups = max(2, min(most * _GROUPS_A_BIRTH, len(far) // max(needed // 2, 1)))
    with threadpool_limits(limits=1):
        fit = KMeans(n_clusters=groups, n_init=2, random_state=seed, max_iter=20).fit(far)
    return directions(fit.cluster_centers_.astype(np.float64), far[:groups])
