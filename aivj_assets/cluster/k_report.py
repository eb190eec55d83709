"""Figures over a sweep of k: what helps a person to choose how many clusters a pack gets.

Centroids are fitted on a sample of the pack, every preset is then assigned to them, and sizes, cohesion and inertia are
taken over all presets. Silhouette (Rousseeuw 1987), Davies-Bouldin (1979) and the adjusted Rand index between fits on
subsamples (Ben-Hur, Elisseeff and Guyon 2002) rest on samples whose sizes the report states.

Memory: the sample (16,384 rows), three copies of it at work, a distance matrix of 64 MB and the assignments. Rows of
the pack are read in blocks and may be memory-mapped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from aivj_assets.cluster.lloyd import directions, exact_sums, lloyd, nearest
from aivj_assets.cluster.rows import RowParts, count_distinct
from aivj_assets.contracts.findings import examples
from aivj_assets.contracts.k_report import KFigures, KLeftOut, KSampling, KUse, Measured
from aivj_assets.contracts.style import ENERGIES, Energy
from aivj_assets.errors import UserError

FloatRows = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Progress = Callable[[int, int], None]

DEFAULT_KS = (16, 24, 32, 48, 64, 96, 128)
DEFAULT_SEED = 1
# A whole sweep of 130,000 presets of 512 figures then takes two to three minutes on one core.
_FIT_ROWS, _SILHOUETTE_ROWS = 16_384, 4_096
_RESTARTS, _STABILITY_FITS, _CONTROL_DRAWS = 3, 5, 3
_STABILITY_FRACTION = 0.8
_PRESETS_PER_CLUSTER_MIN = 8
# A cluster that holds fewer presets of an energy shows the same ones each time the show comes back to it.
_TIER_PRESETS = 4
_BLOCK_ROWS = 8192
_SPHERE_STEPS = 20
_UNIT_TOLERANCE = 1e-3
_DECIMALS = 6


@dataclass(frozen=True)
class Sweep:
    """What was found: figures by rising k, and what they rest on."""

    figures: list[KFigures]
    left_out: list[KLeftOut]
    sampling: KSampling
    presets: int


class PackRows:
    """The rows of a pack in the order of their preset ids, whatever batch and order they are stored in.

    `batches` are pairs: a callable that opens a batch's rows float32 [n, d] of unit length (memory-mapped), and its
    preset ids in row order. Files are open only while rows are read: Windows replaces no file that is mapped.
    Raises `UserError` when a preset id occurs twice.
    """

    def __init__(self, batches: Sequence[tuple[Callable[[], FloatRows], Sequence[str]]]) -> None:
        self._open = [opened for opened, _ in batches]
        names = [name for _, ids in batches for name in ids]
        order = sorted(range(len(names)), key=names.__getitem__)
        self.ids = [names[place] for place in order]
        twice = [one for one, other in pairwise(self.ids) if one == other]
        if twice:
            raise UserError(f"presets in two batches: {examples(twice)}; take them out of one manifest.")
        sizes = [len(ids) for _, ids in batches]
        self._part_of = np.repeat(np.arange(len(batches)), sizes)[order]
        self._row_of = np.array([row for size in sizes for row in range(size)], dtype=np.int64)[order]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, places: npt.NDArray[np.intp]) -> FloatRows:
        """Return a copy of the rows at places of the id order, made unit length; raises `UserError` for bad rows."""
        return self._taken([opened() for opened in self._open], places)

    def blocks(self) -> Iterator[tuple[slice, FloatRows]]:
        """Return all rows, some thousands at a time."""
        parts = [opened() for opened in self._open]
        for begin in range(0, len(self), _BLOCK_ROWS):
            part = slice(begin, min(begin + _BLOCK_ROWS, len(self)))
            yield part, self._taken(parts, np.arange(part.start, part.stop))

    def _taken(self, parts: Sequence[FloatRows], places: npt.NDArray[np.intp]) -> FloatRows:
        rows = np.empty((len(places), parts[0].shape[1]), dtype=np.float32)
        part_of, row_of = self._part_of[places], self._row_of[places]
        for number in np.unique(part_of):
            here = part_of == number
            rows[here] = parts[number][row_of[here]]
        lengths = np.linalg.norm(rows, axis=1)
        # Written so that NaN counts as bad.
        bad = [self.ids[places[row]] for row in np.flatnonzero(~(np.abs(lengths - 1) <= _UNIT_TOLERANCE))]
        if bad:
            raise UserError(
                f"{len(bad)} embeddings are not finite rows of unit length, e.g. of {examples(bad)}; "
                "materialise embeddings again."
            )
        rows /= lengths[:, None]
        return rows


def parse_ks(text: str) -> list[int]:
    """Return the numbers of `16,32,64`, each once, rising; raises `UserError` for anything else."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdecimal() and len(word) <= 6 for word in words):
        raise UserError(f"--k {text}: write whole numbers with commas between them, e.g. --k 16,32,64.")
    return check_ks([int(word) for word in words])


def check_ks(ks: Sequence[int]) -> list[int]:
    """Return the numbers to try, each once, rising; raises `UserError` when there is none, or one below 2."""
    if not ks or min(ks) < 2:
        raise UserError(f"k {', '.join(map(str, ks)) or 'is missing'}: a sweep is over numbers of clusters from 2 up.")
    return sorted(set(ks))


def use_of_clusters(cluster_cooldown_switches: int, *, sheet_presets: int = 12) -> KUse:
    """Return what is asked of clusters: sheets of so many presets, a cluster back after so many others."""
    return KUse(
        presets_per_cluster_min=_PRESETS_PER_CLUSTER_MIN,
        sheet_presets=sheet_presets,
        tier_presets=_TIER_PRESETS,
        cluster_cooldown_switches=cluster_cooldown_switches,
    )


def sweep_k(
    rows: PackRows,
    *,
    use: KUse,
    energy_of: Callable[[str], Energy | None],
    ks: Sequence[int] = DEFAULT_KS,
    seed: int = DEFAULT_SEED,
    progress: Progress = lambda _done, _total: None,
) -> Sweep:
    """Measure every k that the pack has presets for.

    The result depends on rows, ids, k and seed: not on the order or the batches in which rows are stored, nor on the
    number of threads, nor on the other k. `energy_of` is asked for each preset id. Raises `UserError` for too few
    presets and for rows that are not of unit length.
    """
    import sklearn.cluster  # noqa: F401 - loads OpenMP, which must be there before it can be limited
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    if not len(rows):
        raise UserError("there is no embedded preset; look at the batches' frames and embeddings.")
    # OpenMP and BLAS add in another order for another number of threads: presets between two clusters would move.
    with threadpool_limits(limits=1):
        sample = _Sample.draw(rows, seed)
        fitting, left_out = _fitting_ks(check_ks(ks), len(rows), count_distinct(sample.rows), use)
        tiers = np.array([_tier(energy_of(preset_id)) for preset_id in rows.ids], dtype=np.int8)
        library = _Library(rows, sample, tiers, use, seed)
        fits = _Fits(len(fitting) * (_STABILITY_FITS + 1), progress)
        figures = [_measure(library, k, fits) for k in fitting]
    sampling = KSampling(
        fit_rows=len(sample.rows),
        restarts=_RESTARTS,
        silhouette_rows=len(sample.silhouette),
        stability_fits=_STABILITY_FITS,
        stability_fraction=_STABILITY_FRACTION,
        control_draws=_CONTROL_DRAWS,
    )
    return Sweep(figures, left_out, sampling, len(rows))


@dataclass(frozen=True)
class _Sample:
    """Rows that are fitted on; `silhouette` are places among them, `distances` their cosine distances [m, m]."""

    rows: FloatRows
    silhouette: npt.NDArray[np.intp]
    distances: FloatRows

    @classmethod
    def draw(cls, rows: PackRows, seed: int) -> _Sample:
        places = _draw(len(rows), _FIT_ROWS, seed, 0)
        taken = rows.take(places)
        few = _draw(len(taken), _SILHOUETTE_ROWS, seed, 1)
        distances = 1 - taken[few] @ taken[few].T
        np.clip(distances, 0, 2, out=distances)
        np.fill_diagonal(distances, 0)
        return cls(taken, few, distances)


@dataclass(frozen=True)
class _Library:
    """What every k is measured on; `tiers` [n] holds each preset's energy by number, -1 where it has none."""

    rows: PackRows
    sample: _Sample
    tiers: npt.NDArray[np.int8]
    use: KUse
    seed: int


@dataclass
class _Fits:
    """Counts the fits that are done."""

    total: int
    progress: Progress
    done: int = 0

    def add(self) -> None:
        self.done += 1
        self.progress(self.done, self.total)


def _draw(count: int, limit: int, *seed: int) -> npt.NDArray[np.intp]:
    """Return up to `limit` of `count` places at random, in order."""
    if count <= limit:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, limit, replace=False))


def _tier(energy: Energy | None) -> int:
    return -1 if energy is None else ENERGIES.index(energy)


def _fitting_ks(ks: Sequence[int], presets: int, distinct: int, use: KUse) -> tuple[list[int], list[KLeftOut]]:
    left_out = []
    for k in ks:
        if presets < k * use.presets_per_cluster_min:
            why = f"{presets:,} presets are fewer than {use.presets_per_cluster_min} a cluster"
        elif distinct < k:
            why = f"there are {distinct:,} different embeddings"
        else:
            continue
        left_out.append(KLeftOut(k=k, why=why))
    fitting = [k for k in ks if k not in {left.k for left in left_out}]
    if not fitting:
        most = min(presets // use.presets_per_cluster_min, distinct)
        hint = f"try --k {most} and smaller ones" if most >= 2 else "such a pack needs no clusters"
        raise UserError(f"too few presets to compare k: k {left_out[0].k} is left out, as {left_out[0].why}; {hint}.")
    return fitting, left_out


# ---------------------------------------------------------------------- one k


def _measure(library: _Library, k: int, fits: _Fits) -> KFigures:
    started = time.monotonic()
    rows, sample, use, seed = library.rows, library.sample, library.use, library.seed
    centroids, sampled = _fit(sample.rows, k, seed, restarts=_RESTARTS)
    fits.add()
    labels, sums = _assign(rows, centroids)
    sizes = np.bincount(labels, minlength=k)
    # The mean cosine of unit rows with the direction of their sum is the length of the sum / their number.
    cohesion = np.linalg.norm(sums, axis=1)[sizes > 0] / sizes[sizes > 0]
    chance = _cohesion_by_chance(sizes[sizes > 0], float(np.square(sums.sum(axis=0)).sum()))
    inertia, inertia_by_chance = (2 * float(((1 - each) * sizes[sizes > 0]).sum()) for each in (cohesion, chance))
    random = np.random.default_rng((seed, k, 2))
    silhouette, davies_bouldin = _label_figures(sample, sampled, random)
    stability = _stability(sample.rows, k, seed, random, fits)
    shares = sizes[sizes > 0] / len(rows)
    return KFigures(
        k=k,
        presets_per_cluster=round(len(rows) / k, 2),
        smallest_cluster=int(sizes.min()),
        largest_cluster=int(sizes.max()),
        largest_share_fraction=round(float(shares.max()), _DECIMALS),
        balance=round(min(1.0, float(-(shares * np.log(shares)).sum() / np.log(k))), _DECIMALS),
        full_sheets_fraction=round(float((sizes >= use.sheet_presets).mean()), _DECIMALS),
        clusters_by_energy={
            energy: int((np.bincount(labels[library.tiers == number], minlength=k) >= use.tier_presets).sum())
            for number, energy in enumerate(ENERGIES)
        },
        inertia=_measured(inertia, inertia_by_chance),
        explained_fraction=round(1 - inertia / inertia_by_chance, _DECIMALS) if inertia_by_chance > 0 else 0.0,
        cohesion_median=_measured(np.median(cohesion), np.median(chance)),
        cohesion_worst_decile=_measured(np.quantile(cohesion, 0.1), np.quantile(chance, 0.1)),
        silhouette=silhouette,
        davies_bouldin=davies_bouldin,
        stability_ari=stability,
        duration_s=round(time.monotonic() - started, 3),
    )


def _assign(rows: PackRows, centroids: FloatRows) -> tuple[Labels, npt.NDArray[np.float64]]:
    """Return the label of every row of the pack, and the sum [k, d] of each cluster's rows."""
    labels = np.empty(len(rows), dtype=np.int64)
    sums = np.zeros(centroids.shape)
    for part, block in rows.blocks():
        labels[part] = nearest(RowParts.of(block), centroids)
        sums += exact_sums(RowParts.of(block), labels[part], len(centroids))
    return labels, sums


def _measured(value: Any, control: Any) -> Measured:
    return Measured(value=round(float(value), _DECIMALS), control=round(float(control), _DECIMALS))


def _cohesion_by_chance(sizes: Labels, squared_sum: float) -> npt.NDArray[np.float64]:
    """Return the cohesion of clusters of these sizes whose members are drawn at random from all rows.

    The squared length of a sum of s unit rows is s + s (s - 1) m on average, m the mean cosine of two different rows:
    (|sum of all|^2 - n) / (n (n - 1)).
    """
    count = int(sizes.sum())
    mean_cosine = (squared_sum - count) / (count * (count - 1)) if count > 1 else 1.0
    found: npt.NDArray[np.float64] = np.sqrt(np.maximum(0, (1 + (sizes - 1) * mean_cosine) / sizes))
    return found


def _fit(rows: FloatRows, k: int, seed: int, *, restarts: int = 1) -> tuple[FloatRows, Labels]:
    """Return unit centroids [k, d] of spherical k-means and the rows' labels; see `lloyd` for the method."""
    from sklearn.cluster import KMeans

    start = KMeans(n_clusters=k, n_init=restarts, random_state=seed, algorithm="lloyd").fit(rows)
    centroids = directions(start.cluster_centers_.astype(np.float64), rows[:k])
    fit = lloyd(RowParts.of(rows), centroids, max_steps=_SPHERE_STEPS, tolerance_fraction=0)
    return fit.centroids, fit.labels


def _label_figures(sample: _Sample, labels: Labels, random: np.random.Generator) -> tuple[Measured, Measured]:
    """Return silhouette and Davies-Bouldin of labels, each beside its mean over shuffled labels."""
    from sklearn.metrics import davies_bouldin_score, silhouette_score

    few = labels[sample.silhouette]
    # One label in all, or a label for each: sklearn has no figure for that, and neither tells anything.
    can_compare = 1 < len(np.unique(few)) < len(few)

    def both(of_all: Labels, of_few: Labels) -> tuple[float, float]:
        first = silhouette_score(sample.distances, of_few, metric="precomputed") if can_compare else 0.0
        second = davies_bouldin_score(sample.rows, of_all) if can_compare else 0.0
        return float(first), float(second)

    found = both(labels, few)
    shuffled = [both(random.permutation(labels), random.permutation(few)) for _ in range(_CONTROL_DRAWS)]
    controls = np.mean(shuffled, axis=0)
    return _measured(found[0], controls[0]), _measured(found[1], controls[1])


def _stability(rows: FloatRows, k: int, seed: int, random: np.random.Generator, fits: _Fits) -> Measured:
    """Return the mean adjusted Rand index of pairs of fits on random 80% of rows, over the rows that both have."""
    from sklearn.metrics import adjusted_rand_score

    found: list[Labels] = []
    for number in range(_STABILITY_FITS):
        places = np.sort(random.choice(len(rows), max(k, round(_STABILITY_FRACTION * len(rows))), replace=False))
        labels = np.full(len(rows), -1, dtype=np.int64)
        labels[places] = _fit(np.ascontiguousarray(rows[places]), k, seed + 1 + number)[1]
        found.append(labels)
        fits.add()
    values, controls = [], []
    for one, other in combinations(found, 2):
        both = (one >= 0) & (other >= 0)
        values.append(adjusted_rand_score(one[both], other[both]))
        controls.append(adjusted_rand_score(one[both], random.permutation(other[both])))
    return _measured(np.mean(values), np.mean(controls))
