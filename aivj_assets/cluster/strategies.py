"""How a library's clusters go from one version to the next: strategies by name, all through `step`.

| strategy | a batch | published presets |
|---|---|---|
| `lineage` | joins the nearest cluster or founds new ones | none changes |
| `minor` | the same, after a warm start of at most 10 Lloyd steps | at most 2% change, each for a gain of 0.02 |
| `major` | the same, after a warm start to convergence; births from all rows, merges | at most 5% change, likewise |
| `warm_start` | k-means from the last centroids to convergence | follow |
| `hungarian` | fit anew, ids by the best match of centroids | follow |
| `versioned` | fit anew, new ids throughout | all change |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from aivj_assets.cluster.births import Birth
from aivj_assets.cluster.libraries import library_versions
from aivj_assets.cluster.lloyd import Fit, exact_sums, extend, fit_anew, lloyd, own_cosines
from aivj_assets.cluster.match import Changes, Migration, match_by_cosine, migration_table
from aivj_assets.cluster.refit import founded_by, major_fit, minor_fit
from aivj_assets.cluster.rows import CHUNK_ROWS, Labels, RowParts, check_unit_rows, content_digest, one_thread_each
from aivj_assets.cluster.state import (
    LineageParameters,
    LineageState,
    Retired,
    SeenBatch,
    baseline,
    check_size,
    histogram,
)
from aivj_assets.errors import UserError

DEFAULT_STRATEGY = "lineage"
_NO_MEMBER_LEFT = "no member left"


@dataclass(frozen=True)
class StepResult:
    """The next version, and all that it changed. Labels are cluster numbers."""

    state: LineageState
    new_labels: Labels
    """int64 [rows of the batch]."""
    published: Labels
    """int64 [rows of the library]: the former assignments with `changes` applied."""
    changes: Changes
    births: tuple[Birth, ...]
    retirements: tuple[Retired, ...]
    migration: tuple[Migration, ...]


@dataclass(frozen=True)
class _Batch:
    state: LineageState
    library: RowParts
    published: Labels
    """Places 0..k-1 in the state."""
    rows: RowParts
    parameters: LineageParameters


@dataclass(frozen=True)
class _Outcome:
    """What a strategy decides: clusters by number, and places among them for all rows, library first."""

    numbers: Labels
    places: Labels
    births: tuple[Birth, ...] = ()
    reason: str = _NO_MEMBER_LEFT


def step(
    strategy: str,
    state: LineageState | None,
    library: RowParts,
    published: npt.ArrayLike,
    new_rows: RowParts,
    *,
    batch: str | None,
    model: str,
    parameters: LineageParameters | None = None,
) -> StepResult:
    """Make the next version of a lineage with a further batch of rows.

    `library` float32 [n, d] are the published presets' unit rows and `published` int [n] their cluster numbers;
    `new_rows` float32 [m, d] are the batch's, `batch` its key. A `minor` or `major` may come without a batch (None and
    no rows). `model` is the digest of the model card. Without a state, `strategy` does not matter: k clusters are
    fitted. `parameters` replace those of the state. The result depends on the rows and the seed, not on their order,
    on how they are cut into parts, or on the number of threads.

    Raises `UserError`, and changes nothing, for an unknown strategy; rows that are not finite or of unit length, of
    another dimension or model than the lineage, or of a batch that it has already; fewer rows than k; a k limit below
    k; and published assignments that are not the state's.
    """
    if strategy not in _STRATEGIES:
        raise UserError(f"no clustering strategy is named '{strategy}'; there are {', '.join(STRATEGIES)}.")
    parameters = parameters or (state.parameters if state else LineageParameters())
    _check_parameters(parameters, state)
    with one_thread_each():
        return _stepped(strategy, state, library, published, new_rows, batch=batch, model=model, parameters=parameters)


def _stepped(
    strategy: str, state: LineageState | None, library: RowParts, published: npt.ArrayLike, new_rows: RowParts, *,
    batch: str | None, model: str, parameters: LineageParameters,
) -> StepResult:  # fmt: skip
    check_unit_rows(new_rows, f"batch {batch}" if batch else "the batch")
    check_size(len(library) + len(new_rows))
    if state is None:
        return _first(new_rows, batch, model, parameters)
    state.check()
    digest = content_digest(new_rows)
    _check_batch(
        state, library, new_rows, batch=batch, model=model, digest=digest, needs_rows=strategy not in {"minor", "major"}
    )
    places = state.places(published)
    if len(places) != len(library) or not np.array_equal(np.bincount(places, minlength=state.k), state.sizes):
        raise UserError(
            f"{len(places)} published assignments of {len(library)} rows are not those of version {state.version} of "
            "the lineage; restore the lineage's files from one version."
        )
    given = _Batch(state, library, places, new_rows, parameters)
    outcome = _STRATEGIES[strategy](given)
    seen = (SeenBatch(batch, len(new_rows), digest),) if batch is not None and len(new_rows) else ()
    kind = "extend" if strategy == DEFAULT_STRATEGY else strategy
    former = replace(state, parameters=parameters, batches=state.batches + seen)
    return _finish(former, kind, given, outcome)


def _check_parameters(parameters: LineageParameters, state: LineageState | None) -> None:
    if parameters.k < 1:
        raise UserError(f"k {parameters.k} must be at least 1.")
    current = parameters.k if state is None else state.k
    if parameters.limit < current:
        raise UserError(f"the k limit {parameters.limit} is below the {current} clusters there are; set a higher one.")


def _check_batch(
    state: LineageState, library: RowParts, rows: RowParts, *, batch: str | None, model: str, digest: str,
    needs_rows: bool,
) -> None:  # fmt: skip
    name = f"batch {batch}" if batch is not None else "the batch"
    if model != state.model:
        raise UserError(
            f"{name} was embedded with model card {model[:12]}, the lineage with {state.model[:12]}; embed it with the "
            "lineage's model, or start another lineage."
        )
    if any(len(part) and part.dim != state.dim for part in (library, rows)):
        other = rows.dim if len(rows) else library.dim
        raise UserError(f"{name} has embeddings of {other} dimensions, the lineage of {state.dim}.")
    if not len(rows):
        if needs_rows or batch is not None:
            raise UserError(f"{name} has no embedded preset to cluster.")
        return
    if batch is None:
        raise UserError("a batch of rows needs its key.")
    for seen in state.batches:
        if batch == seen.key or digest == seen.digest:
            same = "" if batch == seen.key else f" as batch {seen.key}"
            raise UserError(f"batch {batch} is in the lineage already{same}; remove it from there to add it again.")


def _first(rows: RowParts, batch: str | None, model: str, parameters: LineageParameters) -> StepResult:
    if batch is None or len(rows) < parameters.k:
        raise UserError(f"{len(rows)} embedded presets are fewer than k {parameters.k}; set a smaller k.")
    fit = fit_anew(rows, parameters.k, seed=parameters.seed)
    sizes = np.bincount(fit.labels, minlength=fit.k)
    # By size, largest first; ties by the sums, which do not depend on the order of rows.
    order = sorted(np.flatnonzero(sizes), key=lambda place: (-int(sizes[place]), fit.sums[place].tolist()))
    number_of = np.zeros(fit.k, dtype=np.int64)
    number_of[order] = np.arange(len(order))
    labels = number_of[fit.labels]
    state = baseline(rows, labels, model=model, parameters=parameters, batch=batch)
    return StepResult(
        replace(state, kind="first"), labels, np.empty(0, np.int64), Changes.none(), births=(), retirements=(),
        migration=(),
    )  # fmt: skip


def _lineage(given: _Batch) -> _Outcome:
    state = given.state
    centroids, births = founded_by(state, given.rows, given.parameters)
    fixed = np.zeros((len(centroids), state.dim))
    fixed[: state.k] = state.sums
    new = extend(given.rows, fixed, centroids, steps=given.parameters.extend_steps)
    return _with_births(state, np.concatenate([given.published, new]), births)


def _minor(given: _Batch) -> _Outcome:
    fit = minor_fit(given.state, given.library, given.published, given.rows, given.parameters)
    return _with_births(given.state, fit.places, fit.births)


def _major(given: _Batch) -> _Outcome:
    fit = major_fit(given.state, given.library, given.published, given.rows, given.parameters)
    return _with_births(given.state, fit.places, fit.births, "merged or left without a member by a major")


def _warm_start(given: _Batch) -> _Outcome:
    fit = lloyd(given.library + given.rows, given.state.centroids, max_steps=given.parameters.warm_start_steps)
    return _Outcome(given.state.numbers, fit.labels)


def _anew(given: _Batch) -> Fit:
    rows, k = given.library + given.rows, given.parameters.k
    if len(rows) < k:
        raise UserError(f"{len(rows)} embedded presets are fewer than k {k}; set a smaller k.")
    return fit_anew(rows, k, seed=given.parameters.seed + given.state.version)


def _hungarian(given: _Batch) -> _Outcome:
    fit = _anew(given)
    return _renamed(
        given.state, fit, match_by_cosine(given.state.centroids, fit.centroids), "matched by no new cluster"
    )


def _versioned(given: _Batch) -> _Outcome:
    fit = _anew(given)
    return _renamed(given.state, fit, np.full(fit.k, -1, dtype=np.int64), "fitted anew")


def _renamed(state: LineageState, fit: Fit, continues: Labels, reason: str) -> _Outcome:
    """Give each new cluster the number of the former place that it continues, else a number never used."""
    fresh = np.flatnonzero(continues < 0)
    number_of = np.where(continues >= 0, state.numbers[continues], 0)
    # Fresh numbers by size, as in a first version.
    sizes = np.bincount(fit.labels, minlength=fit.k)
    by_size = sorted(fresh, key=lambda place: (-int(sizes[place]), fit.sums[place].tolist()))
    number_of[by_size] = state.next_number + np.arange(len(fresh))
    numbers = np.union1d(state.numbers, number_of)
    return _Outcome(numbers, np.searchsorted(numbers, number_of)[fit.labels], (), reason)


def _with_births(
    state: LineageState, places: Labels, births: tuple[Birth, ...], reason: str = _NO_MEMBER_LEFT
) -> _Outcome:
    """Give the births that have members the next numbers; `places` count the state's clusters and then the births."""
    sizes = np.bincount(places, minlength=state.k + len(births))
    kept = np.concatenate([np.arange(state.k), state.k + np.flatnonzero(sizes[state.k :])])
    fresh = state.next_number + np.arange(len(kept) - state.k)
    named = tuple(
        replace(births[place - state.k], number=int(number))
        for place, number in zip(kept[state.k :], fresh, strict=True)
    )
    return _Outcome(np.concatenate([state.numbers, fresh]), np.searchsorted(kept, places), named, reason)


def _finish(former: LineageState, kind: str, given: _Batch, outcome: _Outcome) -> StepResult:
    """Make the next version of the clusters that have members; the others are retired."""
    numbers, places = outcome.numbers, outcome.places
    sizes = np.bincount(places, minlength=len(numbers))
    kept = np.flatnonzero(sizes)
    after, new = places[: len(given.library)], places[len(given.library) :]
    before = np.searchsorted(numbers, former.numbers)[given.published]
    # Where no published preset moves, the new rows alone are added: the library need not be read.
    only_added = np.array_equal(before, after)
    rows, counted = (given.rows, new) if only_added else (given.library + given.rows, places)
    sums = exact_sums(rows, counted, len(numbers))
    if only_added:
        sums[: former.k] += former.sums
    born = dict(zip(former.numbers.tolist(), former.born_in, strict=True))
    state = replace(
        former, version=former.version + 1, kind=kind, numbers=numbers[kept], sums=sums[kept],
        sizes=sizes[kept].astype(np.int64), libraries=library_versions(),
        born_in=tuple(born.get(number, former.batches[-1].key) for number in numbers[kept].tolist()),
        next_number=max(former.next_number, int(numbers[-1]) + 1),
    )  # fmt: skip
    centroids = np.zeros((len(numbers), state.dim), dtype=np.float32)
    centroids[kept] = state.centroids
    cosines = histogram(rows, counted, centroids)
    if only_added:
        cosines[: former.k] += former.cosines
    changes = _changes(former, state, given.library, numbers[before], numbers[after])
    migration = migration_table(changes)
    retired = tuple(
        Retired(int(number), state.version, outcome.reason, _main_heir(int(number), migration))
        for number in former.numbers[sizes[: former.k] == 0]
    )
    state = replace(state, cosines=cosines[kept], retired=former.retired + retired)
    state.check()
    return StepResult(state, numbers[new], numbers[after], changes, outcome.births, retired, migration)


def _changes(former: LineageState, state: LineageState, library: RowParts, old: Labels, new: Labels) -> Changes:
    """Return what changed between two assignments by number."""
    moved = np.flatnonzero(old != new)
    if not len(moved):
        return Changes.none()
    last = dict(zip(former.numbers.tolist(), former.centroids, strict=True))
    last.update(zip(state.numbers.tolist(), state.centroids, strict=True))
    known = np.array(sorted(last), dtype=np.int64)
    centroids = np.stack([last[number] for number in known.tolist()])
    gain = np.empty(len(moved))
    # Where all change, the movers are the library: they are taken in pieces.
    for begin in range(0, len(moved), CHUNK_ROWS):
        part = slice(begin, begin + CHUNK_ROWS)
        rows = RowParts.of(library.take(moved[part]))
        to, since = np.searchsorted(known, new[moved[part]]), np.searchsorted(known, old[moved[part]])
        gain[part] = own_cosines(rows, centroids, to) - own_cosines(rows, centroids, since)
    return Changes(moved, old[moved], new[moved], gain)


def _main_heir(number: int, migration: tuple[Migration, ...]) -> int | None:
    heirs = [line for line in migration if line.old == number]
    return max(heirs, key=lambda line: line.presets).new if heirs else None


_STRATEGIES: Mapping[str, Callable[[_Batch], _Outcome]] = MappingProxyType(
    {
        "lineage": _lineage,
        "minor": _minor,
        "major": _major,
        "warm_start": _warm_start,
        "hungarian": _hungarian,
        "versioned": _versioned,
    }
)
STRATEGIES = tuple(_STRATEGIES)
