"""What plays in each section of a generated set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aivj_assets.show.synth import CHORDS, Kit, Sound, lay

Steps = tuple[int, ...]

_KICKS: tuple[Steps, ...] = ((0, 4, 8, 12),)
_BROKEN_KICKS: tuple[Steps, ...] = ((0, 10), (0, 6, 10), (0, 2, 10), (0, 7, 10), (0, 3, 10, 14))
_SNARES: tuple[Steps, ...] = ((4, 12),)
_BROKEN_SNARES: tuple[Steps, ...] = ((4, 12), (4, 12, 15), (4, 7, 12), (4, 9, 12))
_BASSES: tuple[Steps, ...] = (
    (2, 6, 10, 14), (2, 3, 6, 10, 11, 14), (0, 3, 6, 8, 11, 14), (2, 4, 6, 10, 12, 14),
    (1, 2, 3, 5, 6, 7, 9, 10, 11, 13),
)  # fmt: skip
_STABS: tuple[Steps, ...] = ((3, 6, 11), (0, 3, 6), (2, 10), (4, 7, 12, 15))
_LEADS: tuple[Steps, ...] = (
    tuple(range(16)),
    (0, 3, 6, 9, 12, 14),
    (0, 2, 4, 6, 8, 10, 12, 14),
    (0, 1, 3, 4, 6, 8, 9, 11, 14),
)


@dataclass(frozen=True)
class Drums:
    """Patterns of a piece, in sixteenths of a bar, and what its arrangement holds."""

    kick: Steps
    snare: Steps
    bass: Steps
    stab: Steps
    lead: Steps
    swing: float
    """Delay of every second sixteenth, sixteenths."""
    drive: float
    """How hard the drop is pressed."""
    groove_pad: bool
    groove_shaker: bool
    drop_ride: bool
    drop_pad: bool
    thin_ends: bool
    """Intro and outro of thin drums in place of a pad."""
    hat_gain: float
    lead_gain: float
    bass_gain: float
    tilt_db: float
    """Gain of what lies above 1.5 kHz in the whole piece, as records differ in colour."""
    hiss_db: float
    """Level of the noise under all of it: no recording is clean."""

    @classmethod
    def draw(cls, rng: np.random.Generator, *, broken: bool) -> Drums:
        """Return the drums of a new piece."""

        def one(patterns: tuple[Steps, ...]) -> Steps:
            return patterns[int(rng.integers(len(patterns)))]

        def coin() -> bool:
            return bool(rng.random() < 0.5)

        return cls(
            kick=one(_BROKEN_KICKS if broken else _KICKS), snare=one(_BROKEN_SNARES if broken else _SNARES),
            bass=one(_BASSES), stab=one(_STABS), lead=one(_LEADS),
            swing=float(rng.uniform(0, 0.25)), drive=float(rng.uniform(1.2, 2.5)),
            groove_pad=coin(), groove_shaker=coin(), drop_ride=coin(), drop_pad=coin(), thin_ends=coin(),
            hat_gain=float(rng.uniform(0.12, 0.5)), lead_gain=float(rng.uniform(0.12, 0.35)),
            bass_gain=float(rng.uniform(0.3, 0.6)), tilt_db=float(rng.uniform(-6, 6)),
            hiss_db=float(rng.uniform(-70, -36)),
        )  # fmt: skip


@dataclass(frozen=True)
class Stretch:
    """A section to be rendered; the last one of a set may be cut before its bars are over."""

    name: str
    samples: int
    bars: int
    drums: Drums


class _Bench:
    """The stretch on which a section is laid down: drums and tones apart, as the kick ducks the tones."""

    def __init__(self, stretch: Stretch, kit: Kit, rng: np.random.Generator) -> None:
        self.stretch, self.kit, self.rng, self.drums = stretch, kit, rng, stretch.drums
        self.beats = np.zeros(stretch.samples, np.float32)
        self.tones = np.zeros(stretch.samples, np.float32)
        self.step_s = kit.beat_s / 4

    def at(self, steps: Steps, bars: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Return the times of a pattern in all bars, or in those given, s."""
        every = np.arange(self.stretch.bars) if bars is None else bars
        pattern = np.array([step + (self.drums.swing if step % 2 else 0.0) for step in steps])
        return np.asarray((every[:, None] * 16 + pattern).ravel() * self.step_s, dtype=np.float64)

    def drum(self, sound: Sound, steps: Steps, gain: float) -> None:
        """Lay a drum; its level differs by up to 2 dB a section."""
        lay(self.beats, sound, self.at(steps), self.kit.rate, gain * 10 ** (self.rng.uniform(-1, 1) / 20))

    def by_chord(self, sounds: list[Sound], steps: Steps, gain: float) -> None:
        """Lay a tone a bar's chord."""
        level = gain * 10 ** (self.rng.uniform(-1, 1) / 20)
        for chord in range(CHORDS):
            bars = np.arange(chord, self.stretch.bars, CHORDS)
            lay(self.tones, sounds[chord], self.at(steps, bars), self.kit.rate, level)

    def lead(self, gain: float) -> None:
        """Lay the lead: a melody of four notes a chord."""
        order = self.rng.integers(0, 4, 16)
        for chord in range(CHORDS):
            bars = np.arange(chord, self.stretch.bars, CHORDS)
            for note in range(4):
                steps = tuple(step for step in self.drums.lead if order[step] == note)
                if steps:
                    lay(self.tones, self.kit.lead[chord][note], self.at(steps, bars), self.kit.rate, gain)

    def duck(self, depth: float) -> None:
        """Turn the tones down on each beat, as a compressor keyed by the kick does."""
        beat = self.kit.beat_s * self.kit.rate
        place = np.arange(self.stretch.samples, dtype=np.float32) % np.float32(beat) / np.float32(beat)
        self.tones *= 1 - np.float32(depth) * np.exp(-4 * place)

    def ramp(self, start: float, end: float) -> Sound:
        """Return a straight line over the whole stretch, float32 [n]."""
        return np.linspace(start, end, self.stretch.samples, dtype=np.float32)


def render_stretch(stretch: Stretch, kit: Kit, rng: np.random.Generator) -> Sound:
    """Return a section's samples, float32 [n] within -1..1, at its natural level."""
    bench = _Bench(stretch, kit, rng)
    _PLAYS[stretch.name](bench)
    hiss = rng.standard_normal(stretch.samples, np.float32) * np.float32(10 ** (stretch.drums.hiss_db / 20))
    mixed = _tilted(bench.beats + bench.tones + hiss, stretch.drums.tilt_db, kit.rate) * np.float32(0.5)
    drive = np.float32(stretch.drums.drive if stretch.name in {"drop", "swell"} else 1.0)
    return np.asarray(np.tanh(mixed * drive) * np.float32(0.9), dtype=np.float32)


def _tilted(wave: Sound, tilt_db: float, rate: int) -> Sound:
    """Return the sound with what lies above 1.5 kHz louder or softer (a shelf of first order)."""
    from scipy.signal import butter, sosfilt

    bright = sosfilt(butter(1, 1_500, "highpass", fs=rate, output="sos"), wave)
    return np.asarray(wave + bright * (10 ** (tilt_db / 20) - 1), dtype=np.float32)


def _ends(bench: _Bench) -> None:
    kit = bench.kit
    if bench.drums.thin_ends:
        bench.drum(kit.soft_kick, bench.drums.kick, 0.5)
        bench.drum(kit.hat, (2, 6, 10, 14), 0.12)
        bench.by_chord(kit.dark_pad, (0,), 0.15)
    else:
        bench.by_chord(kit.dark_pad, (0,), 0.4)
        bench.drum(kit.shaker, (4, 12), 0.08)


def _groove(bench: _Bench) -> None:
    kit, drums = bench.kit, bench.drums
    bench.drum(kit.kick, drums.kick, 0.9)
    bench.drum(kit.hat, (2, 6, 10, 14), drums.hat_gain)
    bench.drum(kit.clap, drums.snare, 0.3)
    bench.by_chord(kit.bass, drums.bass, drums.bass_gain)
    if drums.groove_shaker:
        bench.drum(kit.shaker, tuple(range(16)), 0.12)
    if drums.groove_pad:
        bench.by_chord(kit.dark_pad, (0,), 0.15)
    if bench.rng.random() < 0.5:
        bench.by_chord(kit.stab, drums.stab, 0.2)
    bench.duck(0.5)


def _build_up(bench: _Bench) -> None:
    kit, bars = bench.kit, bench.stretch.bars
    for part, steps in enumerate(((0, 4, 8, 12), tuple(range(0, 16, 2)), tuple(range(16)))):
        chosen = np.arange(bars * part // 3, bars * (part + 1) // 3)
        for bar in chosen.tolist():
            gain = 0.15 + 0.4 * bar / bars
            lay(bench.beats, kit.snare, bench.at(steps, np.array([bar])), kit.rate, gain)
    bench.by_chord(kit.dark_pad, (0,), 0.3)
    rising = bench.ramp(0.3, 1.0)
    bench.tones *= rising
    riser = kit.riser(bars * 4 * kit.beat_s)[: bench.stretch.samples]
    bench.tones[: len(riser)] += riser * np.float32(0.35)
    if bench.rng.random() < 0.5:
        bench.drum(kit.kick, bench.drums.kick, 0.7)


def _drop(bench: _Bench) -> None:
    kit, drums = bench.kit, bench.drums
    bench.drum(kit.kick, drums.kick, 1.0)
    bench.drum(kit.open_hat, (2, 6, 10, 14), 0.15 + 0.8 * drums.hat_gain)
    bench.drum(kit.hat, tuple(range(16)), 0.6 * drums.hat_gain)
    bench.drum(kit.clap, drums.snare, 0.45)
    bench.by_chord(kit.bass, drums.bass, 1.2 * drums.bass_gain)
    bench.lead(drums.lead_gain)
    if drums.drop_ride:
        bench.drum(kit.ride, (0, 4, 8, 12), 0.3)
    if drums.drop_pad:
        bench.by_chord(kit.bright_pad, (0,), 0.3)
    else:
        bench.by_chord(kit.stab, drums.stab, 0.45)
    bench.duck(0.6)


def _breakdown(bench: _Bench) -> None:
    kit = bench.kit
    bench.by_chord(kit.bright_pad if bench.rng.random() < 0.4 else kit.dark_pad, (0,), 0.45)
    if bench.rng.random() < 0.6:
        bench.by_chord([notes[2] for notes in kit.lead], (0, 6), 0.12)
    if bench.rng.random() < 0.5:
        bench.drum(kit.shaker, (4, 12), 0.06)


def _drone(bench: _Bench) -> None:
    kit = bench.kit
    bench.by_chord(kit.dark_pad, (0,), 0.35)
    bench.by_chord(kit.sub, (0,), 0.2)
    bench.tones *= 0.8 + 0.2 * np.sin(bench.ramp(0, bench.rng.uniform(6, 20)))


def _pulse(bench: _Bench) -> None:
    kit = bench.kit
    bench.by_chord(kit.dark_pad, (0,), 0.25)
    bench.by_chord(kit.stab, (0, 4, 8, 12), 0.25)
    bench.by_chord([notes[0] for notes in kit.lead], (2, 6, 10, 14), 0.15)
    bench.drum(kit.shaker, (0, 4, 8, 12), 0.08)


def _swell(bench: _Bench) -> None:
    kit = bench.kit
    bench.by_chord(kit.bright_pad, (0,), 0.6)
    bench.by_chord(kit.sub, (0,), 0.4)
    bench.lead(0.25)
    hiss = kit.hiss(bench.stretch.samples / kit.rate, 1_000, 9_000)[: bench.stretch.samples]
    bench.tones[: len(hiss)] += hiss * np.float32(0.25)
    bench.tones *= bench.ramp(0.6, 1.0)


_PLAYS: dict[str, Callable[[_Bench], None]] = {
    "intro": _ends, "groove": _groove, "build-up": _build_up, "drop": _drop, "breakdown": _breakdown, "outro": _ends,
    "drone": _drone, "pulse": _pulse, "swell": _swell,
}  # fmt: skip
