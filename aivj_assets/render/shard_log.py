"""A shard's log, and storing a preset's frames: what makes a rendering resumable after a crash at any point.

A preset's frames are complete on disk before its line is appended; a line counts only with its line end.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from aivj_assets.contracts.frames_index import (
    FailedRecord,
    OkRecord,
    encode_record,
    frame_paths,
    read_records,
    whole_length,
)
from aivj_assets.errors import UserError
from aivj_assets.layout import DISK_FULL_ERRNOS, BatchDir, write_bytes_atomic

_WINDOWS_DISK_FULL = {39, 112}  # ERROR_HANDLE_DISK_FULL, ERROR_DISK_FULL


class ShardLog:
    """`<batch>/frames-shards/<shard>.jsonl`, appended one line a preset, each flushed to the disk."""

    def __init__(self, batch_dir: BatchDir, shard: str) -> None:
        self.path = batch_dir.shard_logs_dir / f"{shard}.jsonl"

    def open(self) -> dict[str, OkRecord | FailedRecord]:
        """Make the log ready for appending and return what it holds; a line torn by a crash is cut off."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b") as file:
                file.seek(0)
                data = file.read()
                if len(data) != whole_length(data):
                    file.truncate(whole_length(data))
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            raise storage_error(error, self.path) from None
        return read_records(self.path)

    def append(self, record: OkRecord | FailedRecord) -> None:
        """Append one line; raises `UserError` when it cannot be stored."""
        try:
            with self.path.open("ab") as file:
                file.write(encode_record(record))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise storage_error(error, self.path) from None


def store_frames(batch_dir: BatchDir, id_hash: str, frames: Sequence[bytes], suffix: str) -> list[str]:
    """Write a preset's frames in place of those that lie there; returns their paths relative to the batch's folder.

    Raises `UserError` when the disk is full or cannot be written.
    """
    paths = frame_paths(id_hash, len(frames), suffix)
    folder = batch_dir.frame_folder(id_hash)
    try:
        for path, data in zip(paths, frames, strict=True):
            write_bytes_atomic(batch_dir.path / path, data)
        names = {Path(path).name for path in paths}
        for other in folder.iterdir():  # of an earlier rendering, or temporary files of a crash
            if other.name not in names:
                other.unlink()
    except OSError as error:
        raise storage_error(error, folder) from None
    return paths


def remove_frames(batch_dir: BatchDir, id_hash: str) -> None:
    """Remove a preset's frames, if there are any; raises `UserError` when a file cannot be removed."""
    folder = batch_dir.frame_folder(id_hash)
    try:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        raise storage_error(error, folder) from None


def storage_error(error: OSError, path: Path) -> UserError:
    """Return the one line for a file that cannot be stored."""
    if error.errno in DISK_FULL_ERRNOS or getattr(error, "winerror", None) in _WINDOWS_DISK_FULL:
        return UserError(f"The disk is full at {path}: make room and run again; what is rendered is kept.")
    return UserError(
        f"{path} cannot be written ({error.strerror or error}): mend its permissions or close the program that holds "
        "it, and run again; what is rendered is kept."
    )
