"""Lloyd's steps on the sphere over rows of any number, with sums that are exact.

Spherical k-means (Dhillon and Modha, "Concept decompositions for large sparse text data using clustering", Machine
Learning 42, 2001): a row goes to the centroid of largest cosine, a centroid is the normalised sum of its rows. Three
measures make the result a function of the rows alone, whatever their order, their parts and the number of threads:

- components are rounded to multiples of 2^-30 before they are added in float64: up to 2^22 rows such sums have no
  rounding error at all, so that neither order nor history matters and a row can be taken out again;
- a row whose two best cosines are closer than float32 can tell is decided in float64, ties go to the lower number;
- BLAS runs on one thread a chunk of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aivj_assets.cluster.rows import Figures, FloatRows, Labels, RowParts, canonical_order, one_thread_each

MOST_ROWS = 2**22
DEFAULT_TOLERANCE_FRACTION = 2e-4
_GRID = 2.0**30
_START_ROWS, _START_ROWS_A_CLUSTER = 4096, 40
# Products of unit rows in float32 were off by at most 4e-7, of 512 components as of 2,048.
_CLOSE_COSINES = np.float32(1e-5)


@dataclass(frozen=True)
class Fit:
    """A clustering by row numbers: `labels` int64 [n] in 0..k-1 and exact sums float64 [k, d] of each one's rows."""

    labels: Labels
    sums: Figures
    centroids: FloatRows
    """Those that the labels were assigned to: after convergence, the directions of the sums."""
    steps: int

    @property
    def k(self) -> int:
        """Number of clusters."""
        return len(self.centroids)


def nearest(rows: RowParts, centroids: FloatRows) -> Labels:
    """Return for each row the number of the centroid (unit rows float32 [k, d]) of largest cosine."""
    exact = centroids.astype(np.float64)

    def of_chunk(_: int, chunk: FloatRows) -> Labels:
        cosines = chunk @ centroids.T
        each = np.arange(len(chunk))
        labels: Labels = cosines.argmax(axis=1).astype(np.int64)
        best = cosines[each, labels]
        if cosines.shape[1] > 1:
            cosines[each, labels] = -2
            close = np.flatnonzero(best - cosines.max(axis=1) < _CLOSE_COSINES)
            labels[close] = np.round(chunk[close].astype(np.float64) @ exact.T, 12).argmax(axis=1)
        return labels

    return np.concatenate([np.empty(0, np.int64), *rows.map_chunks(of_chunk)])


def own_cosines(rows: RowParts, centroids: FloatRows, labels: Labels) -> Figures:
    """Return float64 [n]: each row's cosine with the centroid of its label."""

    def of_chunk(start: int, chunk: FloatRows) -> Figures:
        own = centroids[labels[start : start + len(chunk)]]
        cosines: Figures = np.einsum("ij,ij->i", chunk, own, dtype=np.float64)
        return cosines

    return np.concatenate([np.empty(0), *rows.map_chunks(of_chunk)])


def cosines_between(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> Figures:
    """Return float64 [n, m]: cosines of unit rows [n, d] with others [m, d], whatever the number of threads."""
    with one_thread_each():
        return first.astype(np.float64) @ second.astype(np.float64).T


def exact_sums(rows: RowParts, labels: Labels, k: int) -> Figures:
    """Return float64 [k, d]: the sum of the rows of each label. A label below 0 belongs to none."""

    def of_chunk(start: int, chunk: FloatRows) -> Figures:
        return _grouped(chunk, labels[start : start + len(chunk)], k)

    total = np.zeros((k, rows.dim))
    for part in rows.map_chunks(of_chunk):
        total += part
    return total


def on_grid(rows: FloatRows) -> Figures:
    """Return rows as float64 multiples of 2^-30, whose sums are exact."""
    return np.rint(rows.astype(np.float64) * _GRID) / _GRID


def _grouped(chunk: FloatRows, labels: Labels, k: int) -> Figures:
    from scipy.sparse import csr_array

    used = np.flatnonzero(labels >= 0)
    membership = csr_array((np.ones(len(used)), (labels[used], used)), shape=(k, len(chunk)))
    return np.asarray(membership @ on_grid(chunk))


def moved_sums(rows: RowParts, sums: Figures, before: Labels, after: Labels) -> Figures:
    """Return the sums after rows went from label `before` to `after`; below 0 stands for none. Exact as the sums."""
    moved = np.flatnonzero(before != after)
    if len(moved) * 3 > len(before):
        return exact_sums(rows, after, len(sums))
    movers = RowParts.of(rows.take(moved))
    return sums + exact_sums(movers, after[moved], len(sums)) - exact_sums(movers, before[moved], len(sums))


def directions(sums: Figures, fallback: FloatRows) -> FloatRows:
    """Return unit rows float32 [k, d]; where a sum has no direction, that of `fallback`."""
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    usable = lengths > 1e-6
    return np.where(usable, sums / np.where(usable, lengths, 1), fallback).astype(np.float32)


def lloyd(
    rows: RowParts, centroids: FloatRows, *, max_steps: int, tolerance_fraction: float = DEFAULT_TOLERANCE_FRACTION
) -> Fit:
    """Run at most `max_steps` Lloyd steps from `centroids`; the last step's labels and their sums are returned.

    Stops when at most `tolerance_fraction` of the rows move in a step. Clusters may come out empty: their centroid
    stays, their sum is 0.
    """
    labels = nearest(rows, centroids)
    sums = exact_sums(rows, labels, len(centroids))
    for step in range(max_steps):
        moved = directions(sums, centroids)
        found = nearest(rows, moved)
        centroids = moved
        changed = int((found != labels).sum())
        sums, labels = moved_sums(rows, sums, labels, found), found
        if changed <= tolerance_fraction * len(rows):
            return Fit(labels, sums, centroids, step + 1)
    return Fit(labels, sums, centroids, max_steps)


def mean_cosine(sums: Figures, count: int) -> float:
    """Return the mean over `count` rows of the cosine with the direction of their own sum: sum of |sum| / count."""
    return float(np.linalg.norm(sums, axis=1).sum() / count)


def inertia(sums: Figures, count: int) -> float:
    """Return the mean squared distance of unit rows to the direction of their own sum: 2 (1 - mean cosine)."""
    return 2 * (1 - mean_cosine(sums, count))


def fit_anew(
    rows: RowParts, k: int, *, seed: int, max_steps: int = 100, restarts: int = 4, sample_rows: int = 16_384
) -> Fit:
    """Fit k clusters with no regard to earlier ones: none is empty, unless fewer than k rows differ.

    scikit-learn's k-means++ on a part of a sample of `sample_rows` (drawn by `seed` in the order of content) and Lloyd
    steps on the sample are done `restarts` times; from the best of them Lloyd steps go over all rows.
    """
    with one_thread_each():
        order = canonical_order(rows)
        if len(order) > sample_rows:
            order = order[np.sort(np.random.default_rng(seed).choice(len(order), sample_rows, replace=False))]
        array = rows.take(order)
        random = np.random.RandomState(seed)
        fits = [_sample_fit(array, k, random) for _ in range(restarts)]
        best = max(fits, key=lambda fit: mean_cosine(fit.sums, len(array)))
        return refill(rows, lloyd(rows, best.centroids, max_steps=max_steps))


def _sample_fit(sample: FloatRows, k: int, random: np.random.RandomState) -> Fit:
    from sklearn.cluster import kmeans_plusplus

    # The order of content is a random one: its first rows are a sample as good as any.
    few = sample[: max(_START_ROWS, _START_ROWS_A_CLUSTER * k)]
    start = kmeans_plusplus(few, k, random_state=random)[0]
    return lloyd(RowParts.of(sample), start, max_steps=50, tolerance_fraction=1e-3)


def refill(rows: RowParts, fit: Fit) -> Fit:
    """Give each empty cluster the row that fits its own worst, taken from a cluster of more than one row."""
    sizes = np.bincount(fit.labels, minlength=fit.k)
    if sizes.all():
        return fit
    labels = fit.labels.copy()
    cosines = own_cosines(rows, fit.centroids, labels)
    worst_first = iter(np.lexsort((canonical_order(rows).argsort(), cosines)))
    for empty in np.flatnonzero(sizes == 0):
        row = next((row for row in worst_first if sizes[labels[row]] > 1), None)
        if row is None:
            break
        sizes[labels[row]] -= 1
        sizes[empty] = 1
        labels[row] = empty
    sums = moved_sums(rows, fit.sums, fit.labels, labels)
    return Fit(labels, sums, directions(sums, fit.centroids), fit.steps)


def extend(rows: RowParts, fixed_sums: Figures, centroids: FloatRows, *, steps: int) -> Labels:
    """Return labels of new rows when those that `fixed_sums` float64 [k, d] are of keep theirs.

    Lloyd steps of the new rows alone: centroids are the directions of the fixed sums and the new rows' together, which
    lowers the inertia of the whole as far as it can be lowered without touching a published row.
    """
    labels = nearest(rows, centroids)
    sums = exact_sums(rows, labels, len(centroids))
    for _ in range(steps):
        centroids = directions(fixed_sums + sums, centroids)
        found = nearest(rows, centroids)
        if np.array_equal(found, labels):
            break
        sums, labels = moved_sums(rows, sums, labels, found), found
    return labels
