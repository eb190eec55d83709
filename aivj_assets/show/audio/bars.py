"""Bars of four beats and phrases of four bars."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from aivj_assets.show.audio.spectrum import Floats

BEATS_A_BAR, BARS_A_PHRASE = 4, 4
_SECTION_ACCENT = 1.5


@dataclass
class BarCounter:
    """Which beat of four is the first: the one on which low accents, changes of sound and sections fall."""

    _beats: int = 0
    _first: int = 0
    _bar: int = 0
    _accent: Floats = field(default_factory=lambda: np.zeros(BEATS_A_BAR))
    _low: float = 0.0
    _sum: Floats | None = None
    _rows: int = 0
    _before: Floats | None = None
    _spread: float = 0.1
    _since_change: int = 0

    def hear(self, low_flux: float, white: Floats) -> None:
        """Take a row between beats."""
        self._low = max(self._low, low_flux)
        self._sum = white.copy() if self._sum is None else self._sum + white
        self._rows += 1

    def beat(self) -> tuple[bool, bool]:
        """Count a beat; return whether it starts a bar and whether it starts a phrase."""
        sound = self._sum / self._rows if self._sum is not None and self._rows else None
        if sound is not None and self._before is not None:
            # What was heard since the last beat differs from the beat before it: the last beat began something.
            change = float(np.mean(np.abs(sound - self._before))) + 0.5 * self._low
            self._spread += 0.05 * (abs(change) - self._spread)
            self._accent *= 0.97
            self._accent[(self._beats - 1) % BEATS_A_BAR] += 0.12 * change / max(self._spread, 1e-6)
        self._before, self._sum, self._rows, self._low = sound, None, 0, 0.0
        self._rephase()
        place = (self._beats - self._first) % BEATS_A_BAR
        self._beats += 1
        self._since_change += 1
        if place:
            return False, False
        phrase = self._bar % BARS_A_PHRASE == 0
        self._bar += 1
        return True, phrase

    def section(self, beats_ago: int) -> None:
        """Take a section that began so many beats before the next beat: a bar and a phrase begin with it."""
        first = self._beats - beats_ago
        self._accent[first % BEATS_A_BAR] += _SECTION_ACCENT
        self._rephase()
        if (first - self._first) % BEATS_A_BAR == 0:
            # Bars that began since then, so that phrases count from the section's begin.
            self._bar = max(0, -(-beats_ago // BEATS_A_BAR))

    def restart(self) -> None:
        """Forget where bars begin."""
        self._accent[:] = 0
        self._before, self._bar = None, 0

    def _rephase(self) -> None:
        best = int(np.argmax(self._accent))
        if best == self._first or self._since_change < 2 * BEATS_A_BAR:
            return
        if float(self._accent[best]) > 1.15 * float(self._accent[self._first]) + 0.3:
            self._first = best
            self._since_change = 0
