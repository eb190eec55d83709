"""One run at a time works on a batch folder; the lock of a dead run is taken over.

The lock is a file that names the run, its main process and the processes of its steps. A run killed with -9 leaves its
steps behind for a moment as orphans: they stop by themselves between two presets (`parent_is_alive`), and whoever
takes the lock over waits for them, so that no preset is rendered twice.

Where a run's steps are processes of many machines (`MANY_MACHINES`), only the run's end frees the batch, and the steps
that still live are known by their leases.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from aivj_assets.contracts.base import utc_now
from aivj_assets.errors import UserError
from aivj_assets.layout import write_json_atomic
from aivj_assets.orchestration.file_lock import held_lock

_MUTEX_TIMEOUT_S = 30.0
_ORPHAN_WAIT_S = 60.0
MANY_MACHINES = "many machines"
"""In place of a host: the steps of the run are not processes of one machine."""


@dataclass(frozen=True)
class ProcessMark:
    """A process, told apart from a later one with the same pid by its start time."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> ProcessMark | None:
        """Return the mark of a living process."""
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.Error:
            return None

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


@dataclass
class LockState:
    """Who holds a batch."""

    run_id: str
    host: str
    since: str
    owner: ProcessMark | None
    steps: list[ProcessMark] = field(default_factory=list)


def _read(path: Path) -> LockState | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        owner = ProcessMark(**data["owner"]) if data["owner"] else None
        return LockState(
            data["run_id"], data["host"], data["since"], owner, [ProcessMark(**mark) for mark in data["steps"]]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def acquire_batch(
    path: Path,
    *,
    batch: str,
    run_id: str,
    owner_pid: int | None,
    run_is_over: Callable[[str], bool | None],
    living_steps: Callable[[str], list[str]] = lambda _run_id: [],
    orphan_wait_s: float = _ORPHAN_WAIT_S,
) -> None:
    """Take the lock for `run_id`, or join it when the run holds it already.

    `owner_pid` is the run's main process, None where its steps are processes of many machines;
    `run_is_over(run_id)` says whether another run has ended, None when it is not known here (another history, or
    deleted); `living_steps(run_id)` lists the steps of a run on many machines that still live, wherever. Raises
    `UserError` naming the holder when another run is alive.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + orphan_wait_s
    while True:
        with held_lock(path.with_suffix(".mutex"), timeout_s=_MUTEX_TIMEOUT_S):
            state = _read(path)
            if state is None or state.run_id == run_id or _is_free(state, run_is_over, living_steps):
                _write(path, state if state and state.run_id == run_id else None, run_id, owner_pid)
                return
        orphaned = _owner_is_gone(state, run_is_over)
        if not orphaned or time.monotonic() > deadline:
            steps = ", ".join([*(str(mark.pid) for mark in state.steps if mark.alive), *living_steps(state.run_id)])
            process = state.owner.pid if state.owner else "unknown"
            what = f"run {state.run_id} (since {state.since}, host {state.host}, process {process})"
            hint = f"its steps still run as processes {steps}; end them" if orphaned else "wait for it or terminate it"
            raise UserError(f"Batch {batch} is being worked on by {what}; {hint}, then run again.")
        time.sleep(0.5)


def _owner_is_gone(state: LockState, run_is_over: Callable[[str], bool | None]) -> bool:
    over = run_is_over(state.run_id)
    if over:
        return True
    if state.host == socket.gethostname():
        # A run of another history in this very process (a notebook) has ended: steps do not overlap in one process.
        own = over is None and state.owner is not None and state.owner.pid == os.getpid()
        return own or state.owner is None or not state.owner.alive
    # Another machine's processes cannot be seen from here: only its run's end frees the batch.
    return over is None


def _is_free(
    state: LockState, run_is_over: Callable[[str], bool | None], living_steps: Callable[[str], list[str]]
) -> bool:
    if not _owner_is_gone(state, run_is_over):
        return False
    if state.host == MANY_MACHINES:
        return not living_steps(state.run_id)
    return state.host != socket.gethostname() or not any(mark.alive for mark in state.steps if mark.pid != os.getpid())


def _write(path: Path, state: LockState | None, run_id: str, owner_pid: int | None) -> None:
    if owner_pid is None:
        if state is None:
            write_json_atomic(path, asdict(LockState(run_id, MANY_MACHINES, utc_now(), None)))
        return
    if state is None:
        state = LockState(run_id, socket.gethostname(), utc_now(), ProcessMark.of(owner_pid))
    mine = ProcessMark.of(os.getpid())
    if mine and mine.pid != owner_pid:
        state.steps = [mark for mark in state.steps if mark.alive and mark != mine] + [mine]
    write_json_atomic(path, asdict(state))


def dead_run_of(path: Path) -> str | None:
    """Return the run that a lock names when it was started on this machine and its main process no longer lives."""
    state = _read(path)
    if state is None or state.host != socket.gethostname():
        return None
    return None if state.owner is not None and state.owner.alive else state.run_id


def living_run_of(path: Path) -> str | None:
    """Return the run that a lock names when its main process lives on this machine."""
    state = _read(path)
    if state is None or state.host != socket.gethostname() or state.owner is None or not state.owner.alive:
        return None
    return state.run_id


def parent_is_alive(parent: ProcessMark | None) -> bool:
    """Whether the process that started this one still runs; a step whose run was killed stops by this."""
    return parent is None or parent.alive
