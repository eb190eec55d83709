"""Playing a track through a selector, row by row, into the lines of a show's log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from aivj_assets.contracts.audio_timeline import AudioTimeline
from aivj_assets.contracts.show_log import EndLine, PickLine
from aivj_assets.contracts.style import Energy

Progress = Callable[[int, int], None]
ClusterModel = Callable[[Mapping[str, float], Energy], Mapping[str, float]]
"""Window features and tier of the music to {cluster: probability}."""
_TELL_EVERY_ROWS = 2_000


class Step(Protocol):
    """What a selector says to a row: what leaves the screen and what comes; None where nothing changes."""

    @property
    def end(self) -> EndLine | None:
        """The preset that leaves."""

    @property
    def pick(self) -> PickLine | None:
        """The preset that comes."""


class Selects(Protocol):
    """Whatever picks by what it hears."""

    def step(self, observation: Mapping[str, Any], /) -> Step:
        """Hear a row of the track and say what changes."""

    def finish(self, time_s: float, /) -> EndLine | None:
        """End the show."""


def play(
    timeline: AudioTimeline,
    selector: Selects,
    *,
    model: ClusterModel | None = None,
    progress: Progress | None = None,
) -> list[PickLine | EndLine]:
    """Return the log's lines of a whole track, without the session line. The show ends with the track.

    `model` says how well clusters go with what is heard. `progress` hears (rows done, rows in all).
    """
    lines: list[PickLine | EndLine] = []
    for row in range(timeline.rows):
        observation = timeline.observation(row)
        if model is not None:
            observation["clusterProbabilities"] = model(observation["features"], observation["tier"])
        step = selector.step(observation)
        lines += [line for line in (step.end, step.pick) if line is not None]
        if progress is not None and (row % _TELL_EVERY_ROWS == 0 or row == timeline.rows - 1):
            progress(row + 1, timeline.rows)
    last_s = float(timeline.columns["timeS"][-1]) if timeline.rows else 0.0
    end = selector.finish(max(last_s, timeline.track.duration_s))
    return lines if end is None else [*lines, end]
