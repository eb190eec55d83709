"""The page's bytes are the rows that were heard; its pictures lie where it looks for them; names are never markup."""

from __future__ import annotations

import base64
import gzip
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from aivj_assets.contracts.style import ENERGIES
from aivj_assets.show.audio.source import track_of_samples
from aivj_assets.show.rehearsal.page import packed_rows
from aivj_assets.show.rehearsal.pictures import (
    SHEET_COLUMNS,
    SPRITE_HEIGHT_PX,
    SPRITE_WIDTH_PX,
    SPRITES_PER_SHEET,
    peaks_of,
    write_sheets,
)
from aivj_assets.show.rehearsal.rehearse import rehearse, write_rehearsal
from aivj_assets_tests.rehearsal_builders import material_of, performance_of, set_of, timeline_of, write_pictures

HOSTILE = "</script><img src=x onerror=\"document.title='taken'\"> & <b>bold</b> - \u202eright to left"


def test_rows_are_packed_one_figure_after_another() -> None:
    timeline = timeline_of([("calm", 10.0), ("peak", 10.0)])
    n = timeline.rows
    peaks = np.random.default_rng(1).integers(-127, 128, (n, 2)).astype(np.int8)
    data = packed_rows(timeline, peaks)
    assert len(data) == 8 * n
    assert (np.frombuffer(data[:n], np.int8) == peaks[:, 0]).all()
    assert (np.frombuffer(data[n : 2 * n], np.int8) == peaks[:, 1]).all()
    assert set(data[2 * n : 3 * n]) == {round(0.25 * 255)}
    marks = np.frombuffer(data[7 * n :], np.uint8)
    assert [ENERGIES[mark] for mark in (marks & 3).tolist()] == timeline.tiers
    for bit, name in enumerate(("beat", "bar", "phrase", "section"), start=2):
        assert ((marks >> bit & 1) == np.array(timeline.columns[name])).all()
        assert (marks >> bit & 1).any()


def test_peaks_are_the_extremes_of_each_row_at_any_rate() -> None:
    for rate in (11_025, 22_050, 44_100):
        samples = np.zeros(round(25.3 * rate), np.float32)
        samples[round(12.34 * rate)] = 0.5
        samples[round(20.01 * rate)] = -0.25
        track = track_of_samples(samples, rate, "clicks")
        peaks = peaks_of(track, round(25.3 / 0.05))
        assert peaks.shape == (506, 2)
        # The loudest sample is 127.
        assert [(int(row), *peaks[row].tolist()) for row in np.flatnonzero(peaks.any(axis=1))] == [
            (246, 0, 127),
            (400, -64, 0),
        ]
    silent = track_of_samples(np.zeros(8000, np.float32), 8000, "silence")
    assert not peaks_of(silent, 20).any()


def test_each_picture_has_its_place_on_a_sheet_and_a_broken_one_leaves_it_empty(tmp_path: Path) -> None:
    names = [f"p{number}" for number in range(SPRITES_PER_SHEET + 3)]
    frames = write_pictures(tmp_path / "frames", names)
    paths: list[Path | None] = [frames[name][0] for name in names]
    (tmp_path / "broken.webp").write_bytes(b"RIFF")
    paths[5], paths[66] = tmp_path / "broken.webp", None
    assert write_sheets(paths, tmp_path / "sheets") == [5, 66]
    assert sorted(path.name for path in (tmp_path / "sheets").iterdir()) == ["sheet-000.webp", "sheet-001.webp"]
    for number in (0, 9, 63, 64, 65):
        with Image.open(tmp_path / "sheets" / f"sheet-{number // SPRITES_PER_SHEET:03d}.webp") as sheet:
            row, column = divmod(number % SPRITES_PER_SHEET, SHEET_COLUMNS)
            at = ((column + 0.5) * SPRITE_WIDTH_PX, (row + 0.5) * SPRITE_HEIGHT_PX)
            seen = sheet.convert("RGB").getpixel((int(at[0]), int(at[1])))
        wanted = ((number * 53) % 200 + 40, (number * 97) % 200 + 40, 60)
        assert isinstance(seen, tuple)
        assert np.abs(np.subtract(seen, wanted)).max() < 24, (number, seen, wanted)


def test_names_are_data_and_never_markup(tmp_path: Path) -> None:
    performance = performance_of(set_of(2), name=HOSTILE)
    material = material_of(30, 6)
    material = replace(
        material, labels=dict.fromkeys(material.library, HOSTILE), cluster_labels={"c00": HOSTILE}, pack="pack"
    )
    write_rehearsal(tmp_path, material, performance, rehearse(material, performance, seed=1))
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<img" not in page
    assert "<b>bold" not in page
    packed = re.search(r'id="facts">([^<]*)<', page)
    assert packed is not None
    facts = json.loads(gzip.decompress(base64.b64decode(packed[1])))
    assert facts["presets"][0][1:] == [*HOSTILE.rsplit(" - ", 1)]
    assert len(facts["picks"]) == len({pick["t"] for pick in facts["picks"]}) > 3
    assert not re.search(r"https?://(?!www\.w3\.org)", page.replace("https://ffmpeg.org", ""))
