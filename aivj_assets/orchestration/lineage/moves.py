"""Which presets came into each cluster of a batch, and which left it, with the version of the lineage that it is of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from aivj_assets.cluster.version import Shas, Version
from aivj_assets.contracts.clusters import Clusters, cluster_id
from aivj_assets.layout import DataRoot
from aivj_assets.orchestration.lineage.store import Lineage
from aivj_assets.qa.views import ClusterChange, Moved

_NAMED = 8
_NOWHERE = -1


def cluster_moves(root: DataRoot, clusters: Clusters) -> dict[str, ClusterChange]:
    """Return {cluster id: what came and left since the version before} of the clusters that a batch has presets in.

    Up to 8 presets each are named. Empty for the first version of a lineage, for one that began anew, and for a batch
    that is in none. Raises `UserError` when the lineage's files are broken.
    """
    if clusters.lineage is None:
        return {}
    now = Lineage.at(root.lineage(clusters.lineage.name), clusters.lineage.version)
    before = None if now.facts.kind == "anew" else now.parent()
    if before is None:
        return {}
    was, becomes = _clusters_of(before.version, now.version.shas), _clusters_of(now.version, before.version.shas)
    found = {}
    wanted: set[bytes] = set()
    for cluster in clusters.clusters:
        number = int(cluster.id[1:])
        came = np.flatnonzero((now.version.numbers == number) & (was != number))
        left = np.flatnonzero((before.version.numbers == number) & (becomes != number))
        listed = (
            list(_moves(now.version.shas, was, came)),
            list(_moves(before.version.shas, becomes, left)),
        )
        wanted.update(sha for moves in listed for sha, _ in moves)
        found[cluster.id] = (listed, len(came), len(left))
    names = _names([now, before], wanted)

    def named(moves: list[tuple[bytes, str | None]]) -> list[Moved]:
        return [Moved(names.get(sha, sha.decode()), other) for sha, other in moves]

    return {
        name: ClusterChange(before.facts.number, named(came), named(left), came_count, left_count)
        for name, ((came, left), came_count, left_count) in found.items()
    }


def _clusters_of(version: Version, shas: Shas) -> npt.NDArray[np.int64]:
    """Return the cluster number of each preset in a version, -1 where it is not in it."""
    places = version.places_of(shas)
    return np.where(places < 0, _NOWHERE, version.numbers[places])


def _moves(shas: Shas, others: npt.NDArray[np.int64], at: npt.NDArray[np.int64]) -> Iterator[tuple[bytes, str | None]]:
    for place in at[:_NAMED].tolist():
        other = int(others[place])
        yield bytes(shas[place]), None if other == _NOWHERE else cluster_id(other)


def _names(lineages: Iterable[Lineage], wanted: set[bytes]) -> dict[bytes, str]:
    """Return the first preset id of each content that is wanted; batches that came last are looked at first."""
    names: dict[bytes, str] = {}
    for lineage in lineages:
        for batch in reversed(lineage.facts.batches):
            if len(names) == len(wanted):
                return names
            members = lineage.members(batch)
            for sha, preset_id in zip(members.preset_sha256, members.preset_ids, strict=True):
                if (key := sha.encode("ascii")) in wanted:
                    names.setdefault(key, preset_id)
    return names
