"""Which presets of a cluster a person is shown."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping


def sample_clusters(assignments: Mapping[str, str], per_cluster: int, seed: int) -> dict[str, list[str]]:
    """Return up to `per_cluster` preset ids of each cluster, drawn at random without replacement; clusters in id order.

    A cluster's draw depends on the seed, the cluster's id and its members only: not on other clusters, nor on the order
    of `assignments`. It is a bottom-k sample (Cohen and Kaplan 2007): the members with the smallest hash of (seed,
    cluster, preset). When a cluster grows by one preset, at most one sample changes.
    """
    members: defaultdict[str, list[tuple[bytes, str]]] = defaultdict(list)
    for preset_id, cluster in assignments.items():
        text = f"{seed}\0{cluster}\0{preset_id}"
        members[cluster].append((hashlib.sha256(text.encode("utf-8")).digest(), preset_id))
    # Ids have two or more digits: c99 comes before c100.
    in_order = sorted(members, key=lambda cluster: (len(cluster), cluster))
    return {cluster: [preset_id for _, preset_id in sorted(members[cluster])[:per_cluster]] for cluster in in_order}
