"""Spherical k-means: presets grouped by the direction of their embedding, with ids in a stable order.

Dhillon and Modha, "Concept decompositions for large sparse text data using clustering", Machine Learning 42 (2001):
maximise the sum of x · c over unit rows x and unit centroids c by alternating assignment (largest cosine) and
centroid update (normalised mean). scikit-learn's k-means on unit rows, with its k-means++ and restarts, gives the
start: it minimises squared distance to means of any length, which is close but not the same. Lloyd steps on the sphere
then run until no preset moves, so that every preset's cluster is the centroid of largest cosine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from aivj_assets.cluster.choose_k import DEFAULT_K, DEFAULT_PRESETS_PER_CLUSTER, capped_k
from aivj_assets.contracts.clusters import Cluster, Clusters, cluster_id
from aivj_assets.contracts.findings import examples
from aivj_assets.errors import UserError

FloatRows = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

STRATEGY = "versioned"
# Restarts guard against a bad start. Their spread shrinks with the number of presets while their cost grows with it.
_RESTARTS = ((10_000, 10), (50_000, 4))
_RESTARTS_BEYOND = 2
_MAX_STEPS = 200
_CHUNK_ROWS = 16_384
_UNIT_TOLERANCE = 1e-3
# Equal pictures that went through the model in different batches differ by about 1e-6 a component.
_DISTINCT_DECIMALS = 5


@dataclass(frozen=True)
class ClusterFit:
    """The clusters of a batch, their centroids float32 [k, d] of unit length in id order, and the mean cosine.

    `mean_cosine` (-1..1) is the mean over presets of the cosine with their own centroid: the batch's cohesion.
    """

    clusters: Clusters
    centroids: FloatRows
    mean_cosine: float


def fit_clusters(
    vectors: npt.NDArray[Any],
    preset_ids: Sequence[str],
    *,
    batch: str,
    requested_k: int = DEFAULT_K,
    presets_per_cluster: int = DEFAULT_PRESETS_PER_CLUSTER,
    seed: int = 1,
    first_number: int = 0,
    embeddings_sha256: str | None = None,
) -> ClusterFit:
    """Cluster unit rows float32 [n, d], whose ids are `preset_ids` in row order.

    The result depends on the rows, their ids, k and the seed: not on the order of rows, nor on the number of threads.
    Cluster ids are given by size, largest first, ties by the smallest preset id, and count from `first_number`. No
    cluster is empty.
    Raises `UserError` for rows that are not finite or have no direction, ids that do not fit, and nothing to cluster.
    """
    rows, ids = _checked_rows(vectors, preset_ids)
    distinct = count_distinct(rows)
    k, reason = capped_k(requested_k, len(ids), presets_per_cluster, distinct=distinct)
    # OpenMP adds partial sums in the order in which threads finish, and BLAS splits products by thread count: the last
    # bits of a centroid then differ, and presets between two clusters move. One thread is the only fixed order.
    with _one_thread():
        labels, centroids = _spherical_kmeans(rows, k, seed)
    labels, centroids = _in_id_order(labels, centroids)
    cosine = np.einsum("ij,ij->i", rows, centroids[labels], dtype=np.float64)
    sizes = np.bincount(labels, minlength=k)
    names = [cluster_id(first_number + row) for row in range(k)]
    clusters = Clusters(
        k=k,
        seed=seed,
        strategy=STRATEGY,
        previous=None,
        clusters=[
            Cluster(id=names[row], size=int(sizes[row]), centroid=row, born_in=batch, label=names[row])
            for row in range(k)
        ],
        assignments={preset_id: names[int(label)] for preset_id, label in zip(ids, labels, strict=True)},
        requested_k=requested_k,
        k_reason=reason,
        embeddings_sha256=embeddings_sha256,
        libraries=library_versions(),
    )
    return ClusterFit(clusters, centroids, float(cosine.mean()))


def count_distinct(rows: FloatRows) -> int:
    """Return how many rows of float32 [n, d] differ by more than rounding to five decimals."""
    # Adding zero turns -0.0 into 0.0: their bytes would differ.
    return len({np.add(np.round(row, _DISTINCT_DECIMALS), np.float32(0)).tobytes() for row in rows})


def library_versions() -> dict[str, str]:
    """Return the versions that decide a clustering's last bits: numpy, scikit-learn and each BLAS that is loaded."""
    from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

    blas = {
        f"{pool['internal_api']} {pool.get('version') or '?'} ({pool.get('architecture') or '?'})"
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    }
    return {
        "numpy": version("numpy"),
        "scikit-learn": version("scikit-learn"),
        "blas": ", ".join(sorted(blas)) or "unknown",
        "threads": "1",
        "dtype": "float32",
    }


def _one_thread() -> Any:
    import sklearn.cluster  # noqa: F401 - loads OpenMP, which must be there before it can be limited
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1)


def _checked_rows(vectors: npt.NDArray[Any], preset_ids: Sequence[str]) -> tuple[FloatRows, list[str]]:
    """Return unit rows and their ids, both sorted by id: the order that makes results independent of row order."""
    if vectors.ndim != 2 or vectors.shape[0] != len(preset_ids):
        raise UserError(
            f"embeddings of shape {vectors.shape} do not fit {len(preset_ids)} ids; materialise embeddings again."
        )
    if not len(preset_ids):
        capped_k(1, 0)
    if len(set(preset_ids)) != len(preset_ids):
        raise UserError("a preset id occurs twice in the embeddings; materialise embeddings again.")
    order = sorted(range(len(preset_ids)), key=lambda row: preset_ids[row])
    rows = np.ascontiguousarray(vectors[order], dtype=np.float32)
    ids = [preset_ids[row] for row in order]
    lengths = np.linalg.norm(rows, axis=1)
    # Written so that NaN counts as bad.
    bad = [ids[row] for row in np.flatnonzero(~(np.abs(lengths - 1) <= _UNIT_TOLERANCE))]
    if bad:
        raise UserError(
            f"{len(bad)} embeddings are not finite rows of unit length, e.g. of {examples(bad)}; "
            "materialise embeddings again."
        )
    return rows / lengths[:, None], ids


def _spherical_kmeans(rows: FloatRows, k: int, seed: int) -> tuple[Labels, FloatRows]:
    from sklearn.cluster import KMeans

    if k == 1:
        labels = np.zeros(len(rows), dtype=np.int64)
        return labels, _mean_directions(rows, labels, _first_rows(rows, 1))
    restarts = next((count for limit, count in _RESTARTS if len(rows) <= limit), _RESTARTS_BEYOND)
    start = KMeans(n_clusters=k, n_init=restarts, random_state=seed, algorithm="lloyd").fit(rows)
    centroids = _unit(start.cluster_centers_.astype(np.float32), fallback=_first_rows(rows, k))
    labels = np.full(len(rows), -1, dtype=np.int64)
    for _ in range(_MAX_STEPS):
        previous = labels
        labels, cosine = nearest_centroids(rows, centroids)
        labels = _without_empty_clusters(labels, cosine, k)
        if np.array_equal(labels, previous):
            break
        centroids = _mean_directions(rows, labels, centroids)
    return labels, centroids


def nearest_centroids(rows: FloatRows, centroids: FloatRows) -> tuple[Labels, FloatRows]:
    """Return for each row of [n, d] the centroid of largest cosine (the first of equals) and that cosine.

    Works in chunks of rows: memory does not grow with n · k.
    """
    labels = np.empty(len(rows), dtype=np.int64)
    cosine = np.empty(len(rows), dtype=np.float32)
    for begin in range(0, len(rows), _CHUNK_ROWS):
        part = slice(begin, begin + _CHUNK_ROWS)
        products = rows[part] @ centroids.T
        labels[part] = products.argmax(axis=1)
        cosine[part] = products.max(axis=1)
    return labels, cosine


def _without_empty_clusters(labels: Labels, cosine: FloatRows, k: int) -> Labels:
    """Give each empty cluster the row that fits its own cluster worst, taken from a cluster of more than one row."""
    sizes = np.bincount(labels, minlength=k)
    if sizes.all():
        return labels
    labels = labels.copy()
    worst_first = iter(np.argsort(cosine, kind="stable"))
    for empty in np.flatnonzero(sizes == 0):
        row = next(row for row in worst_first if sizes[labels[row]] > 1)
        sizes[labels[row]] -= 1
        sizes[empty] = 1
        labels[row] = empty
    return labels


def _mean_directions(rows: FloatRows, labels: Labels, previous: FloatRows) -> FloatRows:
    """Return the normalised mean of each cluster; where the mean has no direction, the previous centroid."""
    from scipy.sparse import csr_array

    membership = csr_array((np.ones(len(rows)), (labels, np.arange(len(rows)))), shape=(len(previous), len(rows)))
    return _unit(membership @ rows, fallback=previous)


def _unit(vectors: npt.NDArray[Any], fallback: FloatRows) -> FloatRows:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    usable = lengths > 1e-6
    return np.where(usable, vectors / np.where(usable, lengths, 1), fallback).astype(np.float32)


def _first_rows(rows: FloatRows, k: int) -> FloatRows:
    return np.ascontiguousarray(rows[:k])


def _in_id_order(labels: Labels, centroids: FloatRows) -> tuple[Labels, FloatRows]:
    """Renumber clusters by size, largest first; rows are sorted by preset id, so the first row breaks ties."""
    sizes = np.bincount(labels, minlength=len(centroids))
    first = [int(np.argmax(labels == number)) for number in range(len(centroids))]
    order = sorted(range(len(centroids)), key=lambda number: (-int(sizes[number]), first[number]))
    renumbered = np.empty(len(centroids), dtype=np.int64)
    renumbered[order] = np.arange(len(centroids))
    return renumbered[labels], np.ascontiguousarray(centroids[order])
