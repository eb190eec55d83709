"""One process at a time changes what several runs share: a pack's profile, a lineage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from aivj_assets.errors import UserError


@contextmanager
def held_lock(path: Path, *, timeout_s: float = 60.0) -> Iterator[None]:
    """Hold a lock file; raises `UserError` when another process holds it for longer than `timeout_s`.

    The operating system frees it when its holder dies.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=timeout_s)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(f"{path} stays locked; another process hangs. End it and try again.") from None
    try:
        yield
    finally:
        lock.release()
