"""Finding and ending a browser's processes from outside, on Linux, macOS and Windows alike (psutil).

A browser that hangs in a shader answers nobody, and Playwright for Python gives no process id. A browser is therefore
started with a marker of its own on the command line; the process that carries it, among our descendants, is the root
of the tree that must go.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import psutil

_GONE = (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess)
_KILL_WAIT_S = 5.0


def find_browser_process(marker: str, ancestor: psutil.Process | None = None) -> psutil.Process | None:
    """Return the browser's main process: a descendant (default: of this process) whose command line holds `marker`.

    Chromium's helper processes carry `--type=…` and are passed over.
    """
    for process in _descendants(ancestor or psutil.Process()):
        with contextlib.suppress(*_GONE):
            command = process.cmdline()
            if marker in command and not any(part.startswith("--type=") for part in command):
                return process
    return None


def child_of_ours(process: psutil.Process | None) -> psutil.Process | None:
    """Return the ancestor of `process` (or itself) that this process started; None when there is none."""
    with contextlib.suppress(psutil.Error):
        while process is not None and process.ppid() != os.getpid():
            process = process.parent()
        return process
    return None


def process_tree(root: psutil.Process) -> list[psutil.Process]:
    """Return `root` and its descendants that are alive; empty when `root` is gone."""
    return [root, *_descendants(root)] if is_alive(root) else []


def temporary_folders(browser: psutil.Process) -> list[Path]:
    """Return the folders that a browser leaves behind when it is killed: its profile, and on POSIX its socket's."""
    with contextlib.suppress(*_GONE):
        for part in browser.cmdline():
            if part.startswith("--user-data-dir="):
                profile = Path(part.partition("=")[2])
                folders = [profile]
                with contextlib.suppress(OSError):
                    socket = (profile / "SingletonSocket").readlink()
                    # Made by Chromium for this profile alone, beside it in the temporary folder.
                    if socket.parent.name.startswith(("org.chromium.", "com.google.")):
                        folders.append(socket.parent)
                return folders
    return []


def is_alive(process: psutil.Process) -> bool:
    """Tell whether a process runs. A zombie is dead; another process that took the id is not this one."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def tree_memory_bytes(processes: Iterable[psutil.Process]) -> dict[int, int]:
    """Return the resident memory of each process that is alive, by process id, in bytes."""
    memory: dict[int, int] = {}
    for process in processes:
        with contextlib.suppress(*_GONE):
            memory[process.pid] = int(process.memory_info().rss)
    return memory


def kill_processes(processes: Sequence[psutil.Process], wait_s: float = _KILL_WAIT_S) -> list[psutil.Process]:
    """Kill processes and what they started meanwhile; returns those that are still alive after `wait_s` seconds.

    SIGKILL on POSIX, TerminateProcess on Windows: neither asks the process. Children come first, so that none is
    handed to another parent before it is known.
    """
    known = {process.pid: process for process in processes}
    for process in processes:
        known.update((child.pid, child) for child in _descendants(process))
    for process in reversed(list(known.values())):
        with contextlib.suppress(*_GONE):
            process.kill()
    deadline = time.monotonic() + wait_s
    alive = list(known.values())
    while alive and time.monotonic() < deadline:
        alive = [process for process in alive if is_alive(process)]
        if alive:
            time.sleep(0.02)
    return alive


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except _GONE:
        return []
