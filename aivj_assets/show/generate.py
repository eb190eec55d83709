"""Generated sets with known sections, tiers and beats, for rehearsals, tests and the benchmark.

`house`: four to the floor with intro, groove, build-up, drop, breakdown and outro; `breakbeat`: the same form over
broken drums; `ambient`: drones and swells without drums. Each section has a random gain, so that a level alone does
not tell its tier, a colour and a hiss of its own. The weights of the tier were fitted on `house`, seeds 0 to 15; how
the features and the tier work was settled by looking at seeds below `HELD_OUT_SEED`, of the other two styles too. The
benchmark evaluates seeds from there on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from aivj_assets.contracts.style import Energy
from aivj_assets.errors import UserError
from aivj_assets.show.audio.source import Track, track_of_samples
from aivj_assets.show.generate_sections import Drums, Stretch, render_stretch
from aivj_assets.show.synth import Kit, Sound

Style = Literal["house", "breakbeat", "ambient"]
STYLES: tuple[Style, ...] = ("house", "breakbeat", "ambient")
HELD_OUT_SEED = 2000
SAMPLE_RATE_HZ = 22_050
GAIN_DB = (-14.0, 0.0)
TEMPO_BPM: dict[Style, tuple[float, float]] = {"house": (118, 140), "breakbeat": (122, 175), "ambient": (70, 100)}

TIER_OF: dict[str, Energy] = {
    "intro": "calm", "groove": "groove", "build-up": "groove", "drop": "peak", "breakdown": "calm", "outro": "calm",
    "drone": "calm", "pulse": "groove", "swell": "peak",
}  # fmt: skip
# Bars of a section, and how a piece goes; the parts in the middle come again until the piece is over.
_BARS: dict[str, tuple[int, ...]] = {
    "intro": (8, 16), "groove": (16, 16, 24, 32), "build-up": (4, 8, 8), "drop": (16, 16, 32), "breakdown": (8, 16, 16),
    "outro": (8, 16), "drone": (8, 12, 16), "pulse": (8, 12, 16), "swell": (6, 8, 10),
}  # fmt: skip
_FORMS: tuple[tuple[str, ...], ...] = (
    ("intro", "groove", "breakdown", "build-up", "drop", "groove", "outro"),
    ("intro", "groove", "build-up", "drop", "breakdown", "build-up", "drop", "outro"),
    ("intro", "groove", "drop", "groove", "breakdown", "build-up", "drop", "groove", "outro"),
    ("groove", "build-up", "drop", "breakdown", "groove", "outro"),
)
_AMBIENT_FORMS: tuple[tuple[str, ...], ...] = (
    ("drone", "pulse", "drone", "swell", "drone"),
    ("drone", "pulse", "swell", "drone", "pulse"),
)


@dataclass(frozen=True)
class Section:
    """A stretch of a set with one name and tier."""

    name: str
    tier: Energy
    start_s: float
    end_s: float
    gain_db: float


@dataclass(frozen=True)
class GeneratedTrack:
    """A set whose truth is known."""

    name: str
    style: Style
    seed: int
    sample_rate_hz: int
    tempo_bpm: float
    samples: Sound = field(repr=False)
    """float32 [n], within -1..1."""
    sections: list[Section] = field(repr=False)
    """Without gaps, from 0 to the end."""
    beats_s: NDArray[np.float64] = field(repr=False)
    """[beats] where beats lie, also where nothing plays them; empty for `ambient`."""

    @property
    def duration_s(self) -> float:
        """Length, s."""
        return len(self.samples) / self.sample_rate_hz

    def track(self) -> Track:
        """Return it as a track that can be analysed."""
        return track_of_samples(self.samples, self.sample_rate_hz, self.name)

    def tiers_at(self, times_s: NDArray[np.float64]) -> list[Energy]:
        """Return the true tier at each time, s; a section's begin belongs to it."""
        starts = np.array([section.start_s for section in self.sections])
        index = np.clip(np.searchsorted(starts, times_s, side="right") - 1, 0, len(starts) - 1)
        return [self.sections[place].tier for place in index.tolist()]


def generate_set(
    duration_s: float,
    seed: int,
    *,
    style: Style = "house",
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    gain_db: tuple[float, float] = GAIN_DB,
) -> GeneratedTrack:
    """Return a set of `duration_s` seconds; the same arguments give the same samples.

    One tempo, a new kit every few minutes. `gain_db` is the range of each section's random gain. Needs 4 bytes a
    sample (0.3 GiB an hour at 22,050 Hz). Raises `UserError` for a duration that is not between 1 s and 6 h.
    """
    if not 1 <= duration_s <= 6 * 3600:
        raise UserError(f"A set of {duration_s:g} s cannot be generated: between 1 s and 6 hours.")
    rng = np.random.default_rng([seed, STYLES.index(style)])
    tempo = float(rng.uniform(*TEMPO_BPM[style]))
    beat_s = 60 / tempo
    samples = np.zeros(round(duration_s * sample_rate_hz), np.float32)
    sections: list[Section] = []
    for name, bars, kit, drums in _plan(rng, style, sample_rate_hz, beat_s):
        start_s = sections[-1].end_s if sections else 0.0
        end_s = min(duration_s, start_s + bars * 4 * beat_s)
        gain = float(rng.uniform(*gain_db))
        begin, end = round(start_s * sample_rate_hz), round(end_s * sample_rate_hz)
        heard = render_stretch(Stretch(name, end - begin, bars, drums), kit, rng)
        samples[begin:end] = heard * np.float32(10 ** (gain / 20))
        sections.append(Section(name, TIER_OF[name], start_s, end_s, gain))
        if end_s >= duration_s:
            break
    beats = np.arange(0, duration_s, beat_s) if style != "ambient" else np.zeros(0)
    return GeneratedTrack(f"generated-{style}-{seed}", style, seed, sample_rate_hz, tempo, samples, sections, beats)


def _plan(
    rng: np.random.Generator, style: Style, sample_rate_hz: int, beat_s: float
) -> Iterator[tuple[str, int, Kit, Drums]]:
    """Yield (section, bars, kit, drums) without end."""
    forms = _AMBIENT_FORMS if style == "ambient" else _FORMS
    while True:
        kit = Kit(rng, sample_rate_hz, beat_s)
        drums = Drums.draw(rng, broken=style == "breakbeat")
        for name in forms[int(rng.integers(len(forms)))]:
            yield name, int(rng.choice(_BARS[name])), kit, drums
