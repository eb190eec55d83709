"""Tempo and beat phase from the last seconds of onset strength, causal.

Tempo: autocorrelation of the onset envelope, summed over multiples of the beat and weighed by a log-normal prior
around 120 a minute (Ellis 2007). Phase: the comb of that period that collects the most onset strength.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aivj_assets.show.audio.spectrum import FRAMES_A_SECOND, Floats

HEARD_S = 10.0
SLOWEST_BPM, FASTEST_BPM = 62.0, 190.0
PRIOR_BPM, PRIOR_OCTAVES = 120.0, 0.9
_FRAMES = round(HEARD_S * FRAMES_A_SECOND)
_FIRST_AFTER = 3 * FRAMES_A_SECOND
_MULTIPLES = np.array([1, 2, 3, 4])
_GRID = 240
_PHASES = 64
_COMB_S = 8.0
# Chance alone reaches 0.1 of the envelope's power with 10 s of noise; dance music lies between 0.3 and 0.8.
_CHANCE, _SURE = 0.12, 0.45


@dataclass(frozen=True)
class TempoEstimate:
    """The tempo of the last seconds."""

    period: float
    """Frames a beat."""
    confidence: float
    """0..1: how much of the envelope's power repeats at that period, above chance."""


class TempoEstimator:
    """Keeps the last 10 s of onset strength."""

    def __init__(self) -> None:
        self._envelope = np.zeros(2 * _FRAMES)
        self._count = 0
        slowest, fastest = 60 * FRAMES_A_SECOND / SLOWEST_BPM, 60 * FRAMES_A_SECOND / FASTEST_BPM
        self._periods = np.geomspace(fastest, slowest, _GRID)
        lags = self._periods[:, None] * _MULTIPLES
        self._lag = np.minimum(lags.astype(int), _FRAMES - 2)
        self._part = lags - self._lag
        octaves = np.log2(self._periods / (60 * FRAMES_A_SECOND / PRIOR_BPM))
        self._prior = np.exp(-0.5 * (octaves / PRIOR_OCTAVES) ** 2)

    def push(self, flux: Floats) -> None:
        """Take onset strength, [frames]."""
        for value in flux.tolist():
            place = self._count % _FRAMES
            self._envelope[place] = self._envelope[place + _FRAMES] = value
            self._count += 1

    def recent(self) -> Floats:
        """Return the last frames in order, at most 10 s."""
        filled = min(self._count, _FRAMES)
        start = self._count % _FRAMES + _FRAMES - filled
        return self._envelope[start : start + filled]

    def estimate(self, current: float | None) -> TempoEstimate | None:
        """Return the tempo, leaning to the current period (frames); None before 3 s or when nothing sounded."""
        from scipy.fft import irfft, rfft

        envelope = self.recent()
        count = len(envelope)
        if count < _FIRST_AFTER:
            return None
        centred = envelope - envelope.mean()
        spectrum = rfft(centred, n=2 * _FRAMES)
        power = irfft(spectrum.real**2 + spectrum.imag**2, n=2 * _FRAMES)[:_FRAMES]
        if power[0] < 1e-9:
            return None
        lags = np.arange(_FRAMES)
        likeness = np.where(lags < 0.8 * count, power / np.maximum(count - lags, 1) / (power[0] / count), 0.0)
        at = likeness[self._lag] * (1 - self._part) + likeness[self._lag + 1] * self._part
        comb = at.mean(axis=1)
        score = np.maximum(comb, 0.0) * self._prior
        if current is not None:
            score *= 1 + 0.4 * np.exp(-0.5 * (np.log2(self._periods / current) / 0.03) ** 2)
        best = int(np.argmax(score))
        if score[best] <= 0:
            return None
        confidence = (float(comb[best]) - _CHANCE) / (_SURE - _CHANCE)
        return TempoEstimate(_refined(self._periods, score, best), min(1.0, max(0.0, confidence)))

    def phase(self, period: float) -> tuple[Floats, float]:
        """Return (score of each of `_PHASES` phases, frames of one phase): how far back the last beat was.

        The score of a phase is the mean onset strength on a comb of the period over the last 8 s, the latest beats
        weighing most.
        """
        envelope = self.recent()
        # Smeared over neighbours: a beat that is a frame off counts too.
        soft = envelope.copy()
        soft[1:-1] = 0.5 * envelope[1:-1] + 0.25 * (envelope[:-2] + envelope[2:])
        beats = max(1, int((min(len(soft), _COMB_S * FRAMES_A_SECOND) - 2) / period) - 1)
        step = period / _PHASES
        back = np.arange(_PHASES)[:, None] * step + np.arange(beats) * period
        place = len(soft) - 1 - back
        lower = place.astype(int)
        part = place - lower
        upper = np.minimum(lower + 1, len(soft) - 1)
        weights = 0.93 ** np.arange(beats)
        at = soft[lower] * (1 - part) + soft[upper] * part
        return np.sum(at * weights, axis=1) / float(np.sum(weights)), step


def _refined(periods: Floats, score: Floats, best: int) -> float:
    """Return the period at the top of the parabola through the best score and its neighbours."""
    if not 0 < best < len(periods) - 1:
        return float(periods[best])
    left, middle, right = (float(value) for value in score[best - 1 : best + 2])
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
    ratio = float(periods[1] / periods[0])
    return float(periods[best] * ratio ** max(-0.5, min(0.5, shift)))
