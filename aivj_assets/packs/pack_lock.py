"""Who may write a pack's manifests: one import or split at a time, and its errors of the disk in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from aivj_assets.errors import UserError
from aivj_assets.layout import DISK_FULL_ERRNOS, DataRoot


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn a disk that is full or may not be written into a `UserError`."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL_ERRNOS:
            raise UserError(f"The disk is full: {folder} could not be written. Free some space and repeat.") from None
        raise UserError(f"{error.filename or folder} cannot be written: {error.strerror or error}.") from None


@contextmanager
def pack_lock(root: DataRoot, pack: str) -> Iterator[None]:
    """Hold the lock of a pack whose folder exists; raises `UserError` when another process holds it."""
    try:
        with FileLock(root.import_lock(pack), timeout=0):
            yield
    except Timeout:
        raise UserError(f"Another import or split of the pack '{pack}' is running; wait until it has ended.") from None
