"""The energy tier of the music, calm | groove | peak, from causal rows."""

from __future__ import annotations

from collections.abc import Mapping

from aivj_assets.contracts.style import Energy
from aivj_assets.show.audio.spectrum import ROWS_A_SECOND

MIN_HOLD_S = 4.0
_SMOOTH_S = 2.0


class TierTracker:
    """Rows in, tiers out."""

    def __init__(self) -> None:
        self._score: float | None = None
        self._tier: Energy = "calm"
        self._since = 0

    def push(self, row: Mapping[str, float]) -> Energy:
        """Take a row of `FeatureExtractor`; return its tier."""
        now = 0.35 * min(1.0, row["onsetRate"] / 8) + 0.3 * min(1.0, row["lowFlux"] / 0.1) + 0.35 * row["loudness"]
        self._score = now if self._score is None else self._score + (now - self._score) / (_SMOOTH_S * ROWS_A_SECOND)
        self._since += 1
        wanted: Energy = "peak" if self._score > 0.6 else "groove" if self._score > 0.35 else "calm"
        if wanted != self._tier and self._since >= MIN_HOLD_S * ROWS_A_SECOND:
            self._tier, self._since = wanted, 0
        return self._tier
