"""Loudness as a rank within the recent past, so that a quiet mix has peaks too."""

from __future__ import annotations

import math

import numpy as np

from aivj_assets.show.audio.spectrum import ROWS_A_SECOND

PAST_S = 150.0
_DECAY_S = 90.0
_SMOOTH_S = 0.3
_CAPACITY = round(PAST_S * ROWS_A_SECOND)


class LoudnessRank:
    """The level's rank among the levels of the last 150 s, the newest weighing most; silence is not remembered."""

    def __init__(self) -> None:
        self._levels = np.full(2 * _CAPACITY, np.inf)
        self._weights = np.exp(-np.arange(_CAPACITY)[::-1] / (_DECAY_S * ROWS_A_SECOND))
        self._count = 0
        self._smooth = 0.0
        self._keep = math.exp(-1 / (_SMOOTH_S * ROWS_A_SECOND))

    def push(self, power: float, *, silent: bool) -> float:
        """Take a row's power; return its rank in 0..1, 0 in silence."""
        if silent:
            self._smooth *= self._keep
            return 0.0
        self._smooth = power if self._smooth == 0 else self._smooth * self._keep + power * (1 - self._keep)
        place = self._count % _CAPACITY
        self._levels[place] = self._levels[place + _CAPACITY] = self._smooth
        self._count += 1
        filled = min(self._count, _CAPACITY)
        past = self._levels[place + 1 + _CAPACITY - filled : place + 1 + _CAPACITY]
        weights = self._weights[_CAPACITY - filled :]
        below = float(np.sum(weights * (past < self._smooth)))
        equal = float(np.sum(weights * (past == self._smooth)))
        return (below + 0.5 * equal) / float(np.sum(weights))
