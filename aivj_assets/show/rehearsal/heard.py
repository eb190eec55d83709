"""What was heard and what was on screen, in the form that judge and figures read: arrays over rows, a list of picks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from aivj_assets.contracts.audio_timeline import AudioTimeline
from aivj_assets.contracts.show_log import ActLine, EndLine, PickLine, SessionLine
from aivj_assets.contracts.style import ENERGIES, Energy, RelaxableRule

Times = npt.NDArray[np.float64]
ShowLines = Iterable[SessionLine | PickLine | ActLine | EndLine]


@dataclass(frozen=True)
class Heard:
    """A track as it was heard: `times_s` float64 [n] rising, `tiers` int8 [n] as places in `ENERGIES`, events in s."""

    times_s: Times
    tiers: npt.NDArray[np.int8]
    beats_s: Times
    bars_s: Times
    sections_s: Times
    end_s: float

    @classmethod
    def of(cls, timeline: AudioTimeline) -> Heard:
        """Return the rows of a timeline; it ends with the track, at the earliest with its last row."""
        times = np.asarray(timeline.columns["timeS"], dtype=np.float64)
        place = {tier: number for number, tier in enumerate(ENERGIES)}
        last = float(times[-1]) if times.size else 0.0

        def events(name: str) -> Times:
            at: Times = times[np.asarray(timeline.columns[name]) > 0]
            return at

        return cls(
            times, np.array([place[tier] for tier in timeline.tiers], dtype=np.int8), events("beat"), events("bar"),
            events("section"), max(last, timeline.track.duration_s),
        )  # fmt: skip

    def row_of(self, time_s: float) -> int:
        """Return the row that was the latest at a time, the first before all."""
        return max(0, int(np.searchsorted(self.times_s, time_s + 1e-6, side="right")) - 1)

    def tier_at(self, time_s: float) -> Energy | None:
        """Return the tier of the music at a time; None where nothing was heard at all."""
        return ENERGIES[int(self.tiers[self.row_of(time_s)])] if self.times_s.size else None


@dataclass(frozen=True)
class Shown:
    """A preset that came on screen."""

    time_s: float
    preset_id: str
    cluster: str
    energy: Energy
    tier: Energy | None = None
    """What the log says the music asked for; None where nobody listened."""
    relaxed: tuple[RelaxableRule, ...] = ()
    favourite: bool = False
    reason: str = "timer"


@dataclass(frozen=True)
class Acts:
    """What a person did that outranks rules: spans (from, to) in which a preset was held, and blacklisting."""

    held_s: Sequence[tuple[float, float]] = ()
    blacklisted_s: dict[str, float] = field(default_factory=dict)
    """{presetId: when}."""


def shown_of(lines: ShowLines) -> list[Shown]:
    """Return the picks of a log in order."""
    return [
        Shown(
            line.time_s, line.preset_id, line.cluster, line.energy, line.tier, tuple(line.relaxed), line.favourite,
            line.reason,
        )
        for line in lines
        if isinstance(line, PickLine)
    ]  # fmt: skip


def acts_of(lines: ShowLines, end_s: float) -> Acts:
    """Return what a person did in a log; a hold lasts until it is released, the preset leaves, or the end."""
    held: list[tuple[float, float]] = []
    since: float | None = None
    black: dict[str, float] = {}
    for line in lines:
        if isinstance(line, ActLine) and line.act == "hold" and since is None:
            since = line.time_s
        elif isinstance(line, ActLine) and line.act == "blacklist":
            black.setdefault(line.preset_id, line.time_s)
        elif isinstance(line, EndLine) and line.ended_by == "failed":
            # What could not be shown is not to be tried again.
            black.setdefault(line.preset_id, line.time_s)
        if since is not None and (isinstance(line, EndLine) or (isinstance(line, ActLine) and line.act == "release")):
            held.append((since, line.time_s))
            since = None
    if since is not None:
        held.append((since, end_s))
    return Acts(held, black)
