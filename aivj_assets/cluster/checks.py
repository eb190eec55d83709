"""Whether clusters are fit for use: what a reader of `clusters.v0.json` and `centroids.npy` relies on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from aivj_assets.contracts.clusters import Clusters
from aivj_assets.contracts.findings import Finding, examples

_UNIT_TOLERANCE = 1e-3
LARGEST_SHARE_FRACTION = 0.35
DRIFT_MIN_COSINE = 0.9
FAR_MAX_FRACTION = 0.2


def check_clusters(clusters: Clusters, centroids: npt.NDArray[Any], embedded_ids: Sequence[str]) -> list[Finding]:
    """Hold clusters against the embedded presets; centroids are [k, d] in id order.

    Errors: assignments, empty clusters, ids, centroids. Warning: the share of presets in the largest cluster.
    """
    sizes = Counter(clusters.assignments.values())
    return [
        _assignments(clusters, embedded_ids),
        _no_empty_cluster(clusters, sizes),
        _legal_ids(clusters, sizes),
        _centroids(clusters, centroids),
        _largest_share(sizes, len(clusters.clusters)),
    ]


def check_drift(drift: Mapping[str, float]) -> Finding:
    """Hold {cluster id: cosine (-1..1) of its centroid before and after a batch} against what a batch usually moves.

    A warning: a centroid that turns far stands for another style than its id did.
    """
    name = "centroid_drift"
    if not drift:
        return Finding(name, True, "the first version: nothing to drift from", "warning")
    farthest, cosine = min(drift.items(), key=lambda item: item[1])
    detail = (
        f"{farthest} turned most: cosine {cosine:.3f} with its centroid before (at least {DRIFT_MIN_COSINE} is usual)"
    )
    return Finding(name, cosine >= DRIFT_MIN_COSINE, detail, "warning", {"lowest_cosine": cosine})


def check_far(cosines: npt.NDArray[np.floating], low_cosines: npt.NDArray[np.floating]) -> Finding:
    """Hold each preset's cosine [n] with its centroid against the 5% quantile of its cluster before, `low_cosines` [n].

    A warning: many far presets are styles that no cluster stands for yet.
    """
    name, count = "far_from_centroids", len(cosines)
    far = int((cosines < low_cosines).sum())
    share = far / count if count else 0.0
    detail = (
        f"{far} of {count} presets ({share:.1%}) are farther from their centroid than 95% of their cluster was before "
        f"(up to {FAR_MAX_FRACTION:.0%} is usual); a major finds styles that births do not"
    )
    return Finding(name, share <= FAR_MAX_FRACTION, detail, "warning", {"far_fraction": share})


def _assignments(clusters: Clusters, embedded_ids: Sequence[str]) -> Finding:
    embedded = set(embedded_ids)
    twice = [preset_id for preset_id, count in Counter(embedded_ids).items() if count > 1]
    missing = sorted(embedded - clusters.assignments.keys())
    foreign = sorted(clusters.assignments.keys() - embedded)
    problems = [
        f"{len(names)} {what} ({examples(names)})"
        for names, what in (
            (twice, "embedded more than once"),
            (missing, "embedded but in no cluster"),
            (foreign, "in a cluster but not embedded"),
        )
        if names
    ]
    detail = "; ".join(problems) or f"{len(embedded)} embedded presets, each in one cluster"
    return Finding("every_preset_assigned_once", not problems, detail)


def _no_empty_cluster(clusters: Clusters, sizes: Counter[str]) -> Finding:
    empty = [cluster.id for cluster in clusters.clusters if not sizes[cluster.id]]
    wrong = [cluster.id for cluster in clusters.clusters if cluster.size != sizes[cluster.id] and sizes[cluster.id]]
    if empty or wrong:
        detail = f"empty: {examples(empty) or 'none'}; size differs from the assignments: {examples(wrong) or 'none'}"
        return Finding("no_empty_cluster", False, detail)
    smallest = min(sizes.values(), default=0)
    return Finding("no_empty_cluster", bool(sizes), f"{len(sizes)} clusters, the smallest of {smallest} presets")


def _legal_ids(clusters: Clusters, sizes: Counter[str]) -> Finding:
    ids = [cluster.id for cluster in clusters.clusters]
    illegal = [name for name in ids if not re.fullmatch(r"c\d{2,}", name)]
    undeclared = sorted(sizes.keys() - set(ids))
    passed = not illegal and not undeclared and len(set(ids)) == len(ids) == clusters.k
    detail = f"{len(set(ids))} different ids for k {clusters.k}"
    if illegal or undeclared:
        detail += (
            f"; illegal: {examples(illegal) or 'none'}; assigned but not declared: {examples(undeclared) or 'none'}"
        )
    return Finding("cluster_ids_legal", passed, detail)


def _centroids(clusters: Clusters, centroids: npt.NDArray[Any]) -> Finding:
    name = "centroids_unit_length"
    rows = sorted(cluster.centroid for cluster in clusters.clusters)
    if centroids.ndim != 2 or rows != list(range(len(centroids))):
        return Finding(name, False, f"centroids of shape {centroids.shape} for {len(rows)} clusters, each with a row")
    if not np.isfinite(centroids).all():
        return Finding(name, False, "a centroid holds NaN or infinity")
    deviation = float(np.abs(np.linalg.norm(centroids.astype(np.float64), axis=1) - 1).max())
    return Finding(
        name, deviation <= _UNIT_TOLERANCE, f"{len(centroids)} centroids, length off 1 by at most {deviation:.2g}"
    )


def _largest_share(sizes: Counter[str], k: int) -> Finding:
    """With few clusters a large one is no surprise: twice the even share is allowed in any case."""
    total = sum(sizes.values())
    largest, size = sizes.most_common(1)[0] if sizes else ("none", 0)
    share = size / total if total else 0.0
    allowed = 1.0 if k <= 1 else max(LARGEST_SHARE_FRACTION, 2 / k)
    detail = f"{largest} holds {size} of {total} presets ({share:.1%}; up to {allowed:.0%} is usual)"
    return Finding("largest_cluster_share", bool(sizes) and share <= allowed, detail, "warning")
