"""All figures of a row, causal: a stream in blocks of any size gives the bits that the whole file gives."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from aivj_assets.show.audio.beats import BeatTracker
from aivj_assets.show.audio.loudness import LoudnessRank
from aivj_assets.show.audio.onsets import Onsets
from aivj_assets.show.audio.sections import Sections
from aivj_assets.show.audio.spectrum import (
    HIGH_ABOVE_HZ,
    LOW_BELOW_HZ,
    ROWS_A_SECOND,
    Floats,
    RowSpectrum,
    Spectrum,
)
from aivj_assets.show.audio.window import Window

Row = dict[str, float]

# Gain-free figures beside the contract's columns, for the energy tier alone.
EXTRA_FEATURES: tuple[str, ...] = (
    "flux",  # 0..1: mean share of the spectrum that rises
    "flatness",  # 0..1: spectral flatness of the bands
    "crest",  # peak / root mean square of the row
)
SILENCE_DB = -75.0
"""A row whose power (constant offset removed) is below it counts as silence."""
_DARK_HZ, _BRIGHT_HZ = 50.0, 12_000.0


class FeatureExtractor:
    """Turns blocks of one channel into rows, one every 50 ms; a row's `timeS` is where its sound ends."""

    def __init__(self, sample_rate_hz: int) -> None:
        self._spectrum = Spectrum(sample_rate_hz)
        self._onsets = Onsets(self._spectrum.band_hz)
        self._loudness = LoudnessRank()
        self._beats = BeatTracker()
        self._sections = Sections()
        self._window = Window()
        hz = self._spectrum.bin_hz
        self._low, self._high = int(np.searchsorted(hz, LOW_BELOW_HZ)), int(np.searchsorted(hz, HIGH_ABOVE_HZ))
        tone = np.log(np.maximum(hz, _DARK_HZ) / _DARK_HZ) / math.log(_BRIGHT_HZ / _DARK_HZ)
        self._tone = np.minimum(tone, 1.0)
        self._rows = 0

    def push(self, block: NDArray[np.float32]) -> list[Row]:
        """Take samples, float32 [n], finite; return the rows that are complete.

        A row holds `timeS`, `ROW_FEATURES`, `EVENTS`, `WINDOW_FEATURES` and `EXTRA_FEATURES`.
        """
        return [self._row(spectrum) for spectrum in self._spectrum.push(block)]

    def _row(self, heard: RowSpectrum) -> Row:
        self._rows += 1
        power = float(np.sum(heard.power))
        silent = power <= 10 ** (SILENCE_DB / 10)
        onsets = self._onsets.push(heard.bands, silent=silent)
        low, mid, high, brightness = (0.0, 0.0, 0.0, 0.0) if silent else self._balance(heard.power)
        flux, low_flux = float(np.mean(onsets.flux)), float(np.mean(onsets.low_flux))
        section = self._sections.push(heard.bands, flux, low_flux)
        beats = self._beats.push(onsets, section)
        row: Row = {
            "timeS": self._rows / ROWS_A_SECOND,
            "rms": heard.rms,
            "loudness": self._loudness.push(power, silent=silent),
            "onset": onsets.strength,
            "onsetRate": onsets.rate,
            "low": low,
            "mid": mid,
            "high": high,
            "brightness": brightness,
            "tempoBpm": beats.tempo_bpm,
            "tempoConfidence": beats.confidence,
            "beat": float(beats.beat),
            "bar": float(beats.bar),
            "phrase": float(beats.phrase),
            "section": float(section is not None),
        }
        row.update(self._window.push(row))
        row.update(flux=flux, **_texture(heard, silent=silent))
        return row

    def _balance(self, power: Floats) -> tuple[float, float, float, float]:
        """Return the shares of low, mid, high and the brightness."""
        low, high = float(np.sum(power[: self._low])), float(np.sum(power[self._high :]))
        middle = float(np.sum(power[self._low : self._high]))
        whole = low + middle + high
        # By magnitude: by power the bass alone would decide.
        magnitude = np.sqrt(power)
        brightness = float(np.sum(magnitude * self._tone)) / float(np.sum(magnitude))
        return low / whole, middle / whole, high / whole, brightness


def _texture(heard: RowSpectrum, *, silent: bool) -> Row:
    if silent:
        return {"flatness": 0.0, "crest": 0.0}
    bands = heard.bands.mean(axis=0) + 1e-9
    flatness = math.exp(float(np.mean(np.log(bands)))) / float(np.mean(bands))
    return {"flatness": flatness, "crest": heard.peak / heard.rms if heard.rms > 0 else 0.0}
