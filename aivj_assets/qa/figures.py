"""How tight each cluster is, what lies in its middle and at its rim, and which clusters lie near."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aivj_assets.contracts.clusters import Clusters
from aivj_assets.contracts.embeddings import Embeddings
from aivj_assets.errors import UserError

EXTREMES_PER_CLUSTER = 6
"""Medoids and outliers that a person is shown of each cluster, at most."""
_NEAREST_CLUSTERS = 3


@dataclass(frozen=True)
class Neighbour:
    """Another cluster and the cosine (-1..1) between the two centroids."""

    cluster: str
    cosine: float


@dataclass(frozen=True)
class ClusterFigures:
    """One cluster by its embeddings, of this batch's presets alone; all cosines are -1..1.

    `cosines` are those of its presets to its centroid; `cohesion` is their mean, `spread` their standard deviation.
    `medoids` and `outliers` are a quarter of its presets each at most: in a small cluster too a mark tells something.
    """

    cosines: dict[str, float]
    cohesion: float
    spread: float
    medoids: list[str]
    outliers: list[str]
    nearest: list[Neighbour]


def cluster_figures(
    clusters: Clusters, embeddings: Embeddings, centroids: npt.NDArray[np.float32]
) -> dict[str, ClusterFigures]:
    """Return the figures of every cluster by id.

    `centroids` are unit rows float32 [k, d], those of `centroids.npy`. Ties go by preset id. Raises `UserError` when a
    clustered preset has no row or a cluster no centroid.
    """
    row_of = {preset_id: row for row, preset_id in enumerate(embeddings.preset_ids)}
    members: defaultdict[str, list[str]] = defaultdict(list)
    for preset_id, cluster in clusters.assignments.items():
        if preset_id not in row_of:
            raise UserError(f"clustered preset '{preset_id}' has no row in the embeddings; materialise clusters again.")
        members[cluster].append(preset_id)
    if max(cluster.centroid for cluster in clusters.clusters) >= len(centroids):
        raise UserError(f"centroids.npy has {len(centroids)} rows, too few; materialise clusters again.")
    ids = [cluster.id for cluster in clusters.clusters]
    own = centroids[[cluster.centroid for cluster in clusters.clusters]].astype(np.float64)
    between = np.clip(own @ own.T, -1, 1)
    return {
        name: _figures(
            members[name],
            np.asarray(embeddings.vectors[[row_of[preset_id] for preset_id in members[name]]]) @ own[place],
            _nearest(ids, between[place], place),
        )
        for place, name in enumerate(ids)
    }


def _figures(names: list[str], found: npt.NDArray[np.float64], nearest: list[Neighbour]) -> ClusterFigures:
    cosines = dict(zip(names, np.clip(found, -1, 1).tolist(), strict=True))
    by_nearness = sorted(names, key=lambda name: (-cosines[name], name))
    count = min(EXTREMES_PER_CLUSTER, len(names) // 4)
    return ClusterFigures(
        cosines=cosines,
        cohesion=float(np.mean(found)),
        spread=float(np.std(found)),
        medoids=by_nearness[: max(1, count)],
        outliers=by_nearness[::-1][:count],
        nearest=nearest,
    )


def _nearest(ids: list[str], cosines: npt.NDArray[np.float64], own: int) -> list[Neighbour]:
    others = sorted((-float(cosine), ids[place]) for place, cosine in enumerate(cosines) if place != own)
    return [Neighbour(name, -negated) for negated, name in others[:_NEAREST_CLUSTERS]]
