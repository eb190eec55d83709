"""What is said before a night of rendering of folders, clocks and room on the disk."""

from __future__ import annotations

import errno
import os
import sys
from collections import namedtuple
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.layout import BatchDir
from aivj_assets.render import preflight_places
from aivj_assets.render.preflight_places import (
    CLOCK,
    FILE_CLOCK,
    TYPICAL_BYTES_PER_PRESET,
    WRITE,
    Need,
    bytes_per_preset,
    clock_finding,
    disk_finding,
    frames_bytes,
    newest_time,
    write_findings,
)
from aivj_assets_tests.builders import ok_record, write_frame

NOW = datetime(2026, 3, 1, 22, tzinfo=UTC)
Usage = namedtuple("Usage", "total used free")


def tree(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_folders_that_can_be_written_are_left_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "batch").mkdir()
    before = tree(tmp_path)
    written, clock = write_findings([tmp_path / "batch", tmp_path / "new" / "deep"])
    assert (written.name, written.passed) == (WRITE, True)
    assert str(tmp_path / "batch") in written.detail
    assert (clock.name, clock.passed) == (FILE_CLOCK, True)
    assert tree(tmp_path) == before


def test_a_file_in_the_place_of_a_folder_is_named_and_other_places_are_tried_too(tmp_path: Path) -> None:
    (tmp_path / ".aivj").write_text("")
    written, clock = write_findings([tmp_path / ".aivj" / "embeddings", tmp_path])
    assert (written.passed, written.severity) == (False, "error")
    assert ".aivj is a file where a folder should be" in written.detail
    assert clock.passed
    assert [path.name for path in tree(tmp_path)] == [".aivj"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc takes no files, not even root's")
def test_a_folder_that_takes_no_files_is_one_line() -> None:
    (written,) = write_findings([Path("/proc/aivj/artifacts")])
    assert not written.passed
    assert "/proc cannot be written" in written.detail
    assert "\n" not in written.detail


@pytest.mark.skipif(
    os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="only POSIX users other than root"
)
def test_a_folder_of_another_user_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        (written,) = write_findings([tmp_path])
    finally:
        tmp_path.chmod(0o700)
    assert "cannot be written (Permission denied): mend its permissions" in written.detail


@pytest.mark.parametrize(
    ("code", "told"),
    [(errno.ENOSPC, "The disk is full at"), (errno.EROFS, "cannot be written (Read-only file system)")],
)
def test_what_fails_only_when_it_is_flushed_is_told_and_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, told: str
) -> None:
    def refused(_descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(preflight_places.os, "fsync", refused)
    (written,) = write_findings([tmp_path])
    assert told in written.detail
    assert str(tmp_path) in written.detail
    assert tree(tmp_path) == []


@pytest.mark.parametrize(("ahead_s", "told"), [(-900, "15 minutes ahead of"), (900, "15 minutes behind"), (60, None)])
def test_a_disk_with_another_clock_warns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead_s: int, told: str | None
) -> None:
    real = preflight_places.time.time
    monkeypatch.setattr(preflight_places.time, "time", lambda: real() + ahead_s)
    _, clock = write_findings([tmp_path])
    assert clock.passed is (told is None)
    if told:
        assert clock.severity == "warning"
        assert told in clock.detail


def test_the_newest_time_is_found_among_what_other_tools_wrote() -> None:
    texts = ["2026-03-01T20:00:00.000Z", "2026-03-01T23:30:00+02:00", "yesterday", "", "2026-03-01T21:00:00"]
    assert newest_time(texts) == datetime(2026, 3, 1, 21, 30, tzinfo=UTC)
    assert newest_time(["never"]) is None


def test_a_clock_behind_a_record_fails_and_names_both_and_the_way_out() -> None:
    known = {"the newest record": NOW + timedelta(hours=3), "the last run": NOW - timedelta(days=1)}
    found = clock_finding(NOW, known)
    assert (found.name, found.passed, found.severity) == (CLOCK, False, "error")
    assert "2026-03-01 22:00 UTC" in found.detail
    assert "the newest record is of 2026-03-02 01:00 UTC" in found.detail
    assert "resume=false" in found.detail
    assert clock_finding(NOW, known, resume=False).severity == "warning"


def test_a_clock_with_nothing_or_minutes_against_it_passes() -> None:
    assert clock_finding(NOW, {}).passed
    assert clock_finding(NOW, {"a record": None, "another": NOW + timedelta(minutes=4)}).passed
    assert not clock_finding(NOW, {"another": NOW + timedelta(minutes=6)}).passed


@pytest.mark.parametrize("year", [1970, 2024, 2100])
def test_a_year_that_cannot_be_fails(year: int) -> None:
    found = clock_finding(NOW.replace(year=year), {})
    assert not found.passed
    assert f"the year for {year}" in found.detail


def test_bytes_of_a_preset_follow_format_side_and_captures() -> None:
    def estimated(**parameters: object) -> int:
        return bytes_per_preset(RenderParameters.model_validate(parameters))

    default = estimated()
    assert default == pytest.approx(TYPICAL_BYTES_PER_PRESET, rel=0.001)
    assert estimated(format="png") == pytest.approx(7 * default, rel=0.001)
    assert estimated(webpQuality=1) > 4 * default
    assert estimated(outSize=448) == pytest.approx(4 * default, rel=0.001)
    assert estimated(captureCount=6) == pytest.approx(2 * default, rel=0.001)
    # A file takes a block, however small it is.
    assert estimated(outSize=16) == 3 * 4096


def test_frames_that_give_way_are_taken_off_the_need(tmp_path: Path) -> None:
    folder = BatchDir(tmp_path)
    old = [ok_record(f"p{number}", "pack") for number in range(100)]
    for record in old:
        for frame in record.frames:
            write_frame(folder.path / frame, seed=1, luma=0.5, side=224)
    size = sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.frames_dir.rglob("*.webp"))
    parameters = RenderParameters(format="png")
    need = frames_bytes(folder, 150, old, parameters)
    assert need == pytest.approx(150 * bytes_per_preset(parameters) - size, rel=0.01)
    # Frames that lie there larger than the new ones will be: nothing more is needed.
    assert frames_bytes(folder, 100, old, RenderParameters(out_size=16)) == 0


def room(free: int, *sizes: int, place: Path) -> tuple[bool, str, str]:
    needs = [Need(f"part {number}", place, size) for number, size in enumerate(sizes)]
    found = disk_finding(needs, lambda _place: Usage(10**12, 0, free))
    return found.passed, found.severity, found.detail


def test_a_disk_fails_below_the_need_warns_below_twice_and_names_both(tmp_path: Path) -> None:
    passed, severity, detail = room(5 * 10**9, 5 * 10**9, 3 * 10**8, place=tmp_path / "not-yet")
    assert (passed, severity) == (False, "error")
    assert "5.3 GB are needed (part 0 5.0 GB, part 1 300 MB) and 5.0 GB free" in detail
    assert "make room" in detail
    assert room(8 * 10**9, 5 * 10**9, place=tmp_path)[:2] == (False, "warning")
    assert room(10**10, 5 * 10**9, place=tmp_path)[0] is True
    assert "nothing is left" in room(0, 0, place=tmp_path)[2]


def test_folders_on_two_disks_are_held_against_their_own(tmp_path: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one disk only")
    needs = [Need("frames", tmp_path, 10**9), Need("history", other, 2 * 10**6)]
    free = {tmp_path: 10**10, other: 10**6}
    found = disk_finding(needs, lambda place: Usage(10**12, 0, free[place]))
    assert (found.passed, found.severity) == (False, "error")
    assert found.detail.startswith(f"2 MB are needed (history 2 MB) and 1 MB free at {other}; 1.0 GB are needed")
    assert disk_finding(needs[:1], lambda place: Usage(10**12, 0, free[place])).passed
