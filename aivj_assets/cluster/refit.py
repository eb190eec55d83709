"""`minor` and `major`: Lloyd steps over the whole library from the last centroids, of which few presets follow.

A published preset moves only where that brings a gain in cosine (hysteresis), and only so many do. New rows then join
the clusters that result, as in an ordinary batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from aivj_assets.cluster.births import Birth, distinct_cosine, find_births
from aivj_assets.cluster.lloyd import (
    Fit,
    cosines_between,
    directions,
    exact_sums,
    extend,
    lloyd,
    moved_sums,
    nearest,
    own_cosines,
)
from aivj_assets.cluster.match import best_pairs, moves_within_budget
from aivj_assets.cluster.rows import Figures, FloatRows, Labels, RowParts, canonical_order
from aivj_assets.cluster.state import LineageParameters, LineageState, clustering_of, histogram

_MOST_BIRTH_ROUNDS = 6
_JOIN_STEPS = 5
_SETTLING_STEPS = 3


@dataclass(frozen=True)
class Refit:
    """Places of all rows, library first: 0..k-1 the state's clusters in order, then the births."""

    places: Labels
    births: tuple[Birth, ...]


def founded_by(
    state: LineageState, new_rows: RowParts, parameters: LineageParameters
) -> tuple[FloatRows, tuple[Birth, ...]]:
    """Return the state's centroids with those of the births among new rows after them, and the births."""
    known = state.clustering(parameters.births)
    labels = nearest(new_rows, known.centroids)
    founded, births = find_births(
        new_rows, labels, own_cosines(new_rows, known.centroids, labels), known, rules=parameters.births,
        most=parameters.limit - state.k, first_number=state.next_number, seed=parameters.seed,
    )  # fmt: skip
    return np.concatenate([known.centroids, founded]), births


def minor_fit(
    state: LineageState, library: RowParts, published: Labels, new_rows: RowParts, parameters: LineageParameters
) -> Refit:
    """Warm start of few steps with births among the new rows; see `LineageParameters` for steps, gain and budget."""
    centroids, births = founded_by(state, new_rows, parameters)
    fit = lloyd(library + new_rows, centroids, max_steps=parameters.minor_steps)
    budget = int(parameters.minor_budget_fraction * len(library))
    everywhere = np.arange(fit.k, dtype=np.int64)
    places = _follow(
        library, published, new_rows, fit,
        alive=everywhere, former=state.centroids, min_gain=parameters.min_gain, most=budget,
    )  # fmt: skip
    return Refit(places, births)


def major_fit(
    state: LineageState, library: RowParts, published: Labels, new_rows: RowParts, parameters: LineageParameters
) -> Refit:
    """Warm start to convergence, births among new and then among all rows, ids by the former clusters, merges."""
    rows = library + new_rows
    centroids, births = founded_by(state, new_rows, parameters)
    fit = lloyd(rows, centroids, max_steps=parameters.warm_start_steps)
    for _ in range(_MOST_BIRTH_ROUNDS):
        founded, more = _births_anywhere(rows, fit, state, births, parameters)
        if not more:
            break
        births += more
        fit = lloyd(rows, np.concatenate([fit.centroids, founded]), max_steps=parameters.warm_start_steps)
    fit = _named_by_members(fit, published)
    alive, after, left = _merged(library, published, fit, state, parameters)
    follow = partial(
        _follow, library, after, new_rows, fit, former=state.centroids, min_gain=parameters.min_gain, most=left
    )
    places = follow(alive=alive)
    needed = parameters.births.members_needed(len(rows))
    while True:
        # The budget may leave a birth hardly a member: then it is none, and others have what it took of the budget.
        sizes = np.bincount(places, minlength=fit.k)
        meagre = [place for place in alive.tolist() if place >= state.k and sizes[place] < needed]
        if not meagre:
            return Refit(places, births)
        alive = alive[alive != min(meagre, key=lambda place: (int(sizes[place]), place))]
        places = follow(alive=alive)


def _follow(
    library: RowParts, before: Labels, new_rows: RowParts, fit: Fit, *,
    alive: Labels, former: FloatRows, min_gain: float, most: int,
) -> Labels:  # fmt: skip
    """Return places of all rows, library first: published ones move within hysteresis and budget, new ones join.

    As only some presets follow, the centroids that result lie between the fit's and the former ones. Who wants to move,
    and where, is asked of them a few times over; moves that in the end do not bring their gain are taken back.
    """
    last = fit.centroids.copy()
    last[: len(former)] = former
    centroids = fit.centroids
    for _ in range(_SETTLING_STEPS):
        wanted = alive[nearest(library, centroids[alive])]
        after = _moved(library, before, wanted, centroids, min_gain=min_gain, most=most)
        sums = exact_sums(library, after, fit.k)
        new, centroids = _joined(new_rows, sums, fit.centroids, alive, last)
    while True:
        movers = np.flatnonzero(after != before)
        rows = RowParts.of(library.take(movers))
        gains = own_cosines(rows, centroids, after[movers]) - own_cosines(rows, centroids, before[movers])
        back = movers[gains < min_gain]
        if not len(back):
            return np.concatenate([after, new])
        kept = after.copy()
        kept[back] = before[back]
        sums, after = moved_sums(library, sums, after, kept), kept
        new, centroids = _joined(new_rows, sums, fit.centroids, alive, last)


def _joined(
    new_rows: RowParts, sums: Figures, start: FloatRows, alive: Labels, last: FloatRows
) -> tuple[Labels, FloatRows]:
    """Return the new rows' places among those `alive`, and all centroids with them; `last` where a sum is 0."""
    new = alive[extend(new_rows, sums[alive], start[alive], steps=_JOIN_STEPS)]
    return new, directions(sums + exact_sums(new_rows, new, len(start)), last)


def _births_anywhere(
    rows: RowParts, fit: Fit, state: LineageState, earlier: tuple[Birth, ...], parameters: LineageParameters
) -> tuple[FloatRows, tuple[Birth, ...]]:
    """Look for births among all rows, held against the fit itself: as many as usual are far, by definition."""
    rules = replace(parameters.births, min_unexplained_fraction=0.0)
    known = clustering_of(state.numbers, fit.centroids, histogram(rows, fit.labels, fit.centroids), rules)
    return find_births(
        rows, fit.labels, own_cosines(rows, fit.centroids, fit.labels), known, rules=rules,
        most=parameters.limit - fit.k, first_number=state.next_number + len(earlier), seed=parameters.seed,
    )  # fmt: skip


def _named_by_members(fit: Fit, published: Labels) -> Fit:
    """Return the fit with its clusters in the places of those former ones that they share the most members with.

    After a warm start that is nearly always the place where each started, which also decides where nothing is shared.
    """
    common = np.bincount(published * fit.k + fit.labels[: len(published)], minlength=fit.k * fit.k)
    place_of = best_pairs(common.reshape(fit.k, fit.k) + 0.5 * np.eye(fit.k))
    where = np.argsort(place_of)
    return Fit(place_of[fit.labels], fit.sums[where], fit.centroids[where], fit.steps)


def _merged(
    library: RowParts, published: Labels, fit: Fit, state: LineageState, parameters: LineageParameters
) -> tuple[Labels, Labels, int]:
    """Return (places that stay, published places after merges, presets that may still move).

    A cluster is merged into the others when the fit left it hardly a member, or its centroid lies as close to that of a
    larger one as no birth may: the smallest first, as long as their members fit into the budget of a `major`.
    """
    left = int(parameters.major_budget_fraction * len(library))
    sizes = np.bincount(fit.labels, minlength=fit.k)
    few = min(parameters.births.members_needed(len(fit.labels)) / 2, float(np.median(sizes)) / 10)
    close = cosines_between(fit.centroids, fit.centroids)
    alive = np.ones(fit.k, dtype=bool)
    after = published.copy()
    for place in sorted(range(state.k), key=lambda place: (int(sizes[place]), place)):
        others = np.flatnonzero(alive & (np.arange(fit.k) != place))
        if not len(others):
            continue
        # How close the others lie among themselves: a pair of twins must not raise the limit that it is held against.
        limit = max(parameters.births.max_centroid_cosine, distinct_cosine(close[np.ix_(others, others)]))
        if sizes[place] > few and close[place, others].max() <= limit:
            continue
        members = np.flatnonzero(after == place)
        if len(members) > left:
            continue
        alive[place] = False
        left -= len(members)
        after[members] = others[nearest(RowParts.of(library.take(members)), fit.centroids[others])]
    return np.flatnonzero(alive), after, left


def _moved(
    library: RowParts, before: Labels, wanted: Labels, centroids: FloatRows, *, min_gain: float, most: int
) -> Labels:
    """Return places after at most `most` rows went where they gain at least `min_gain`, the largest gains first."""
    differ = np.flatnonzero(before != wanted)
    rows = RowParts.of(library.take(differ))
    gains = own_cosines(rows, centroids, wanted[differ]) - own_cosines(rows, centroids, before[differ])
    # Rows of equal gain are nearly always equal rows; content decides between the others, never their place.
    by_content = np.argsort(canonical_order(rows))
    movers = differ[moves_within_budget(gains, min_gain, most, by_content)]
    after = before.copy()
    after[movers] = wanted[movers]
    return after
