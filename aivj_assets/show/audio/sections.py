"""Where a new section begins: the last second differs from the eight before it by more than usual, causal.

Novelty after Foote 2000, one-sided: distance between the mean of a short recent stretch and the mean of what was
before, each feature against its own usual difference.
"""

from __future__ import annotations

import math

import numpy as np

from aivj_assets.show.audio.spectrum import ROWS_A_SECOND, Floats

RECENT_S, BEFORE_S = 1.0, 8.0
SPACING_S = 8.0
_RECENT, _BEFORE = round(RECENT_S * ROWS_A_SECOND), round(BEFORE_S * ROWS_A_SECOND)
_LENGTH = _RECENT + _BEFORE
_USUAL_S = 30.0
_THRESHOLD = 2.0
_CAP = 4.0


class Sections:
    """Novelty of a row's features."""

    def __init__(self, usual: Floats) -> None:
        """Take the smallest difference that counts, a feature."""
        self._least = usual
        self._rows = np.zeros((2 * _LENGTH, len(usual)))
        self._count = 0
        self._usual = (2 * usual) ** 2
        self._keep = math.exp(-1 / (_USUAL_S * ROWS_A_SECOND))
        self._last = 0
        self.novelty = 0.0
        """Of the newest row; 1 is usual."""

    def push(self, features: Floats) -> bool:
        """Take a row's features; return whether a new section was noticed in it."""
        place = self._count % _LENGTH
        self._rows[place] = self._rows[place + _LENGTH] = features
        self._count += 1
        if self._count < _LENGTH:
            return False
        rows = self._rows[place + 1 : place + 1 + _LENGTH]
        difference = rows[_BEFORE:].mean(axis=0) - rows[:_BEFORE].mean(axis=0)
        ratio = np.minimum(np.abs(difference) / np.sqrt(np.maximum(self._usual, self._least**2)), _CAP)
        self.novelty = float(np.sqrt(np.mean(ratio * ratio)))
        found = self.novelty > _THRESHOLD and self._count - self._last >= SPACING_S * ROWS_A_SECOND
        if found:
            self._last = self._count
        # A section's own jump must not make the next one look usual.
        self._usual = self._usual * self._keep + np.minimum(difference**2, 4 * self._usual) * (1 - self._keep)
        return found
