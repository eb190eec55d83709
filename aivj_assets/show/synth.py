"""The instruments of generated sets: one-shots and bars of chords, made once a kit, laid down many times."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Sound = NDArray[np.float32]

CHORDS = 4
_SCALE = (0, 3, 7)
_PROGRESSIONS = ((0, 5, 3, -2), (0, -4, 3, -2), (0, 0, -4, -2), (0, 3, 5, -2), (0, 7, 5, 3))


class Kit:
    """Sounds of one piece of music, drawn from a seed: tuning, decays, colours and the chord progression."""

    def __init__(self, rng: np.random.Generator, sample_rate_hz: int, beat_s: float) -> None:
        self.rate = sample_rate_hz
        self.beat_s = beat_s
        self._rng = rng
        self._nyquist = 0.45 * sample_rate_hz
        self.kick = self._kick(rng.uniform(44, 58), rng.uniform(5, 9), rng.uniform(0.3, 1.0))
        self.soft_kick = self._kick(rng.uniform(44, 58), rng.uniform(9, 14), 0.1) * np.float32(0.5)
        self.clap = self._noise(0.18, rng.uniform(18, 30), 900, 5_000)
        self.snare = self._noise(0.16, rng.uniform(20, 35), 300, 6_000) + self._tone(190, 0.16, 25) * np.float32(0.4)
        self.hat = self._noise(0.06, rng.uniform(60, 110), 6_000, 16_000)
        self.open_hat = self._noise(0.22, rng.uniform(12, 20), 5_000, 16_000)
        self.ride = self._noise(0.35, rng.uniform(6, 10), 4_000, 12_000) * np.float32(0.6)
        self.shaker = self._noise(0.09, rng.uniform(30, 45), 3_500, 10_000) * np.float32(0.6)
        root_hz = 55.0 * 2 ** (int(rng.integers(-4, 6)) / 12)
        steps = _PROGRESSIONS[int(rng.integers(len(_PROGRESSIONS)))]
        roots = [root_hz * 2 ** (step / 12) for step in steps]
        self.bass = [self._bass(hz, rng.uniform(1.1, 2.0)) for hz in roots]
        self.stab = [self._chord(4 * hz, 0.35, 1.0, decay=9) for hz in roots]
        self.lead = [[self._lead(8 * hz * 2 ** (step / 12)) for step in (0, 3, 7, 10)] for hz in roots]
        bar_s = 4 * beat_s + 0.05
        dark, bright = rng.uniform(1.7, 2.4), rng.uniform(0.9, 1.3)
        self.dark_pad = [self._chord(2 * hz, bar_s, dark) for hz in roots]
        self.bright_pad = [self._chord(2 * hz, bar_s, bright) for hz in roots]
        self.sub = [self._tone(hz, bar_s, 0.0) for hz in roots]

    def riser(self, duration_s: float) -> Sound:
        """Noise that grows louder and brighter, [n] float32."""
        count = round(duration_s * self.rate)
        dark, bright = self._noise(duration_s, 0, 400, 2_000), self._noise(duration_s, 0, 3_000, 12_000)
        ramp = np.linspace(0, 1, count, dtype=np.float32)
        return (dark[:count] * (1 - ramp) + bright[:count] * ramp) * ramp * ramp

    def hiss(self, duration_s: float, low_hz: float, high_hz: float) -> Sound:
        """Steady noise between two frequencies, [n] float32, peak about 1."""
        return self._noise(duration_s, 0, low_hz, high_hz)

    def _times(self, duration_s: float) -> NDArray[np.float64]:
        return np.arange(round(duration_s * self.rate)) / self.rate

    def _kick(self, hz: float, decay: float, click: float) -> Sound:
        times = self._times(0.35)
        sweep = hz * times + 4.0 * (1 - np.exp(-times * 35)) * hz / 35
        body = np.sin(2 * np.pi * sweep) * np.exp(-times * decay)
        tick = self._rng.standard_normal(len(times)) * np.exp(-times * 300) * 0.3 * click
        return self._faded(body + tick)

    def _tone(self, hz: float, duration_s: float, decay: float) -> Sound:
        times = self._times(duration_s)
        return self._faded(np.sin(2 * np.pi * hz * times) * np.exp(-times * decay))

    def _noise(self, duration_s: float, decay: float, low_hz: float, high_hz: float) -> Sound:
        from scipy.signal import butter, sosfilt

        times = self._times(duration_s)
        band = (low_hz, min(high_hz, self._nyquist))
        band = (min(band[0], band[1] * 0.6), band[1])
        noise = sosfilt(butter(2, band, "bandpass", fs=self.rate, output="sos"), self._rng.standard_normal(len(times)))
        shaped = noise * np.exp(-times * decay)
        return self._faded(shaped / max(1e-9, float(np.abs(shaped).max())))

    def _bass(self, hz: float, dull: float) -> Sound:
        return self._harmonics([hz], self.beat_s * 0.48, dull, decay=4.0)

    def _lead(self, hz: float) -> Sound:
        return self._harmonics([hz, hz * 1.006], self.beat_s * 0.24, 1.0, decay=6.0)

    def _chord(self, hz: float, duration_s: float, dull: float, decay: float = 0.0) -> Sound:
        notes = [hz * 2 ** (step / 12) * detune for step in _SCALE for detune in (0.997, 1.003)]
        return self._harmonics(notes, duration_s, dull, decay=decay)

    def _harmonics(self, notes: list[float], duration_s: float, dull: float, *, decay: float) -> Sound:
        """Return notes whose n-th harmonic has the strength 1 / n**dull; peak 1."""
        times = self._times(duration_s)
        wave = np.zeros(len(times))
        for hz in notes:
            for number in range(1, 17):
                if number * hz > self._nyquist:
                    break
                phase = self._rng.uniform(0, 2 * np.pi)
                wave += np.sin(2 * np.pi * number * hz * times + phase) / number**dull
        wave *= np.exp(-times * decay)
        return self._faded(wave / max(1e-9, float(np.abs(wave).max())))

    def _faded(self, wave: NDArray[np.float64]) -> Sound:
        """Return the sound without clicks at its ends: 1 ms in, 5 ms out."""
        begin, end = round(0.001 * self.rate), round(0.005 * self.rate)
        wave[:begin] *= np.linspace(0, 1, begin, endpoint=False)
        wave[-end:] *= np.linspace(1, 0, end)
        return wave.astype(np.float32)


def lay(target: Sound, sound: Sound, at_s: NDArray[np.float64], rate: int, gain: float) -> None:
    """Add a sound to a stretch at the times given, s; what leaves the stretch is cut."""
    loud = sound * np.float32(gain)
    for start in np.round(at_s * rate).astype(int).tolist():
        if 0 <= start < len(target):
            end = min(len(target), start + len(loud))
            target[start:end] += loud[: end - start]
