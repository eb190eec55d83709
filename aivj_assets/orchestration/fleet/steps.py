"""What a worker does with a step that it is given, around Dagster's own execution of it."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dagster as dg
from dagster import DagsterEventType
from dagster._grpc.types import ExecuteStepArgs
from dagster._serdes import serialize_value

from aivj_assets.layout import DataRoot
from aivj_assets.orchestration.fleet.lease import Lease, host_name, lease_place, take
from aivj_assets.orchestration.fleet.settings import FleetSettings

logger = logging.getLogger(__name__)
_ENDS = {DagsterEventType.STEP_SUCCESS, DagsterEventType.STEP_FAILURE, DagsterEventType.STEP_SKIPPED}
_OVER = {
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELING,
    dg.DagsterRunStatus.CANCELED,
}
LEAST_FREE_BYTES = 100_000_000
_DISK_RETRIES, _DISK_WAIT_S = 1000, 5.0
_held: Lease | None = None


def held_lease() -> Lease | None:
    """Return the lease of the step that this process runs, None outside a worker."""
    return _held


def why_stop() -> str | None:
    """Return why the step that this process runs may not go on here, None when it may (always, outside a worker)."""
    return None if _held is None else _held.check() or disk_problem()


def disk_problem() -> str | None:
    """Return that this machine's own disk, where browsers keep their profiles, is full, or None."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    return f"{folder} on {host_name()} is full" if free < LEAST_FREE_BYTES else None


def go_on_elsewhere() -> None:
    """Raise what has the step tried again, here or elsewhere, when this process had to leave off in the middle of it.

    What the step has stored is kept. Does nothing outside a worker.
    """
    if _held is None:
        return
    lost = _held.check()
    if lost is not None:
        raise LeaseLostError(lost)
    if disk_problem() is not None:
        raise dg.RetryRequested(max_retries=_DISK_RETRIES, seconds_to_wait=_DISK_WAIT_S)


class LeaseLostError(Exception):
    """This process may not end its step: another one runs it, or its run is over."""


def why_over(instance: dg.DagsterInstance, run_id: str) -> str | None:
    """Return that a run needs no further steps, or None; nothing is said while the database does not answer."""
    try:
        run = instance.get_run_by_id(run_id)
    except Exception as error:  # noqa: BLE001 - any storage, any driver: a step outlives its restart
        logger.warning("The run's state cannot be read at the moment (%s).", type(error).__name__)
        return None
    if run is None:
        return f"run {run_id} is not known"
    return f"run {run_id} is {run.status.value.lower()}" if run.status in _OVER else None


def events_of_ended_step(instance: dg.DagsterInstance, args: ExecuteStepArgs) -> list[dg.DagsterEvent] | None:
    """Return what a step's run left in the event log when this very try of it has ended already, else None."""
    step_key = only_step(args)
    tries_before = args.known_state.get_retry_state().get_attempt_count(step_key) if args.known_state else 0
    return ended_events(instance, args.run_id, step_key, tries_before)


def ended_events(
    instance: dg.DagsterInstance, run_id: str, step_key: str, tries_before: int
) -> list[dg.DagsterEvent] | None:
    """Return a step's events once the try after `tries_before` others has ended, else None."""
    events: list[dg.DagsterEvent] = []
    tries = 0
    for entry in instance.all_logs(run_id):
        event = entry.dagster_event
        if event is None or event.step_key != step_key or not event.is_step_event:
            continue
        events.append(event)
        if event.event_type == DagsterEventType.STEP_UP_FOR_RETRY:
            tries += 1
            if tries > tries_before:
                return events
            events = []
        elif event.event_type in _ENDS:
            return events
    return None


def only_step(args: ExecuteStepArgs) -> str:
    """Return the key of the one step that a task is for."""
    [step_key] = args.step_keys_to_execute or []
    return step_key


class BusyError(Exception):
    """Another worker runs the step."""


@contextmanager
def leased_step(
    instance: dg.DagsterInstance,
    root: DataRoot,
    settings: FleetSettings,
    args: ExecuteStepArgs,
    *,
    end_process: Callable[[str], None],
) -> Iterator[Lease]:
    """Hold a step's lease; raises `BusyError` when another worker lives that holds it.

    `end_process` is called, from a thread, when this process must not go on with the step.
    """
    global _held  # noqa: PLW0603 - one step a process; ops ask for it
    place = lease_place(root.leases_dir, args.run_id, only_step(args))
    lease = take(place, expiry_s=settings.lease_s)
    if lease is None:
        raise BusyError(f"{only_step(args)} of run {args.run_id} is being run by another worker")
    lease.keep(end_process, lambda: why_over(instance, args.run_id))
    _held = lease
    try:
        yield lease
    finally:
        _held = None
        lease.release()


def end_this_process(reason: str) -> None:
    """End a worker's child at once: the worker gives its step back, which then finds out why it should not run."""
    logger.warning("This step stops: %s.", reason)
    os._exit(1)


def packed(events: list[dg.DagsterEvent]) -> list[str]:
    """Return events as a step's task returns them."""
    return [serialize_value(event) for event in events]


def is_storage_error(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, says that the database did not answer or went away."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if type(error).__name__ in {"OperationalError", "InterfaceError", "DagsterPostgresException", "AdminShutdown"}:
            return True
        error = error.__cause__ or error.__context__
    return False
