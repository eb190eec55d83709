"""Onset strength and onsets, causal.

Spectral flux of whitened log magnitudes: Bello et al. 2005 and Dixon 2006 for flux and peak picking, Stowell and
Plumbley 2007 for the whitening (each band against its own recent peak, which makes it blind to gain), Boeck and
Widmer 2013 for the maximum over neighbouring bands of the earlier frame.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from aivj_assets.show.audio.spectrum import FRAMES_A_ROW, FRAMES_A_SECOND, HIGH_ABOVE_HZ, Floats

LOW_BAND_BELOW_HZ = 180.0
RATE_OVER_S = 4.0
_PEAK_DECAY_S = 4.0
# Hi-hats between beats are as regular as beats.
_KICK_WEIGHT, _HAT_WEIGHT = 2.0, 0.2
_LAG = 2
_GAMMA = 10.0
_FLOOR_FRACTION = 10 ** (-60 / 20)
_FLOOR = 10 ** (-140 / 20)
_LOCAL = FRAMES_A_SECOND
_SPACING = 5
_FIRST_TYPICAL = 0.15


@dataclass(frozen=True)
class RowOnsets:
    """Onsets of a row."""

    flux: Floats
    """[FRAMES_A_ROW] share of the spectrum that rose, 0..1."""
    low_flux: Floats
    """[FRAMES_A_ROW] the same of the bands below 180 Hz."""
    accent: Floats
    """[FRAMES_A_ROW] the same with the kick weighing most and hi-hats least: what a beat is told from."""
    white: Floats
    """[BANDS] mean whitened magnitude a band, 0..1."""
    strength: float
    """Strongest flux of the row against a typical onset of the recent past."""
    rate: float
    """Onsets a second over the last 4 s."""


class Onsets:
    """Onset strength a frame, onsets by a local maximum above a moving threshold."""

    def __init__(self, band_hz: Floats) -> None:
        self._low = int(np.searchsorted(band_hz, LOW_BAND_BELOW_HZ))
        self._high = int(np.searchsorted(band_hz, HIGH_ABOVE_HZ))
        self._peak = np.full(len(band_hz), _FLOOR)
        self._decay = math.exp(-1 / (_PEAK_DECAY_S * FRAMES_A_SECOND))
        self._before = np.zeros((_LAG, len(band_hz)))
        self._recent = np.zeros(2 * _LOCAL)
        self._frame = 0
        self._last: tuple[float, float] = (0.0, 0.0)
        self._last_onset = -_SPACING
        self._typical = _FIRST_TYPICAL
        self._times: deque[int] = deque()

    def push(self, bands: Floats, *, silent: bool) -> RowOnsets:
        """Take a row's magnitudes a band, [FRAMES_A_ROW, BANDS]."""
        white = self._whiten(bands)
        logs = np.log1p(_GAMMA * white) / math.log1p(_GAMMA)
        before = np.concatenate([self._before, logs])[:FRAMES_A_ROW]
        self._before = logs[-_LAG:].copy()
        spread = before.copy()
        spread[:, 1:] = np.maximum(spread[:, 1:], before[:, :-1])
        spread[:, :-1] = np.maximum(spread[:, :-1], before[:, 1:])
        rise = np.zeros_like(logs) if silent else np.maximum(logs - spread, 0.0)
        flux = rise.mean(axis=1)
        for value in flux.tolist():
            self._pick(value)
        while self._times and self._times[0] <= self._frame - round(RATE_OVER_S * FRAMES_A_SECOND):
            self._times.popleft()
        heard_s = min(RATE_OVER_S, max(1.0, self._frame / FRAMES_A_SECOND))
        low = rise[:, : self._low].mean(axis=1)
        accent = _KICK_WEIGHT * low + rise[:, self._low : self._high].mean(axis=1)
        if self._high < rise.shape[1]:
            accent += _HAT_WEIGHT * rise[:, self._high :].mean(axis=1)
        strength, rate = float(flux.max()) / self._typical, len(self._times) / heard_s
        return RowOnsets(flux, low, accent, white.mean(axis=0), strength, rate)

    def _whiten(self, bands: Floats) -> Floats:
        white = np.empty_like(bands)
        peak = self._peak
        for index in range(FRAMES_A_ROW):
            peak = np.maximum(bands[index], peak * self._decay)
            floor = max(_FLOOR, float(peak.max()) * _FLOOR_FRACTION)
            peak = np.maximum(peak, floor)
            white[index] = bands[index] / peak
        self._peak = peak
        return white

    def _pick(self, value: float) -> None:
        """Take a frame's flux; the frame before it is an onset when it stands out, which is known one frame later."""
        earlier, candidate = self._last
        place = self._frame % _LOCAL
        filled = min(self._frame, _LOCAL)
        if earlier < candidate >= value and self._frame - self._last_onset > _SPACING and filled > _SPACING:
            recent = self._recent[place + _LOCAL - filled : place + _LOCAL]
            mean, deviation = float(recent.mean()), float(recent.std())
            if candidate > max(mean + 1.2 * deviation, 1.8 * mean, 0.3 * self._typical, 0.01):
                self._last_onset = self._frame
                self._times.append(self._frame)
                self._typical += 0.05 * (candidate - self._typical)
        self._recent[place] = self._recent[place + _LOCAL] = value
        self._last = (candidate, value)
        self._frame += 1


ONSET_DELAY_S = 0.02
"""How long after an onset its flux is highest: it must fill about half of the window first."""
