"""What can be followed in a sound: its loudness, that of its bands, and how they change, at the times of the captures.

Belongs here: samples in, envelopes out. Does not belong here: pictures, and how one follows the other (score.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Series = npt.NDArray[np.float64]
Envelopes = Mapping[str, Series]

HEARD_SAMPLES = 1024
"""A frame of a preset hears so many samples: those that end at its time."""
BANDS_HZ: Mapping[str, tuple[float, float]] = {"low": (20, 320), "mid": (320, 2800), "high": (2800, 11_025)}
"""What Butterchurn calls bass, mid and treb."""
ENVELOPES: tuple[str, ...] = ("level", *BANDS_HZ, *(f"{name}Change" for name in ("level", *BANDS_HZ)))


@dataclass(frozen=True)
class Captures:
    """When pictures are taken: capture i (0-based) after `warmup_frames + (i + 1) * every` frames of 1/`fps` s."""

    fps: float
    warmup_frames: int
    every: int
    count: int

    @property
    def spacing_s(self) -> float:
        """Time between captures."""
        return self.every / self.fps


def envelopes_at_captures(
    samples: npt.NDArray[np.float32], rate_hz: int, captures: Captures, max_lag: int
) -> Envelopes:
    """Return what presets hear of mono samples [n] between captures, each float64 [max_lag + count].

    `level`, `low`, `mid`, `high`: root mean square, whole or of a band, over the frames since the capture before;
    `…Change`: |difference from the capture before|. The first `max_lag` values lie before the first capture; what would
    lie before the sound is silence. Where samples are missing at the end there is silence too.
    """
    first = captures.warmup_frames - max_lag * captures.every + 1
    last = captures.warmup_frames + captures.count * captures.every
    # One capture more, for the change of the first.
    frames = np.arange(first - captures.every, last + 1)
    ends = np.floor(np.maximum(frames, 0) / captures.fps * rate_hz + 0.5).astype(int)
    padded = np.concatenate([np.zeros(HEARD_SAMPLES), samples, np.zeros(max(0, int(ends[-1]) - len(samples)))])
    heard = np.lib.stride_tricks.sliding_window_view(padded, HEARD_SAMPLES)[ends]
    power = {"level": np.mean(heard**2, axis=1), **_band_power(heard, rate_hz)}
    found: dict[str, Series] = {}
    for name, values in power.items():
        level = np.sqrt(values.reshape(-1, captures.every).mean(axis=1))
        found[name] = level[1:]
        found[f"{name}Change"] = np.abs(np.diff(level))
    return {name: found[name] for name in ENVELOPES}


def _band_power(heard: npt.NDArray[np.float64], rate_hz: int) -> dict[str, Series]:
    window = np.hanning(HEARD_SAMPLES)
    spectrum = np.abs(np.fft.rfft(heard * window, axis=1)) ** 2 / HEARD_SAMPLES**2
    hz = np.fft.rfftfreq(HEARD_SAMPLES, 1 / rate_hz)
    return {name: spectrum[:, (hz >= low) & (hz < high)].sum(axis=1) for name, (low, high) in BANDS_HZ.items()}
