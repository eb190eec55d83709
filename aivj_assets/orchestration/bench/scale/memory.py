"""The largest memory and the CPU time of each process of a tree, watched from outside."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

_EVERY_S = 0.5


class MemoryWatch:
    """Peaks by process id, in bytes. Linux and Windows tell a process's own high-water mark, macOS the present one.

    `cpu_s` is the CPU time that the processes took meanwhile. The last half second of each may be missing in both.
    """

    def __init__(self, root: psutil.Process) -> None:
        self._root = root
        self._cpu_s: dict[int, tuple[float, float]] = {}
        self._looked = False
        self.peaks: dict[int, int] = {}

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all processes since the watch began."""
        return sum(last - first for first, last in self._cpu_s.values())

    @property
    def largest_bytes(self) -> int:
        """The largest peak of any process."""
        return max(self.peaks.values(), default=0)

    def look(self) -> None:
        """Read the memory of every process of the tree."""
        try:
            tree = [self._root, *self._root.children(recursive=True)]
        except psutil.Error:
            return
        for process in tree:
            with contextlib.suppress(psutil.Error, OSError):
                # This very process has done other things before: of it, what it holds now.
                own = process.pid == os.getpid()
                held = int(process.memory_info().rss) if own else high_water_bytes(process)
                self.peaks[process.pid] = max(held, self.peaks.get(process.pid, 0))
                times = process.cpu_times()
                spent = times.user + times.system
                # A process that begins meanwhile counts whole; one that was there counts from now.
                first = spent if not self._looked else 0.0
                self._cpu_s[process.pid] = (self._cpu_s.get(process.pid, (first, 0.0))[0], spent)
        self._looked = True


def high_water_bytes(process: psutil.Process) -> int:
    """Return the largest resident memory that a process has had, where the system tells it, else the present one."""
    if sys.platform == "linux":
        for line in Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    info = process.memory_info()
    return int(getattr(info, "peak_wset", info.rss))


@contextmanager
def watched_memory(root: psutil.Process | None = None) -> Iterator[MemoryWatch]:
    """Watch a process (by default this one) and its descendants while the block runs."""
    watch, done = MemoryWatch(root or psutil.Process()), threading.Event()

    watch.look()

    def follow() -> None:
        while not done.wait(_EVERY_S):
            watch.look()

    follower = threading.Thread(target=follow, name="memory", daemon=True)
    follower.start()
    try:
        yield watch
    finally:
        done.set()
        follower.join()
        watch.look()
