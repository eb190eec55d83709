"""Frames of sound and their spectra: a frame every 10 ms, five to a row, each of the samples up to its end.

All arithmetic is done a row at a time on arrays of one shape, so that a stream gives the same bits as a whole file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aivj_assets.contracts.audio_timeline import ROW_S

Floats = NDArray[np.float64]

ROWS_A_SECOND = round(1 / ROW_S)
FRAMES_A_ROW = 5
FRAMES_A_SECOND = ROWS_A_SECOND * FRAMES_A_ROW
FRAME_S = 1 / FRAMES_A_SECOND
WINDOW_LENGTH_S = 0.046
"""Aimed length of a frame's window; the nearest power of two in samples is taken (2,048 at 44.1 kHz)."""
BANDS = 36
LOWEST_HZ, HIGHEST_HZ = 30.0, 16_000.0
LOW_BELOW_HZ, HIGH_ABOVE_HZ = 250.0, 4_000.0


@dataclass(frozen=True)
class RowSpectrum:
    """What a row's samples give."""

    rms: float
    """Root mean square of the row's samples."""
    peak: float
    """Largest magnitude of the row's samples."""
    power: Floats
    """[bins] mean power a bin of the row's frames, full-scale sine about 0.25; constant offset removed."""
    bands: Floats
    """[FRAMES_A_ROW, BANDS] magnitude a band."""


def window_samples(sample_rate_hz: int) -> int:
    """Return a frame's length in samples: the power of two nearest to `WINDOW_LENGTH_S`."""
    return 1 << max(6, round(math.log2(WINDOW_LENGTH_S * sample_rate_hz)))


class Spectrum:
    """Cuts a stream of blocks into rows and transforms them."""

    def __init__(self, sample_rate_hz: int) -> None:
        self.sample_rate_hz = sample_rate_hz
        self.length = window_samples(sample_rate_hz)
        """Of a frame, samples."""
        self.bin_hz: Floats = np.arange(self.length // 2 + 1, dtype=np.float64) * (sample_rate_hz / self.length)
        """[bins] frequency of each bin, Hz."""
        self._window: Floats = np.hanning(self.length + 1)[:-1].astype(np.float64)
        self._scale = 1.0 / float(np.sum(self._window))
        self._starts, self._end = _band_edges(self.bin_hz)
        self.band_hz: Floats = self.bin_hz[self._starts]
        """[BANDS] lowest frequency of each band, Hz."""
        self._rows = 0
        # What is kept: the samples from `_first` on, with silence before the first.
        self._tail = np.zeros(self.length, np.float32)
        self._first = -self.length
        self._waiting: list[NDArray[np.float32]] = []
        self._received = 0
        self._frames = np.zeros((FRAMES_A_ROW, self.length))

    def push(self, block: NDArray[np.float32]) -> Iterator[RowSpectrum]:
        """Take samples, float32 [n]; yield the rows that are complete."""
        if len(block):
            # A copy: a stream may write its next block into the same memory.
            self._waiting.append(np.array(block, np.float32))
            self._received += len(block)
        if self._end_of_row(self._rows) > self._received:
            return
        samples = np.concatenate([self._tail, *self._waiting])
        self._waiting.clear()
        first = self._first
        while self._end_of_row(self._rows) <= self._received:
            yield self._row(samples, first)
            self._rows += 1
        keep = min(self._end_of_row(self._rows - 1) - self.length, self._received) - first
        self._tail, self._first = samples[keep:].copy(), first + keep

    def _end_of_row(self, row: int) -> int:
        return (row + 1) * self.sample_rate_hz // ROWS_A_SECOND

    def _row(self, samples: NDArray[np.float32], first: int) -> RowSpectrum:
        from scipy.fft import rfft

        begin, end = self._end_of_row(self._rows - 1) - first, self._end_of_row(self._rows) - first
        frames = self._frames
        for index in range(FRAMES_A_ROW):
            frame_end = (self._rows * FRAMES_A_ROW + index + 1) * self.sample_rate_hz // FRAMES_A_SECOND - first
            frames[index] = samples[frame_end - self.length : frame_end]
        frames -= frames.mean(axis=1, keepdims=True)
        frames *= self._window
        spectrum = rfft(frames, axis=1)
        power = (spectrum.real**2 + spectrum.imag**2) * (self._scale**2)
        bands = np.sqrt(np.add.reduceat(power[:, : self._end], self._starts, axis=1))
        row = samples[begin:end].astype(np.float64)
        return RowSpectrum(float(np.sqrt(np.mean(row * row))), float(np.max(np.abs(row))), power.mean(axis=0), bands)


def _band_edges(bin_hz: Floats) -> tuple[NDArray[np.intp], int]:
    """Return the first bin of each band, evenly spaced on a log scale but at least one bin wide, and the end."""
    bins = len(bin_hz)
    width = float(bin_hz[1])
    top = min(HIGHEST_HZ, float(bin_hz[-1]))
    wanted = np.round(np.geomspace(LOWEST_HZ, top, BANDS + 1) / width).astype(int)
    edges = [max(1, int(wanted[0]))]
    for edge in wanted[1:]:
        edges.append(max(edges[-1] + 1, int(edge)))
    edges = [min(edge, bins - BANDS - 1 + index) for index, edge in enumerate(edges)]
    return np.array(edges[:-1], dtype=np.intp), edges[-1]
