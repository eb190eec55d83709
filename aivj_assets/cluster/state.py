"""A version of a lineage: what must be kept of a clustering so that the next batch extends it.

Small, plain and immutable: arrays that grow with the number of clusters and facts that fit into JSON. Where rows lie is
not part of it. As sums are exact, a version does not depend on the order in which rows came into its clusters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from aivj_assets.cluster.births import BirthRules, Clustering
from aivj_assets.cluster.choose_k import DEFAULT_K
from aivj_assets.cluster.libraries import library_versions
from aivj_assets.cluster.lloyd import MOST_ROWS, directions, exact_sums, own_cosines
from aivj_assets.cluster.rows import Figures, FloatRows, Labels, RowParts, content_digest
from aivj_assets.errors import UserError

# Bins over cosines -1..1: a quantile is known to 0.001.
_BINS = 2000
_FEWEST_FOR_QUANTILE = 20


@dataclass(frozen=True)
class LineageParameters:
    """What a person may set; k of the first fit, and the limits of what later batches may change."""

    k: int = DEFAULT_K
    k_limit: int | None = None
    """Births stop there; by default twice k."""
    seed: int = 1
    births: BirthRules = field(default_factory=BirthRules)
    extend_steps: int = 5
    """Lloyd steps of a new batch while published presets keep their cluster."""
    min_gain: float = 0.02
    """Hysteresis: a published preset moves only for at least this gain in cosine."""
    minor_steps: int = 10
    minor_budget_fraction: float = 0.02
    """Largest share of published presets that one `minor` moves."""
    major_budget_fraction: float = 0.05
    warm_start_steps: int = 100
    """Lloyd steps of `warm_start` and `major`, which stop earlier when hardly a preset moves."""

    @property
    def limit(self) -> int:
        """The k limit."""
        return 2 * self.k if self.k_limit is None else self.k_limit


@dataclass(frozen=True)
class Retired:
    """An id that is never given again; `into` is where most of its members went, None where they were removed."""

    number: int
    version: int
    reason: str
    into: int | None


@dataclass(frozen=True)
class SeenBatch:
    """A batch of the lineage; `digest` is of its rows as a set."""

    key: str
    rows: int
    digest: str


@dataclass(frozen=True)
class LineageState:
    """One version of a lineage of k clusters over d dimensions."""

    version: int
    kind: str
    """How it came about: first, baseline, extend, removal, or the name of the strategy."""
    numbers: Labels
    """int64 [k], ascending: cluster ids are `c` and this number, never given again."""
    born_in: tuple[str, ...]
    """Batch in which each cluster first appeared."""
    sizes: Labels
    """int64 [k]: published presets of each cluster."""
    sums: Figures
    """float64 [k, d]: exact sums of their rows."""
    cosines: Labels
    """int64 [k, 2000]: histogram over -1..1 of members' cosines with their centroid at the time they came."""
    next_number: int
    retired: tuple[Retired, ...]
    batches: tuple[SeenBatch, ...]
    parameters: LineageParameters
    model: str
    """Digest of the model card that the rows were made with."""
    libraries: Mapping[str, str]

    @property
    def k(self) -> int:
        """Number of clusters."""
        return len(self.numbers)

    @property
    def dim(self) -> int:
        """Length of a row."""
        return int(self.sums.shape[1])

    @property
    def count(self) -> int:
        """Number of published presets."""
        return int(self.sizes.sum())

    @property
    def centroids(self) -> FloatRows:
        """Unit rows float32 [k, d]: the directions of the sums."""
        axis = np.eye(1, self.dim, dtype=np.float32)
        return directions(self.sums, np.repeat(axis, self.k, axis=0))

    def clustering(self, rules: BirthRules) -> Clustering:
        """Return what births of the next batch are held against."""
        return clustering_of(self.numbers, self.centroids, self.cosines, rules)

    def places(self, labels: npt.ArrayLike) -> Labels:
        """Return the place 0..k-1 of each cluster number; raises `UserError` for a number that is no cluster."""
        wanted = np.asarray(labels, dtype=np.int64)
        places = np.minimum(np.searchsorted(self.numbers, wanted), self.k - 1)
        unknown = np.flatnonzero(self.numbers[places] != wanted)
        if len(unknown):
            raise UserError(
                f"published assignments name cluster c{int(wanted[unknown[0]]):02d}, which version {self.version} of "
                "the lineage does not have; restore the lineage's files from one version."
            )
        return places.astype(np.int64)

    def to_plain(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Return (facts that fit into JSON, arrays by name), from which `from_plain` makes the same state."""
        names = ("numbers", "sizes", "sums", "cosines")
        facts = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in names}
        facts["parameters"] = asdict(self.parameters)
        facts["retired"] = [asdict(gone) for gone in self.retired]
        facts["batches"] = [asdict(batch) for batch in self.batches]
        facts["libraries"] = dict(self.libraries)
        facts["born_in"] = list(self.born_in)
        return facts, {name: getattr(self, name) for name in names}

    @classmethod
    def from_plain(cls, facts: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> LineageState:
        """Make a state of what `to_plain` returned; raises `UserError` when the two do not fit each other."""
        try:
            parameters = dict(facts["parameters"])
            births = BirthRules(**parameters.pop("births"))
            state = cls(
                **{
                    **facts,
                    "parameters": LineageParameters(**parameters, births=births),
                    "retired": tuple(Retired(**gone) for gone in facts["retired"]),
                    "batches": tuple(SeenBatch(**batch) for batch in facts["batches"]),
                    "born_in": tuple(facts["born_in"]),
                    "numbers": np.asarray(arrays["numbers"], np.int64),
                    "sizes": np.asarray(arrays["sizes"], np.int64),
                    "sums": np.asarray(arrays["sums"], np.float64),
                    "cosines": np.asarray(arrays["cosines"], np.int64),
                }
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"the lineage's state is broken ({error}); restore it from an earlier version.") from None
        state.check()
        return state

    def check(self) -> None:
        """Raise `UserError` when the parts of the state contradict each other."""
        k = len(self.numbers)
        shapes_fit = (
            self.numbers.shape == self.sizes.shape == (len(self.born_in),)
            and self.sums.ndim == 2
            and len(self.sums) == k
            and self.cosines.shape == (k, _BINS)
        )
        sound = (
            shapes_fit
            and k > 0
            and bool((np.diff(self.numbers) > 0).all())
            and int(self.numbers[-1]) < self.next_number
            and not {gone.number for gone in self.retired} & set(self.numbers.tolist())
            and bool(np.isfinite(self.sums).all())
            and bool((self.sizes > 0).all())
        )
        if not sound:
            raise UserError(
                f"version {self.version} of the lineage contradicts itself; restore it from an earlier version."
            )


def histogram(rows: RowParts, labels: Labels, centroids: FloatRows) -> Labels:
    """Return int64 [k, 2000]: how many rows of each cluster have which cosine with its centroid, bins over -1..1."""
    cosines = own_cosines(rows, centroids, labels)
    bins = np.clip(((cosines + 1) * (_BINS / 2)).astype(np.int64), 0, _BINS - 1)
    counts = np.bincount(labels * _BINS + bins, minlength=len(centroids) * _BINS)
    return counts.reshape(len(centroids), _BINS).astype(np.int64)


def clustering_of(numbers: Labels, centroids: FloatRows, cosines: Labels, rules: BirthRules) -> Clustering:
    """Return what births are held against, from histograms int64 [k, 2000] of members' cosines.

    A cluster of fewer than 20 members has the far quantile of all members.
    """
    counts = cosines.sum(axis=1)
    everyone = _quantile(cosines.sum(axis=0), rules.far_quantile)
    low = [
        _quantile(mine, rules.far_quantile) if count >= _FEWEST_FOR_QUANTILE else everyone
        for mine, count in zip(cosines, counts, strict=True)
    ]
    middles = (np.arange(_BINS) + 0.5) * 2 / _BINS - 1
    means = (cosines * middles).sum(axis=1)[counts > 0] / counts[counts > 0]
    cohesion = float(np.quantile(means, rules.min_cohesion_quantile)) if len(means) else -1.0
    return Clustering(numbers, centroids, np.array(low), cohesion)


def _quantile(counts: Labels, quantile: float) -> float:
    """Return the quantile of a histogram, as if the values of a bin lay evenly in it; -1 when it is empty."""
    total = np.concatenate([[0], np.cumsum(counts)])
    if not total[-1]:
        return -1.0
    wanted = quantile * total[-1]
    place = int(np.searchsorted(total, wanted, side="left"))
    if place == 0:
        return float(np.flatnonzero(counts)[0] * 2 / _BINS - 1)
    inside = (wanted - total[place - 1]) / max(1, total[place] - total[place - 1])
    return float((place - 1 + inside) * 2 / _BINS - 1)


def baseline(
    rows: RowParts,
    labels: npt.ArrayLike,
    *,
    model: str,
    parameters: LineageParameters,
    batch: str,
    born_in: Mapping[int, str] | None = None,
) -> LineageState:
    """Return the first version of a lineage from clusters that are there already: `labels` int [n] are their numbers.

    Raises `UserError` when there are more than the k limit.
    """
    given = np.asarray(labels, dtype=np.int64)
    numbers, places = np.unique(given, return_inverse=True)
    places = places.astype(np.int64)
    if len(numbers) > parameters.limit:
        raise UserError(f"{len(numbers)} clusters are more than the k limit {parameters.limit}; set a higher k limit.")
    sums = exact_sums(rows, places, len(numbers))
    born = born_in or {}
    state = LineageState(
        version=1, kind="baseline", numbers=numbers, born_in=tuple(born.get(int(number), batch) for number in numbers),
        sizes=np.bincount(places, minlength=len(numbers)).astype(np.int64), sums=sums,
        cosines=np.zeros((len(numbers), _BINS), np.int64), next_number=int(numbers[-1]) + 1, retired=(),
        batches=(SeenBatch(batch, len(rows), content_digest(rows)),), parameters=parameters, model=model,
        libraries=library_versions(),
    )  # fmt: skip
    return replace(state, cosines=histogram(rows, places, state.centroids))


def exchanged(
    state: LineageState, out: RowParts, out_numbers: Labels, into: RowParts, into_numbers: Labels, *, reason: str
) -> LineageState:
    """Return the state with some rows taken out and others put in; a cluster without a member left is retired.

    Rows are [m, d] with their cluster numbers int64 [m]. Sums are exact: what is put in and taken out again leaves none
    of its bits. Version, kind and batches are the caller's matter. Raises `UserError` when more is taken out of a
    cluster than it has, or nothing would be left.
    """
    if not len(out_numbers) and not len(into_numbers):
        return state
    sums, sizes, cosines = state.sums.copy(), state.sizes.copy(), state.cosines.copy()
    for rows, numbers, sign in ((out, out_numbers, -1), (into, into_numbers, 1)):
        if not len(numbers):
            continue
        places = state.places(numbers)
        sums += sign * exact_sums(rows, places, state.k)
        sizes += sign * np.bincount(places, minlength=state.k)
        # Of cosines at the time they came: those of today come near enough to be taken out.
        cosines = np.maximum(0, cosines + sign * histogram(rows, places, state.centroids))
    if (sizes < 0).any() or not sizes.any():
        raise UserError(
            f"{len(out_numbers)} presets cannot be taken out: their assignments are not those of version "
            f"{state.version}, or nothing would be left."
        )
    kept = np.flatnonzero(sizes)
    gone = tuple(
        Retired(int(state.numbers[place]), state.version + 1, reason, None) for place in np.flatnonzero(sizes == 0)
    )
    return replace(
        state, numbers=state.numbers[kept], born_in=tuple(state.born_in[place] for place in kept), sizes=sizes[kept],
        sums=sums[kept], cosines=cosines[kept], retired=state.retired + gone,
    )  # fmt: skip


def check_size(count: int) -> None:
    """Raise `UserError` when a library has more presets than sums are exact for."""
    if count > MOST_ROWS:
        raise UserError(f"{count} presets are more than the {MOST_ROWS} that one lineage can hold.")
