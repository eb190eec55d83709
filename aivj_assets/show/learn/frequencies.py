"""What is liked in each tier whatever is heard: the baseline that a model must beat, made as good as it can be.

A tier's figures are smoothed by those of all tiers together and these by a prior, as far as it foretells held-out
tracks; a baseline that follows the few picks of a tier too closely would be beaten without any audio.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import numpy as np

from aivj_assets.contracts.audio_style_model import StyleForm
from aivj_assets.show.learn.design import Design, Floats, Ints, group_folds, log_losses

INNER_FOLDS = 3
PRIORS = (4.0, 32.0, 256.0)
"""So many picks are taken as made before the first one: dealt to styles as the presets are (`one`), or with the mean
share of likes (`several`)."""
POOLS = (0.0, 16.0, 256.0)
"""So many picks of all tiers together are added to a tier's own."""
_ROUNDS = 25
_TINY = 1e-12


@dataclass(frozen=True)
class Smoothing:
    """How strongly a tier's figures are drawn to those of all tiers (`pool`) and to the prior (`prior`), in picks."""

    prior: float = PRIORS[0]
    pool: float = POOLS[0]


def choose_smoothing(design: Design, shares: Floats, form: StyleForm) -> Smoothing:
    """Return the smoothing that foretells held-out tracks best, ties to the weaker one."""
    if len(np.unique(design.group[design.counts])) < INNER_FOLDS:
        return Smoothing()
    folds = [(design.rows(train), design.rows(test)) for train, test in group_folds(design, INNER_FOLDS)]

    def loss(smoothing: Smoothing) -> float:
        total = 0.0
        for seen, held in folds:
            p = tier_frequencies(seen, shares, form, smoothing)[held.tier]
            total += float(np.sum(held.weight * log_losses(p, held)))
        return total

    return min(smoothings(), key=loss)


def smoothings() -> Iterable[Smoothing]:
    """Yield what is tried."""
    return (Smoothing(prior, pool) for prior, pool in product(PRIORS, POOLS))


def tier_frequencies(design: Design, shares: Floats, form: StyleForm, smoothing: Smoothing) -> Floats:
    """Return the baseline, float64 [tiers, clusters].

    `one`: the frequency of each style, skips dealt to the other styles by expectation-maximisation, rows of sum 1.
    `several`: the share of liked picks among the judged ones of each style.
    """
    together = Design.of_one_tier(design)
    if form == "several":
        mean = liked_share(design)
        of_all = _liked_shares(together, np.full((1, shares.shape[1]), mean), smoothing.prior)
        return _liked_shares(design, np.repeat(of_all, len(shares), axis=0), smoothing.pool + _TINY)
    of_all = _frequencies(together, smoothing.prior * shares.mean(axis=0, keepdims=True))
    return _frequencies(design, smoothing.prior * shares + smoothing.pool * of_all)


def _frequencies(design: Design, before: Floats) -> Floats:
    likes, skips = design.rows(design.liked), design.rows(~design.liked)
    fixed = before.copy()
    np.add.at(fixed, (likes.tier, likes.cluster), likes.weight)
    found: Floats = fixed / fixed.sum(axis=1, keepdims=True)
    for _ in range(_ROUNDS if len(skips) else 0):
        total = fixed.copy()
        np.add.at(total, skips.tier, skips.weight[:, None] * others(found[skips.tier], skips.cluster))
        found = total / total.sum(axis=1, keepdims=True)
    return found


def _liked_shares(design: Design, mean: Floats, picks: float) -> Floats:
    liked, judged = picks * mean, np.full(mean.shape, picks)
    np.add.at(liked, (design.tier, design.cluster), design.weight * design.liked)
    np.add.at(judged, (design.tier, design.cluster), design.weight)
    found: Floats = liked / judged
    return found


def liked_share(design: Design) -> float:
    """Return the share of liked picks, within 0.05..0.95."""
    total = float(design.weight.sum())
    share = float(design.weight[design.liked].sum()) / total if total > 0 else 0.5
    return min(max(share, 0.05), 0.95)


def others(p: Floats, cluster: Ints) -> Floats:
    """Return p given that it is not that cluster: float64 [n, clusters], rows of sum 1."""
    rest = p.copy()
    rest[np.arange(len(p)), cluster] = 0
    found: Floats = rest / np.maximum(rest.sum(axis=1, keepdims=True), _TINY)
    return found
