"""Storing frames and lines: stale files go, a full disk is one clear line."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from aivj_assets.contracts.frames_index import FailedRecord
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir
from aivj_assets.render import shard_log
from aivj_assets.render.shard_log import ShardLog, remove_frames, storage_error, store_frames

HASH = "0123456789abcdef"


def test_frames_replace_those_of_an_earlier_rendering(tmp_path: Path) -> None:
    batch = BatchDir(tmp_path)
    store_frames(batch, HASH, [b"old"] * 5, "png")
    (batch.frame_folder(HASH) / ".frame-000.webp.1-2.tmp").write_bytes(b"half")
    paths = store_frames(batch, HASH, [b"a", b"b"], "webp")
    assert paths == [f"frames/01/23/{HASH}/frame-000.webp", f"frames/01/23/{HASH}/frame-001.webp"]
    assert sorted(path.name for path in batch.frame_folder(HASH).iterdir()) == ["frame-000.webp", "frame-001.webp"]
    assert (tmp_path / paths[1]).read_bytes() == b"b"


def test_removing_frames(tmp_path: Path) -> None:
    batch = BatchDir(tmp_path)
    store_frames(batch, HASH, [b"a"], "webp")
    remove_frames(batch, HASH)
    remove_frames(batch, HASH)
    assert not batch.frame_folder(HASH).exists()


def test_a_full_disk_while_storing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: Path, _data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shard_log, "write_bytes_atomic", full)
    with pytest.raises(UserError, match=r"disk is full .* make room"):
        store_frames(BatchDir(tmp_path), HASH, [b"a"], "webp")


def test_windows_disk_full_is_told_by_its_own_number() -> None:
    error = OSError(errno.EINVAL, "There is not enough space on the disk")
    error.winerror = 112  # type: ignore[attr-defined,unused-ignore]
    assert "disk is full" in str(storage_error(error, Path("x")))


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "frames-shards").write_text("a file where the folder belongs", encoding="utf-8")
    with pytest.raises(UserError, match="frames-shards"):
        ShardLog(BatchDir(tmp_path), "s0").open()


def test_each_line_is_on_disk_when_append_returns(tmp_path: Path) -> None:
    log = ShardLog(BatchDir(tmp_path), "s0")
    assert log.open() == {}
    for number in range(3):
        log.append(FailedRecord(preset_id=f"p{number}", rel_path="", file_path="", reasons=["empty"]))
        assert log.path.read_bytes().count(b"\n") == number + 1
    assert list(log.open()) == ["p0", "p1", "p2"]
