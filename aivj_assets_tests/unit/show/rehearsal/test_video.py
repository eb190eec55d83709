"""The preview: which picture is seen when, what is said without ffmpeg, and a film where there is one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from aivj_assets.show.rehearsal.rehearse import rehearse, write_rehearsal
from aivj_assets.show.rehearsal.video import concat_lines
from aivj_assets_tests.rehearsal_builders import (
    entries_of,
    material_of,
    performance_of,
    set_of,
    shown_every,
    write_pictures,
)


def test_captures_take_turns_for_as_long_as_their_preset_was_on_screen() -> None:
    entries = entries_of(3, 1)
    shown = shown_every(1.7, entries)
    stills = {entry.preset_id: [f"{entry.preset_id}-{capture}.jpg" for capture in range(2)] for entry in entries}
    text = "".join(concat_lines(shown, 6.0, stills))
    turns = re.findall(r"file '(p\d+)-(\d)\.jpg'\nduration ([\d.]+)", text)
    lasted: dict[str, float] = {}
    for preset_id, _, seconds in turns:
        lasted[preset_id] = lasted.get(preset_id, 0.0) + float(seconds)
    # The film begins with the first picture, a row before it was picked.
    assert lasted == pytest.approx({"p0000": 1.75, "p0001": 1.7, "p0002": 2.55})
    assert [capture for preset_id, capture, _ in turns if preset_id == "p0001"] == ["0", "1", "0", "1"]
    assert text.endswith("file 'p0002-1.jpg'\n")
    assert list(concat_lines([], 5.0, {})) == []


def made_with_video(tmp_path: Path) -> tuple[str | None, str | None, Path]:
    names = [entry.preset_id for entry in entries_of(30, 6)]
    material = replace(material_of(30, 6), frames=write_pictures(tmp_path / "frames", names[:20]))
    performance = performance_of([("groove", 20.0), ("peak", 12.0)])
    facts = write_rehearsal(
        tmp_path / "made", material, performance, rehearse(material, performance, seed=1), video=True
    )
    return facts.video, facts.video_note, tmp_path / "made"


def test_without_ffmpeg_the_rehearsal_is_whole_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    video, note, folder = made_with_video(tmp_path)
    assert video is None
    assert note is not None
    assert note.startswith("There is no preview video: ffmpeg is not on PATH.")
    assert note in (folder / "index.html").read_text(encoding="utf-8")
    assert not (folder / "preview.mp4").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="stands in for ffmpeg by a shell script")
def test_an_ffmpeg_that_fails_costs_only_the_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "bin" / "ffmpeg"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\necho 'no encoder' >&2\nexit 3\n", encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent))
    video, note, folder = made_with_video(tmp_path)
    assert (video, note) == (None, "ffmpeg made no video (status 3): no encoder")
    assert (folder / "rehearsal.json").is_file()


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not on PATH")
def test_the_film_is_as_long_as_the_track_and_has_its_sound(tmp_path: Path) -> None:
    video, note, folder = made_with_video(tmp_path)
    assert (video, note) == ("preview.mp4", None)
    told = subprocess.run(
        [str(shutil.which("ffmpeg")), "-i", os.fspath(folder / "preview.mp4")], capture_output=True, check=False
    ).stderr.decode()
    length = re.search(r"Duration: 00:00:([\d.]+)", told)
    assert length is not None
    assert float(length[1]) == pytest.approx(32, abs=0.3)
    assert "640x360" in told
    assert "Audio: aac" in told
    assert 'href="preview.mp4"' in (folder / "index.html").read_text(encoding="utf-8")


def test_a_set_without_any_picture_still_makes_a_list() -> None:
    material = material_of(30, 6)
    shown = rehearse(material, performance_of(set_of(2)), seed=1).shown["selector"]
    stills = {one.preset_id: ["black.jpg"] for one in shown}
    seconds = re.findall(r"duration ([\d.]+)", "".join(concat_lines(shown, 120.0, stills)))
    assert sum(map(float, seconds)) == pytest.approx(120, abs=0.05)
