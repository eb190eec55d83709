"""What `aivj doctor --cluster` asks of each worker: whether it sees the same folder and the same locks."""

from __future__ import annotations

import os
from typing import Any

from celery.worker.control import inspect_command
from filelock import FileLock, Timeout

from aivj_assets.layout import resolve_data_root

TOKEN_NAME, LOCK_NAME = "doctor.token", "doctor.lock"


def aivj_look(_state: Any) -> dict[str, Any]:
    """Return the token that lies in the shared folder as this worker sees it, and whether the doctor's lock holds here.

    Answered by the worker's main process, also while its steps are at work.
    """
    folder = resolve_data_root(os.environ).fleet_dir
    try:
        token = (folder / TOKEN_NAME).read_text(encoding="utf-8")
    except OSError as error:
        return {"token": None, "locked": False, "problem": str(error.strerror)}
    lock = FileLock(folder / LOCK_NAME, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return {"token": token, "locked": True, "problem": None}
    lock.release()
    return {"token": token, "locked": False, "problem": None}


def add_command() -> None:
    """Make the command one of those that this process's worker answers."""
    inspect_command()(aivj_look)
