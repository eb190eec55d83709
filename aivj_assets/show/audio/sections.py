"""Where a new section begins: the last second differs from the eight before it by more than usual, causal.

Novelty after Foote 2000, one-sided: distance between the mean of a short recent stretch and the mean of what was
before, each feature against its own usual difference. Where in the last seconds the section began is the split
between which and the rest the means differ most (a change point by least squares).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from aivj_assets.show.audio.spectrum import BANDS, ROWS_A_SECOND, Floats

RECENT_S, BEFORE_S = 1.2, 8.0
SPACING_S = 8.0
"""Two sections are at least so far apart."""
_RECENT, _BEFORE = round(RECENT_S * ROWS_A_SECOND), round(BEFORE_S * ROWS_A_SECOND)
_LENGTH = _RECENT + _BEFORE
_USUAL_S = 30.0
_THRESHOLD = 1.8
_CAP = 4.0
_SEARCHED = round(3.0 * ROWS_A_SECOND)
_GROUPS = 9
_QUIET = 1e-5
# Differences that never count as new: level of a group of bands and of all, bels; flux; flux below 180 Hz.
_LEAST = np.array([0.1] * _GROUPS + [0.1, 0.01, 0.02])


@dataclass(frozen=True)
class NewSection:
    """A section that was just noticed."""

    rows_ago: int
    """Rows between its begin and the newest row."""


class Sections:
    """Novelty of a row's sound: its colour (levels of nine groups of bands against their mean), level and onsets."""

    def __init__(self) -> None:
        self._rows = np.zeros((2 * _LENGTH, len(_LEAST)))
        self._count = 0
        self._usual = (2 * _LEAST) ** 2
        self._keep = math.exp(-1 / (_USUAL_S * ROWS_A_SECOND))
        self._last = 0
        self.novelty = 0.0
        """Of the newest row; 1 is usual."""

    def push(self, bands: Floats, flux: float, low_flux: float) -> NewSection | None:
        """Take a row's magnitudes a band, [frames, BANDS], and its mean flux; tell when a new section is noticed."""
        place = self._count % _LENGTH
        self._rows[place] = self._rows[place + _LENGTH] = _colour(bands, flux, low_flux)
        self._count += 1
        if self._count < _LENGTH:
            return None
        rows = self._rows[place + 1 : place + 1 + _LENGTH]
        difference = rows[_BEFORE:].mean(axis=0) - rows[:_BEFORE].mean(axis=0)
        usual = np.sqrt(np.maximum(self._usual, _LEAST**2))
        ratio = np.minimum(np.abs(difference) / usual, _CAP)
        self.novelty = math.sqrt(float(np.mean(ratio * ratio)))
        # A section's own jump must not make the next one look usual.
        self._usual = self._usual * self._keep + np.minimum(difference**2, 4 * self._usual) * (1 - self._keep)
        if self.novelty <= _THRESHOLD or self._count - self._last < SPACING_S * ROWS_A_SECOND:
            return None
        self._last = self._count
        return NewSection(_rows_since_split(rows[-_SEARCHED:] / usual))


def _colour(bands: Floats, flux: float, low_flux: float) -> Floats:
    groups = np.sqrt((bands * bands).mean(axis=0).reshape(_GROUPS, BANDS // _GROUPS).sum(axis=1))
    # 100 dB below the loudest there is nothing to tell apart.
    floor = _QUIET * max(1e-4, math.sqrt(float(np.sum(groups * groups))))
    levels = np.log10(np.maximum(groups, floor))
    mean = float(np.mean(levels))
    return np.concatenate([levels - mean, [mean, flux, low_flux]])


def _rows_since_split(rows: Floats) -> int:
    """Return how many rows from the end lie after the split that explains most of the rows' variance."""
    count = len(rows)
    sums = np.cumsum(rows, axis=0)
    after = np.arange(4, count // 2 + 1)
    before = count - after
    left = sums[before - 1]
    distance = np.sum((left / before[:, None] - (sums[-1] - left) / after[:, None]) ** 2, axis=1)
    return int(after[int(np.argmax(distance * before * after))])
