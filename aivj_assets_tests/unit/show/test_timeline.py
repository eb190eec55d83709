from __future__ import annotations

from pathlib import Path

import numpy as np

from aivj_assets.contracts.audio_timeline import COLUMNS, AudioTimeline
from aivj_assets.show.generate import generate_set
from aivj_assets.show.timeline import analyse, analyse_stream


def test_a_timeline_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    timeline = analyse(generate_set(30, 4).track())
    assert timeline.rows == 600
    assert set(timeline.columns) | {"tier"} == set(COLUMNS)
    assert timeline.columns["timeS"][:2] == [0.05, 0.1]
    timeline.save(tmp_path / "a.json")
    assert AudioTimeline.load(tmp_path / "a.json") == timeline


def test_chunks_of_a_stream_are_the_timeline() -> None:
    track = generate_set(33, 4)
    timeline = analyse(track.track())
    blocks = (track.samples[start : start + 3000] for start in range(0, len(track.samples), 3000))
    chunks = list(analyse_stream(blocks, track.sample_rate_hz, chunk_rows=128))
    assert [chunk.first_row for chunk in chunks] == [0, 128, 256, 384, 512, 640]
    assert [tier for chunk in chunks for tier in chunk.tiers] == timeline.tiers
    for name, values in timeline.columns.items():
        assert [value for chunk in chunks for value in chunk.columns[name]] == values
    assert chunks[0].to_json()["firstRow"] == 0


def test_progress_reaches_the_end() -> None:
    seen: list[tuple[int, int]] = []
    analyse(generate_set(25, 4).track(), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (25, 25)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_row_of_a_stream_waits_for_no_later_sound() -> None:
    rate = 8_000
    rows = [
        chunk.columns["timeS"]
        for chunk in analyse_stream((np.zeros(400, np.float32) for _ in range(3)), rate, chunk_rows=1)
    ]
    assert rows == [[0.05], [0.1], [0.15]]
