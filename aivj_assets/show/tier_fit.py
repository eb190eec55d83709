"""How the weights of `tier` were made: fitted on generated sets of the tuning seeds, with signs given.

Two logistic regressions with both classes weighing the same, a small penalty on squares, minimised under bounds by
L-BFGS-B (Byrd et al. 1995).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from aivj_assets.contracts.style import Energy
from aivj_assets.show.audio.features import FeatureExtractor, Row
from aivj_assets.show.audio.spectrum import ROWS_A_SECOND, Floats
from aivj_assets.show.generate import GeneratedTrack, generate_set
from aivj_assets.show.tier import MORE_THAN_CALM, PEAK, TierInputs, TierWeights

FIT_SEEDS = range(16)
FIT_MINUTES = 10.0
_PENALTY = 1e-4
# After a change of tier nothing of it was heard yet.
_UNKNOWN_ROWS = 2 * ROWS_A_SECOND
# Neighbouring rows say nearly the same.
_EVERY = 7


def heard_rows(track: GeneratedTrack) -> list[Row]:
    """Return all rows of a generated set."""
    extractor = FeatureExtractor(track.sample_rate_hz)
    return [row for block in track.track().blocks() for row in extractor.push(block)]


def true_tiers(track: GeneratedTrack, rows: Iterable[Row]) -> list[Energy]:
    """Return the true tier of each row, at the middle of its sound."""
    return track.tiers_at(np.array([row["timeS"] - 0.5 / ROWS_A_SECOND for row in rows]))


def fit_weights(
    seeds: Iterable[int] = FIT_SEEDS,
    *,
    minutes: float = FIT_MINUTES,
    progress: Callable[[int], None] = lambda _done: None,
) -> TierWeights:
    """Return weights fitted on `house` sets of the seeds; `progress` gets the number of sets done."""
    heard: list[tuple[list[Row], list[Energy]]] = []
    for done, seed in enumerate(seeds, start=1):
        track = generate_set(60 * minutes, seed)
        rows = heard_rows(track)
        heard.append(fitted_rows(rows, true_tiers(track, rows)))
        progress(done)
    return fit_inputs([one for inputs, _ in heard for one in inputs], [tier for _, tiers in heard for tier in tiers])


def fitted_rows(rows: list[Row], tiers: list[Energy]) -> tuple[list[Row], list[Energy]]:
    """Return the inputs and tiers of every seventh row, without those that cannot know their tier yet."""
    maker = TierInputs()
    inputs: list[Row] = []
    kept: list[Energy] = []
    since = _UNKNOWN_ROWS
    for index, (row, tier) in enumerate(zip(rows, tiers, strict=True)):
        since = 0 if index and tier != tiers[index - 1] else since + 1
        made = maker.push(row)
        if index % _EVERY == 0 and since >= _UNKNOWN_ROWS and maker.warm:
            inputs.append(made)
            kept.append(tier)
    return inputs, kept


def fit_inputs(inputs: list[Row], tiers: list[Energy]) -> TierWeights:
    """Return the weights of both regressions for inputs and their true tiers."""
    is_peak = np.array([tier == "peak" for tier in tiers])
    more = np.array([tier != "calm" for tier in tiers])
    calm_w, calm_at = _fit(_table(inputs, MORE_THAN_CALM), more, MORE_THAN_CALM)
    peak_w, peak_at = _fit(_table(inputs, PEAK)[more], is_peak[more], PEAK)
    return TierWeights(calm_w, calm_at, peak_w, peak_at)


def _table(inputs: list[Row], names: Mapping[str, int]) -> Floats:
    return np.array([[one[name] for name in names] for one in inputs])


def _fit(table: Floats, yes: NDArray[np.bool_], signs: Mapping[str, int]) -> tuple[tuple[float, ...], float]:
    from scipy.optimize import minimize

    share = float(yes.mean())
    weight = np.where(yes, 0.5 / share, 0.5 / (1 - share)) / len(yes)
    side = np.where(yes, 1.0, -1.0)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        margin = side * (table @ parameters[:-1] + parameters[-1])
        value = float(np.sum(weight * np.logaddexp(0, -margin)) + _PENALTY * np.sum(parameters[:-1] ** 2))
        slope = -weight * side / (1 + np.exp(np.clip(margin, -50, 50)))
        return value, np.append(table.T @ slope + 2 * _PENALTY * parameters[:-1], slope.sum())

    bounds: list[tuple[float | None, float | None]] = [(0, None) if sign > 0 else (None, 0) for sign in signs.values()]
    found = minimize(loss, np.zeros(len(signs) + 1), jac=True, bounds=[*bounds, (None, None)], method="L-BFGS-B")
    rounded = [round(float(value), 3) for value in found.x]
    return tuple(rounded[:-1]), rounded[-1]
