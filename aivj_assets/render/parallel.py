"""Jobs in processes of their own, for commands that render outside Dagster.

Processes are spawned on every platform: a forked one would share the driver's pipes.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import psutil

from aivj_assets.errors import UserError
from aivj_assets.render.processes import kill_processes, process_tree

Job = TypeVar("Job")
Result = TypeVar("Result")

_TICK_S = 0.25
_MOST_WORKERS = 61  # Windows waits for no more processes at once
# A worker that is told to stop finishes the preset at hand first.
_STOP_WAIT_S = 10.0

_stop_event: Any = None


def run_in_processes(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    workers: int,
    tick: Callable[[Sequence[int]], None] | None = None,
) -> list[Result]:
    """Return `function` of each job, in the jobs' order, computed by at most `workers` spawned processes.

    `function` is a module's own (it is pickled by name) and asks `stop_reason` now and then. `tick` is called about
    four times a second with the process ids of the workers. The first exception of a job ends the others and is raised;
    Ctrl-C ends them too. No process of theirs stays. Raises `UserError` when a worker was killed.
    """
    if not jobs:
        return []
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    ours = {process.pid for process in multiprocessing.active_children()}
    size = min(workers, len(jobs), _MOST_WORKERS)
    executor = ProcessPoolExecutor(size, mp_context=context, initializer=begin_worker, initargs=(stop,))
    try:
        futures = [executor.submit(function, job) for job in jobs]
        _wait(futures, tick, ours)
        return [future.result() for future in futures]
    except BrokenProcessPool:
        raise UserError(
            "A rendering process was ended from outside, perhaps for want of memory: close other programs, or use "
            "fewer workers."
        ) from None
    finally:
        stop.set()
        started = _started_since(ours)
        executor.shutdown(wait=False, cancel_futures=True)
        _end(started)


def stop_reason() -> str | None:
    """Return, in a worker, why it should stop, or None."""
    if _stop_event is not None and _stop_event.is_set():
        return "the command was stopped"
    parent = multiprocessing.parent_process()
    return None if parent is None or parent.is_alive() else "the command that started this no longer lives"


def begin_worker(stop: Any) -> None:
    """Prepare a spawned process: `stop`, an event, ends its work (`stop_reason`); Ctrl-C does not."""
    global _stop_event  # noqa: PLW0603
    _stop_event = stop
    # Ctrl-C reaches every process of a terminal: the one that started this worker tells it to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What concerns the machine was said once, by the process that started the workers.
    logging.getLogger("aivj_assets").setLevel(logging.ERROR)


def _wait(futures: Sequence[Future[Any]], tick: Callable[[Sequence[int]], None] | None, ours: set[int | None]) -> None:
    while True:
        done, left = wait(futures, timeout=_TICK_S, return_when=FIRST_EXCEPTION)
        if tick is not None:
            tick([process.pid for process in _started_since(ours) if process.pid is not None])
        for future in done:
            future.result()  # raises what the job raised, whichever job it was
        if not left:
            return


def _started_since(ours: set[int | None]) -> list[BaseProcess]:
    return [process for process in multiprocessing.active_children() if process.pid not in ours]


def _end(processes: Sequence[BaseProcess]) -> None:
    """Wait for workers to end, then kill what is left of them with their browsers."""
    deadline = time.monotonic() + _STOP_WAIT_S
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    for process in processes:
        if process.is_alive() and process.pid is not None:
            try:
                kill_processes(process_tree(psutil.Process(process.pid)))
            except psutil.NoSuchProcess:
                continue
