"""Processor time and memory of process trees, by role: sampled from outside, on every platform (psutil)."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import psutil

Role = Literal["browser", "gpu", "page", "driver", "worker", "helper"]
"""`browser` is Chromium's main process, `page` its renderer, `driver` Playwright's, `worker` ours."""
ROLES: tuple[Role, ...] = get_args(Role)

SAMPLE_EVERY_S = 0.5
_CHROMIUM_TYPES: dict[str, Role] = {"gpu-process": "gpu", "renderer": "page"}
_HELPERS = ("crashpad", "resource_tracker", "resource-tracker")


@dataclass(frozen=True)
class Reading:
    """One process at one moment: `cpu_s` is user and system time since its start, `rss_bytes` resident memory."""

    pid: int
    created: float
    role: Role
    cpu_s: float
    rss_bytes: int


@dataclass(frozen=True)
class MemorySample:
    """Resident memory by role `at_s` seconds after the start; pages that processes share count in each of them."""

    at_s: float
    rss_bytes: Mapping[Role, int]

    @property
    def total_bytes(self) -> int:
        """Sum over all roles."""
        return sum(self.rss_bytes.values())


@dataclass(frozen=True)
class Usage:
    """What process trees used over a stretch of time."""

    cpu_s: Mapping[Role, float] = field(default_factory=dict)
    memory: tuple[MemorySample, ...] = ()

    @property
    def peak_rss_bytes(self) -> int:
        """Largest sum over all processes at one moment."""
        return max((sample.total_bytes for sample in self.memory), default=0)

    def __add__(self, other: Usage) -> Usage:
        """Return both stretches together."""
        cpu_s = {role: self.cpu_s.get(role, 0.0) + other.cpu_s.get(role, 0.0) for role in ROLES}
        return Usage(cpu_s, self.memory + other.memory)


class UsageMeter:
    """Adds readings up. What a process used before the first reading does not count; what it used last, does.

    Time that a process used after its last reading is lost: at most one interval's worth a process.
    """

    def __init__(self, baseline: Iterable[Reading] = ()) -> None:
        self._before = {(reading.pid, reading.created): reading.cpu_s for reading in baseline}
        self._last: dict[tuple[int, float], Reading] = {}
        self._memory: list[MemorySample] = []

    def add(self, at_s: float, readings: Iterable[Reading]) -> None:
        """Take in all processes of one moment."""
        memory: dict[Role, int] = dict.fromkeys(ROLES, 0)
        for reading in readings:
            self._last[reading.pid, reading.created] = reading
            memory[reading.role] += reading.rss_bytes
        self._memory.append(MemorySample(at_s, memory))

    def usage(self) -> Usage:
        """Return what was used so far."""
        cpu_s: dict[Role, float] = dict.fromkeys(ROLES, 0.0)
        for key, reading in self._last.items():
            cpu_s[reading.role] += max(0.0, reading.cpu_s - self._before.get(key, 0.0))
        return Usage(cpu_s, tuple(self._memory))


class UsageSampler:
    """A context manager that reads the processes of `find` every `every_s` seconds, on a thread of its own."""

    def __init__(self, find: Callable[[], Sequence[psutil.Process]], every_s: float = SAMPLE_EVERY_S) -> None:
        self._find = find
        self._every_s = every_s
        self._roles: dict[tuple[int, float], Role] = {}
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="usage-sampler", daemon=True)
        self._started_s = time.monotonic()
        self._meter = UsageMeter(self._read())

    def __enter__(self) -> UsageSampler:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        self._thread.join()
        self.usage()

    def usage(self) -> Usage:
        """Read once more and return what was used so far."""
        with self._lock:
            self._meter.add(time.monotonic() - self._started_s, self._read())
            return self._meter.usage()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            self.usage()

    def _read(self) -> list[Reading]:
        readings = []
        for process in self._find():
            with contextlib.suppress(psutil.Error), process.oneshot():
                created = process.create_time()
                times = process.cpu_times()
                role = self._role(process, created)
                rss_bytes = process.memory_info().rss
                readings.append(Reading(process.pid, created, role, times.user + times.system, rss_bytes))
        return readings

    def _role(self, process: psutil.Process, created: float) -> Role:
        key = (process.pid, created)
        # On Linux a renderer is a helper for its first moments, until it is forked and named.
        if self._roles.get(key, "helper") == "helper":
            self._roles[key] = role_of(process.name(), process.cmdline())
        return self._roles[key]


def role_of(name: str, command: Sequence[str]) -> Role:
    """Return a process's role by its name and command line."""
    kind = next((part.partition("=")[2] for part in command if part.startswith("--type=")), None)
    if kind is not None:
        return _CHROMIUM_TYPES.get(kind, "helper")
    if any(word in part for word in _HELPERS for part in (name, *command)):
        return "helper"
    if any(part.startswith("--user-data-dir=") for part in command):
        return "browser"
    return "driver" if name.lower().startswith("node") else "worker"


def descendants(roots: Iterable[psutil.Process], *, without: Iterable[int] = ()) -> list[psutil.Process]:
    """Return the processes below `roots` that are alive, the roots not included, without the trees of some ids."""
    left_out = set(without)
    found = []
    for root in roots:
        with contextlib.suppress(psutil.Error):
            for child in root.children():
                if child.pid not in left_out:
                    found += [child, *_children(child)]
    return found


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []
