"""A file's timeline as the page gets it: part by part, while it is being made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aivj_assets.contracts.audio_timeline import EVENTS, ROW_S, WINDOW_FEATURES
from aivj_assets.show.audio.source import read_track
from aivj_assets.show.timeline import analyse_stream

# The page waits for the first part before it plays.
CHUNK_ROWS = 200


def heard(path: Path, name: str) -> Iterator[dict[str, Any]]:
    """Yield {track, rowS, windowFeatures, events}, then {firstRow, columns, tiers} for every 10 s, at last {done}.

    `name` is what the log calls the track. Raises `UserError` for a file that holds no sound.
    """
    track = read_track(path)
    facts = track.facts.model_copy(update={"name": name})
    names = {"windowFeatures": WINDOW_FEATURES, "events": EVENTS}
    yield {"track": facts.to_json(), "rowS": ROW_S, **names}
    rows = 0
    for chunk in analyse_stream(track.blocks(), track.sample_rate_hz, chunk_rows=CHUNK_ROWS):
        rows += chunk.rows
        yield chunk.to_json()
    yield {"done": True, "rows": rows}
