"""A track's timeline: the rows and tiers of everything that is heard, whole or in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from aivj_assets.contracts.audio_timeline import COLUMNS, AudioTimeline
from aivj_assets.contracts.style import Energy
from aivj_assets.show.audio.features import FeatureExtractor
from aivj_assets.show.audio.source import Samples, Track
from aivj_assets.show.tier import TierTracker

COLUMN_NAMES: tuple[str, ...] = tuple(dict.fromkeys(name for name in COLUMNS if name != "tier"))
CHUNK_ROWS = 200


@dataclass(frozen=True)
class TimelineChunk:
    """Rows `first_row` and on: columns of equal length and the tier of each row."""

    first_row: int
    columns: dict[str, list[float]]
    tiers: list[Energy]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.tiers)

    def to_json(self) -> dict[str, Any]:
        """Return {firstRow, columns, tiers}; columns as in `AudioTimeline`."""
        return {"firstRow": self.first_row, "columns": self.columns, "tiers": self.tiers}


def analyse(track: Track, *, progress: Callable[[int, int], None] | None = None) -> AudioTimeline:
    """Return the timeline of a track; `progress` gets (seconds done, seconds in all)."""
    columns: dict[str, list[float]] = {name: [] for name in COLUMN_NAMES}
    tiers: list[Energy] = []
    total = max(1, int(track.duration_s))
    for chunk in analyse_stream(track.blocks(), track.sample_rate_hz):
        for name, values in chunk.columns.items():
            columns[name].extend(values)
        tiers.extend(chunk.tiers)
        if progress is not None:
            progress(min(total, int(columns["timeS"][-1])), total)
    return AudioTimeline(track=track.facts, columns=columns, tiers=tiers)


def analyse_stream(
    blocks: Iterable[Samples], sample_rate_hz: int, *, chunk_rows: int = CHUNK_ROWS
) -> Iterator[TimelineChunk]:
    """Yield the timeline of a stream in chunks of `chunk_rows` rows (10 s), the last one shorter.

    Blocks are float32 [n] of any length, one channel, finite. The chunks together are the rows of `analyse`.
    """
    extractor, tracker = FeatureExtractor(sample_rate_hz), TierTracker()
    columns: dict[str, list[float]] = {name: [] for name in COLUMN_NAMES}
    tiers: list[Energy] = []
    first = 0
    for block in blocks:
        for row in extractor.push(block):
            for name in COLUMN_NAMES:
                columns[name].append(row[name])
            tiers.append(tracker.push(row))
            if len(tiers) == chunk_rows:
                yield TimelineChunk(first, columns, tiers)
                first += len(tiers)
                columns, tiers = {name: [] for name in COLUMN_NAMES}, []
    if tiers:
        yield TimelineChunk(first, columns, tiers)
