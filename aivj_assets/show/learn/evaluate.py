"""The proof: what a model foretells of tracks that it has not heard, beside a baseline and a control.

Tracks are held out whole (`GroupKFold`): two sessions with one track are one group, and all that is learned, scaling
included, is learned from the other tracks. The interval is a percentile bootstrap over tracks (picks of one track are
not independent), expanded for few tracks (Hesterberg 2015, What Teachers Should Know about the Bootstrap): with eight
the plain one is a fifth too narrow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from aivj_assets.contracts.audio_style_model import (
    MODEL_BEATS_BASELINE,
    Comparison,
    Interval,
    ModelEvaluation,
    ModelGate,
    Score,
)
from aivj_assets.show.learn.design import Design, Floats, group_folds, log_losses
from aivj_assets.show.learn.fit import REGULARISATIONS, Setting, fit
from aivj_assets.show.learn.frequencies import INNER_FOLDS, choose_smoothing, tier_frequencies

FOLDS = 5
BOOTSTRAPS = 10_000
SHUFFLES = 3
"""The control is the mean of so many."""
TOP = (1, 3, 5)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class HeldOut:
    """p of picks by a model that did not see their tracks, float64 [n, clusters] each."""

    model: Floats
    baseline: Floats
    control: Floats
    """The mean of p over the shuffles."""


def choose_setting(design: Design, shares: Floats, inputs: list[str], setting: Setting) -> Setting:
    """Return the setting with the smoothing and the regularisation that foretell held-out tracks best."""
    setting = replace(setting, smoothing=choose_smoothing(design, shares, setting.form))
    if setting.kind == "mlp" or len(np.unique(design.group[design.counts])) < INNER_FOLDS:
        return setting
    folds = [(design.rows(train), design.rows(test)) for train, test in group_folds(design, INNER_FOLDS)]

    def loss(c: float) -> float:
        total = 0.0
        for seen, held in folds:
            p = fit(seen, shares, inputs, replace(setting, c=c)).probabilities(held.x)
            total += float(np.sum(held.weight * log_losses(p, held)))
        return total

    return replace(setting, c=min(REGULARISATIONS, key=loss))


def evaluate(
    design: Design,
    shares: Floats,
    inputs: list[str],
    setting: Setting,
    *,
    gate: ModelGate = MODEL_BEATS_BASELINE,
    progress: Progress | None = None,
) -> ModelEvaluation:
    """Return what a model of these picks foretells of held-out tracks; only picks that count are held out."""
    judged = design.rows(design.counts)
    groups = len(np.unique(judged.group))
    facts = ModelEvaluation(groups=groups, judged=len(judged), folds=min(FOLDS, groups), bootstraps=0)
    if groups < 2:
        return facts.model_copy(update={"folds": 0, "problem": "there is no other track to hold out"})
    if shares.shape[1] < 2:
        return facts.model_copy(update={"folds": 0, "problem": "the pack has one style, and nothing to choose between"})
    held = hold_out(design, shares, inputs, setting, progress=progress)
    return facts.model_copy(
        update={
            "bootstraps": BOOTSTRAPS,
            **{name: _score(getattr(held, name), judged) for name in ("model", "baseline", "control")},
            "against_baseline": _compare(held.model, held.baseline, judged, setting.seed, gate),
            "against_control": _compare(held.model, held.control, judged, setting.seed, gate),
        }
    )


def hold_out(
    design: Design, shares: Floats, inputs: list[str], setting: Setting, *, progress: Progress | None = None
) -> HeldOut:
    """Return p of the picks that count, in their order, each by models without its track."""
    counted = np.flatnonzero(design.counts)
    place = {row: number for number, row in enumerate(counted.tolist())}
    found = HeldOut(*(np.zeros((len(counted), shares.shape[1])) for _ in range(3)))
    folds = list(group_folds(design, min(FOLDS, len(np.unique(design.group[design.counts])))))
    for number, (train, test) in enumerate(folds):
        seen, held = design.rows(train), design.rows(test)
        at = np.array([place[row] for row in test.tolist()])
        chosen = choose_setting(seen, shares, inputs, setting)
        found.baseline[at] = tier_frequencies(seen, shares, setting.form, chosen.smoothing)[held.tier]
        found.model[at] = fit(seen, shares, inputs, chosen).probabilities(held.x)
        for shuffle in range(SHUFFLES):
            other = shuffle_audio(seen, np.random.default_rng([setting.seed, number, shuffle]))
            found.control[at] += fit(other, shares, inputs, chosen).probabilities(held.x) / SHUFFLES
        if progress is not None:
            progress(number + 1, len(folds))
    return found


def shuffle_audio(design: Design, rng: np.random.Generator) -> Design:
    """Return picks whose audio is that of other picks of the same tier: all that is left to learn is the tier."""
    order = np.arange(len(design))
    for tier in np.unique(design.tier):
        rows = np.flatnonzero(design.tier == tier)
        order[rows] = rng.permutation(rows)
    return design.with_x(design.x[order])


def _score(p: Floats, design: Design) -> Score:
    liked = design.rows(design.liked)
    shown = p[design.liked]
    tops: dict[str, float] = {}
    if len(liked):
        # Ties count as half won: a baseline of equal figures is no better for the order of its columns.
        own = shown[np.arange(len(liked)), liked.cluster][:, None]
        rank = (shown > own).sum(axis=1) + ((shown == own).sum(axis=1) - 1) / 2
        tops = {f"top{k}": float(np.mean(rank < k)) for k in TOP}
    return Score(log_loss=_mean(log_losses(p, design), design.weight), **tops)


def _mean(values: Floats, weight: Floats) -> float:
    return float(np.sum(values * weight) / np.sum(weight))


def expanded_tail(groups: int, confidence_fraction: float) -> float:
    """Return the quantile at which a percentile bootstrap over so few groups has its confidence; groups >= 2."""
    from scipy.stats import norm, t

    student = float(t.ppf((1 + confidence_fraction) / 2, groups - 1))
    return float(norm.cdf(-student * (groups / (groups - 1)) ** 0.5))


def _compare(one: Floats, other: Floats, design: Design, seed: int, gate: ModelGate) -> Comparison:
    difference = log_losses(one, design) - log_losses(other, design)
    numbers, of = np.unique(design.group, return_inverse=True)
    sums = np.bincount(of, weights=difference * design.weight, minlength=len(numbers))
    weights = np.bincount(of, weights=design.weight, minlength=len(numbers))
    drawn = np.random.default_rng(seed).integers(len(numbers), size=(BOOTSTRAPS, len(numbers)))
    means = sums[drawn].sum(axis=1) / weights[drawn].sum(axis=1)
    tail = expanded_tail(len(numbers), gate.confidence_fraction)
    low, high = np.quantile(means, [tail, 1 - tail])
    return Comparison(difference=_mean(difference, design.weight), interval=Interval(low=float(low), high=float(high)))
