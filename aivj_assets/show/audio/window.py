"""Means, deviations and slopes over the last 8 s of rows."""

from __future__ import annotations

import numpy as np

from aivj_assets.contracts.audio_timeline import WINDOW_S
from aivj_assets.show.audio.spectrum import ROWS_A_SECOND

WINDOW_ROWS = round(WINDOW_S * ROWS_A_SECOND)
_SOURCES = ("loudness", "onset", "onsetRate", "low", "mid", "high", "brightness")
_COLUMN = {name: index for index, name in enumerate(_SOURCES)}


class Window:
    """Keeps the last 8 s; at a track's begin the rows that there are."""

    def __init__(self) -> None:
        self._rows = np.zeros((2 * WINDOW_ROWS, len(_SOURCES)))
        self._count = 0

    def push(self, row: dict[str, float]) -> dict[str, float]:
        """Take a row's features; return its window features, in the order of the contract."""
        place = self._count % WINDOW_ROWS
        self._rows[place] = self._rows[place + WINDOW_ROWS] = [row[name] for name in _SOURCES]
        self._count += 1
        filled = min(self._count, WINDOW_ROWS)
        rows = self._rows[place + 1 + WINDOW_ROWS - filled : place + 1 + WINDOW_ROWS]
        mean = rows.mean(axis=0)
        deviation = rows.std(axis=0)
        times = (np.arange(filled) - (filled - 1) / 2) / ROWS_A_SECOND
        square = float(np.sum(times * times))
        slope = float(np.sum(times * rows[:, _COLUMN["loudness"]])) / square if square > 0 else 0.0
        means = {name: float(mean[index]) for name, index in _COLUMN.items()}
        deviations = {name: float(deviation[index]) for name, index in _COLUMN.items()}
        return {
            "loudnessMean": means["loudness"],
            "loudnessStd": deviations["loudness"],
            "loudnessSlope": slope,
            "onsetMean": means["onset"],
            "onsetRateMean": means["onsetRate"],
            "onsetRateStd": deviations["onsetRate"],
            "lowMean": means["low"],
            "lowStd": deviations["low"],
            "midMean": means["mid"],
            "highMean": means["high"],
            "highStd": deviations["high"],
            "brightnessMean": means["brightness"],
            "brightnessStd": deviations["brightness"],
            "tempoBpm": row["tempoBpm"],
            "tempoConfidence": row["tempoConfidence"],
        }
