"""The draw: a cluster first, then a preset of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aivj_assets.contracts.show_log import LISTED_CANDIDATES
from aivj_assets.show.selector.hearing import finite
from aivj_assets.show.selector.random32 import Random32

# What a preset that was shown counts in its cluster's weight, beside 1 of one that was not.
SHOWN_COUNT = 0.25
# So much of the clusters' probability is spread evenly over them, whatever the model says: what is never shown is
# never learned, and a model that names no cluster of the tier must not stop the show.
EXPLORED_FRACTION = 0.1


@dataclass(frozen=True, slots=True)
class Offer:
    """What can be drawn of one cluster and energy: presets that were never shown, or else shown, longest ago first."""

    cluster: str
    presets: Sequence[int]
    fresh: bool
    count: float
    """Presets that the rules leave, those that were shown counting `SHOWN_COUNT`."""


@dataclass(frozen=True)
class Drawn:
    """A draw: the preset, its probability (0..1), how many could have been drawn, and the likeliest of them."""

    preset: int
    probability: float
    candidate_count: int
    likeliest: list[tuple[int, str, float]]
    """(preset, cluster, probability), at most `LISTED_CANDIDATES`, likeliest first, then by number."""


def draw(offers: Sequence[Offer], model: Mapping[str, Any] | None, random: Random32) -> Drawn:
    """Draw from offers, of which there must be one; takes two numbers of `random`.

    An offer's weight is n / (n + mean n) with n its count: it grows with the cluster, but damped, so that large
    clusters do not take over the show. With a model it is multiplied by 0.9 p + 0.1 / offers, p being the cluster's
    probability (1 / offers where the model gives none). Within the offer, presets that were never shown are equally
    likely; where all were, the one that left longest ago weighs as much as there are, the next one less, the last 1.
    """
    weights = _weights(offers, model)
    total = 0.0
    for weight in weights:
        total += weight
    chosen = _place(weights, random.fraction() * total)
    shares = [weight / total for weight in weights]
    offer, share = offers[chosen], shares[chosen]
    place = _place_within(offer, random.fraction())
    return Drawn(
        preset=offer.presets[place],
        probability=_probability(offer, share, place),
        candidate_count=sum(len(one.presets) for one in offers),
        likeliest=_likeliest(offers, shares),
    )


def _weights(offers: Sequence[Offer], model: Mapping[str, Any] | None) -> list[float]:
    counted = 0.0
    for offer in offers:
        counted += offer.count
    mean = counted / len(offers)
    weights = [offer.count / (offer.count + mean) for offer in offers]
    if model is None:
        return weights
    even = 1 / len(offers)
    factors: list[float] = []
    for offer in offers:
        told = finite(model.get(offer.cluster))
        share = told if told is not None and 0 <= told <= 1 else even
        factors.append((1 - EXPLORED_FRACTION) * share + EXPLORED_FRACTION * even)
    return [weight * factor for weight, factor in zip(weights, factors, strict=True)]


def _place(weights: Sequence[float], point: float) -> int:
    reached = 0.0
    for place, weight in enumerate(weights):
        reached += weight
        if point < reached:
            return place
    return len(weights) - 1


def _place_within(offer: Offer, fraction: float) -> int:
    count = len(offer.presets)
    if offer.fresh:
        return int(fraction * count)
    return _place(range(count, 0, -1), fraction * (count * (count + 1) / 2))


def _probability(offer: Offer, share: float, place: int) -> float:
    count = len(offer.presets)
    if offer.fresh:
        return share / count
    return share * ((count - place) / (count * (count + 1) / 2))


def _likeliest(offers: Sequence[Offer], shares: Sequence[float]) -> list[tuple[int, str, float]]:
    best = [_probability(offer, share, 0) for offer, share in zip(offers, shares, strict=True)]
    # Whose best preset is behind the eighth best has none to list.
    least = sorted(best, reverse=True)[:LISTED_CANDIDATES][-1]
    listed = [
        (offer.presets[place], offer.cluster, _probability(offer, share, place))
        for offer, share, first in zip(offers, shares, best, strict=True)
        if first >= least
        for place in range(min(LISTED_CANDIDATES, len(offer.presets)))
    ]
    return sorted(listed, key=lambda one: (-one[2], one[0]))[:LISTED_CANDIDATES]
