"""Shows that never were: a person of known taste in front of a selector, as logs of the agreed form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from aivj_assets.contracts.audio_timeline import WINDOW_FEATURES, TrackFacts
from aivj_assets.contracts.base import ContractModel
from aivj_assets.contracts.show_log import ActLine, Candidate, EndLine, PickLine, SessionLine, show_lines
from aivj_assets.contracts.style import ENERGIES, Energy

Features = Mapping[str, float]
Taste = Callable[[Features, Energy], int]
"""Which cluster fits what is heard, as a row in the list of clusters."""
STARTED = "2026-01-31T20:00:00.000Z"
LEVEL = {"calm": 0.25, "groove": 0.55, "peak": 0.85}


def taste_of_audio(clusters: int) -> Taste:
    """A person for whom bass and brightness decide, whatever the tier: the audio explains the style."""
    return lambda heard, _tier: (2 * (heard["lowMean"] > 0.4) + (heard["brightnessMean"] > 0.5)) % clusters


def taste_of_tier(clusters: int) -> Taste:
    """A person who goes by the tier alone."""
    return lambda _heard, tier: ENERGIES.index(tier) % clusters


@dataclass
class Show:
    """One session: picks at random, a person who skips what does not fit, now and then marks what does."""

    clusters: Sequence[str]
    taste: Taste | None
    """None: skips and marks have nothing to do with the style."""
    track: str = "track-0"
    seed: int = 0
    picks: int = 60
    pack: str = "pack"
    index_hash: str = "a" * 64
    source: Literal["show", "rehearsal"] = "show"
    favourites: float = 0.4
    """How many of those that fit are marked."""
    noise: float = 0.1
    """How often the person does the opposite."""
    sha256: bool = True
    lines: list[ContractModel] = field(default_factory=list)

    def played(self) -> Show:
        """Fill `lines`; the track's own character is seeded by its name, so two sessions of one track are alike."""
        rng = np.random.default_rng([self.seed, *self.track.encode()])
        own = np.random.default_rng(list(self.track.encode()))
        sha = "".join(f"{value:02x}" for value in own.integers(0, 256, 32)) if self.sha256 else None
        facts = TrackFacts(name=self.track, duration_s=600, sample_rate_hz=44100, channels=2, sha256=sha)
        self.lines.append(
            SessionLine(
                source=self.source,
                started_at=STARTED,
                pack=self.pack,
                index_hash=self.index_hash,
                seed=self.seed,
                track=facts,
            )
        )
        character, time_s = own.normal(0, 0.1, 2), 0.0
        for number in range(self.picks):
            time_s = self._pick(number, time_s, rng, character)
        return self

    def _pick(self, number: int, time_s: float, rng: np.random.Generator, character: np.ndarray) -> float:
        tier = ENERGIES[int(rng.integers(3))]
        heard = {name: float(value) for name, value in zip(WINDOW_FEATURES, rng.normal(size=15), strict=True)}
        heard["loudnessMean"] = LEVEL[tier] + float(rng.normal(0, 0.05))
        heard["lowMean"] = float(np.clip(rng.uniform(0, 0.8) + character[0], 0, 1))
        heard["brightnessMean"] = float(np.clip(rng.uniform(0, 1) + character[1], 0, 1))
        shown = int(rng.integers(len(self.clusters)))
        fits = rng.random() < 1 / 3 if self.taste is None else self.taste(heard, tier) == shown
        fits = bool(fits) != (rng.random() < self.noise)
        preset, cluster = f"{self.clusters[shown]}-p{rng.integers(5)}", self.clusters[shown]
        self.lines.append(
            PickLine(
                number=number,
                time_s=time_s,
                tier=tier,
                features=heard,
                candidate_count=10,
                candidates=[Candidate(preset_id=preset, cluster=cluster, probability=0.1)],
                preset_id=preset,
                cluster=cluster,
                energy=tier,
                probability=0.1,
                reason="phrase",
                index_hash=self.index_hash,
            )
        )
        dwell = 16.0 if fits else float(rng.uniform(1, 6))
        if fits and rng.random() < self.favourites:
            self.lines.append(ActLine(time_s=time_s + 4, act="favourite", preset_id=preset))
        if not fits:
            self.lines.append(ActLine(time_s=time_s + dwell, act="skip", preset_id=preset))
        self.lines.append(
            EndLine(
                number=number,
                time_s=time_s + dwell,
                preset_id=preset,
                cluster=cluster,
                dwell_s=dwell,
                ended_by="switch" if fits else "skip",
            )
        )
        return time_s + dwell

    def save(self, folder: Path) -> Path:
        """Write the log; returns its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.track}-{self.seed}.jsonl"
        path.write_text(show_lines(self.lines or self.played().lines), encoding="utf-8")
        return path
