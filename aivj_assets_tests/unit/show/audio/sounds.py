"""Sounds that the tests of hearing share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]


def clicks(duration_s: float, tempo_bpm: float, rate: int, *, first_s: float = 0.3) -> tuple[Samples, NDArray]:
    """A kick on each beat and a hat between beats; also returns the beats, s."""
    rng = np.random.default_rng(5)
    samples = np.zeros(round(duration_s * rate), np.float32)
    times = np.arange(round(0.2 * rate)) / rate
    kick = np.sin(2 * np.pi * 55 * times) * np.exp(-times * 15)
    hat = 0.3 * rng.standard_normal(len(times)) * np.exp(-times * 80)
    beats = np.arange(first_s, duration_s, 60 / tempo_bpm)
    for sound, shift in ((kick, 0.0), (hat, 30 / tempo_bpm)):
        for start in np.round((beats + shift) * rate).astype(int):
            end = min(len(samples), start + len(sound))
            if start < end:
                samples[start:end] += sound[: end - start].astype(np.float32)
    return samples, beats


def noise(duration_s: float, rate: int, *, level: float = 0.2, seed: int = 1) -> Samples:
    return (level * np.random.default_rng(seed).standard_normal(round(duration_s * rate))).astype(np.float32)
