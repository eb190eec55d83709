"""The energy tier of the music, calm | groove | peak, from causal rows.

Two logistic regressions: is it more than calm, and if so, is it a peak. Their inputs do not depend on the volume: how
much begins and how often, how sure the beat is, and brightness, noisiness, crest and low share against the range that
the track itself has shown so far (which begins as a wide guess and closes in on the track). Only loudness, a rank, is
about level. Weights may only have the sign that an energetic piece of music gives them; `tier_fit` makes them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from aivj_assets.contracts.style import ENERGIES, Energy
from aivj_assets.show.audio.features import Row
from aivj_assets.show.audio.spectrum import ROWS_A_SECOND

MIN_HOLD_S = 3.0
"""A tier lasts at least so long."""
MARGIN = 0.25
"""Another tier must be so much likelier than the present one."""
SMOOTH_S = 3.0
# Rows that a mean is made of just after a new section: it must not remember the one before.
_AFTER_SECTION_ROWS = 6
# The first sound after nothing rises in all bands: that says nothing yet.
_WARM_UP_ROWS = 20
_WIDEN_S, _CLOSE_S = 1.0, 150.0
_LEAST_HIGH = 1e-5


@dataclass(frozen=True)
class _Span:
    """A feature's range: what is guessed before anything is heard, and the narrowest that it gets."""

    low: float
    high: float
    least: float


# Levels of light and noise of house music, widely.
_SPANS: dict[str, _Span] = {
    "brightness": _Span(0.25, 0.55, 0.12),
    "high": _Span(-4.0, -1.5, 1.0),
    "flatness": _Span(0.1, 0.55, 0.2),
    "flux": _Span(0.016, 0.044, 0.012),
    "low": _Span(0.7, 0.95, 0.1),
    "crest": _Span(2.1, 3.0, 0.45),
}
# What a tier is told from, and which sign a weight may have.
MORE_THAN_CALM: dict[str, int] = {
    "flux": 1, "onset": 1, "onsetRate": 1, "tempoConfidence": 1, "loudness": 1, "highInRange": 1, "flatnessInRange": 1,
    "fluxInRange": 1, "brightnessInRange": 1,
}  # fmt: skip
PEAK: dict[str, int] = {
    "onset": 1, "onsetRate": 1, "tempoConfidence": 1, "loudness": 1, "brightnessInRange": 1, "highInRange": 1,
    "flatnessInRange": 1, "fluxInRange": 1, "lowInRange": 1, "crest": -1, "crestInRange": -1,
}  # fmt: skip


@dataclass(frozen=True)
class TierWeights:
    """Weights and intercepts of the two regressions, in the order of `MORE_THAN_CALM` and `PEAK`."""

    more_than_calm: tuple[float, ...]
    more_than_calm_at: float
    peak: tuple[float, ...]
    peak_at: float


# What `tier_fit.fit_weights()` gives: 16 sets of 10 minutes, `house`, seeds 0 to 15.
WEIGHTS = TierWeights(
    more_than_calm=(9.619, 0.0, 0.999, 1.298, 2.414, 0.0, 1.31, 4.646, 0.0),
    more_than_calm_at=-11.193,
    peak=(1.134, 8.268, 3.879, 3.012, 7.551, 0.0, 2.377, 0.0, 0.0, 0.0, -8.39),
    peak_at=-14.491,
)


class TierInputs:
    """Turns rows into what the regressions take: means of about 3 s, and places within the track's own range."""

    def __init__(self) -> None:
        self._means: dict[str, float] = {}
        self._ranges = {name: [span.low, span.high] for name, span in _SPANS.items()}
        self._age = self._heard_rows = 0

    def push(self, row: Mapping[str, float]) -> Row:
        """Take a row of `FeatureExtractor`; return the inputs by name, each about 0..1."""
        now = _figures(row)
        heard = row["loudness"] > 0
        self._heard_rows += heard
        self._age = _AFTER_SECTION_ROWS if row["section"] > 0 else self._age + 1
        if self._heard_rows <= _WARM_UP_ROWS:
            self._means, self._age, heard = dict(now), 1, False
        part = 1 / min(self._age, SMOOTH_S * ROWS_A_SECOND)
        means = self._means
        for name, value in now.items():
            means[name] += (value - means[name]) * part
        inputs = {f"{name}InRange": self._place(name, means[name], heard=heard) for name in _SPANS}
        return {
            **inputs,
            "flux": 25 * means["flux"],
            "onset": means["onset"],
            "onsetRate": means["onsetRate"] / 8,
            "tempoConfidence": means["tempoConfidence"],
            "loudness": means["loudness"],
            "crest": means["crest"] / 3,
        }

    @property
    def warm(self) -> bool:
        """Whether a second of sound was heard."""
        return self._heard_rows > _WARM_UP_ROWS

    def _place(self, name: str, value: float, *, heard: bool) -> float:
        """Return where a value lies in its range, -0.2..1.2; silence does not move the range."""
        span = self._ranges[name]
        if heard:
            low_s = _WIDEN_S if value < span[0] else _CLOSE_S
            high_s = _WIDEN_S if value > span[1] else _CLOSE_S
            span[0] += (value - span[0]) / (low_s * ROWS_A_SECOND)
            span[1] += (value - span[1]) / (high_s * ROWS_A_SECOND)
        middle, width = (span[0] + span[1]) / 2, max(span[1] - span[0], _SPANS[name].least)
        return min(1.2, max(-0.2, 0.5 + (value - middle) / width))


class TierTracker:
    """Rows in, tiers out, with hysteresis and a minimum hold; silence is calm."""

    def __init__(self, weights: TierWeights | None = None) -> None:
        self._weights = weights or WEIGHTS
        self._inputs = TierInputs()
        self._tier: Energy = "calm"
        self._since = math.ceil(MIN_HOLD_S * ROWS_A_SECOND)
        self.probabilities: dict[Energy, float] = dict.fromkeys(ENERGIES, 1 / len(ENERGIES))
        """Of the newest row."""

    def push(self, row: Mapping[str, float]) -> Energy:
        """Take a row of `FeatureExtractor`; return its tier."""
        inputs = self._inputs.push(row)
        weights = self._weights
        if inputs["loudness"] < 0.01 or not self._inputs.warm:
            more = peak = 0.0
        else:
            more = _logistic(inputs, MORE_THAN_CALM, weights.more_than_calm, weights.more_than_calm_at)
            peak = _logistic(inputs, PEAK, weights.peak, weights.peak_at)
        self.probabilities = {"calm": 1 - more, "groove": more * (1 - peak), "peak": more * peak}
        wanted = max(ENERGIES, key=lambda tier: self.probabilities[tier])
        self._since += 1
        if (
            self.probabilities[wanted] > self.probabilities[self._tier] + MARGIN
            and self._since >= MIN_HOLD_S * ROWS_A_SECOND
        ):
            self._tier, self._since = wanted, 0
        return self._tier


def _figures(row: Mapping[str, float]) -> dict[str, float]:
    return {
        "flux": row["flux"],
        "onset": min(2.0, row["onset"]),
        "onsetRate": row["onsetRate"],
        "tempoConfidence": row["tempoConfidence"],
        "loudness": row["loudness"],
        "brightness": row["brightness"],
        "high": math.log10(max(_LEAST_HIGH, row["high"])),
        "flatness": row["flatness"],
        "low": row["low"],
        "crest": row["crest"],
    }


def _logistic(inputs: Mapping[str, float], names: Mapping[str, int], weights: tuple[float, ...], at: float) -> float:
    score = at
    for name, weight in zip(names, weights, strict=True):
        score += weight * inputs[name]
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, score))))
