"""Runs that are history: each leaves an event log and what its steps printed, and Dagster itself keeps them for ever.

What a run made last, and what its checks said last, is what the gates rest on: such a run stays, however old.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster import AssetKey, AssetRecordsFilter, DagsterEventType
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

from aivj_assets.errors import UserError
from aivj_assets.orchestration.batch_status import UNFINISHED_RUNS
from aivj_assets.orchestration.remedies import REMEDY_TAG

KEPT_DAYS_VARIABLE = "AIVJ_RUNS_KEPT_DAYS"
DEFAULT_KEPT_DAYS = 90

_PAGE = 50
_TOLD = {
    DagsterEventType.ASSET_MATERIALIZATION,
    DagsterEventType.ASSET_OBSERVATION,
    DagsterEventType.ASSET_CHECK_EVALUATION,
}
_ENDED = [status for status in dg.DagsterRunStatus if status not in UNFINISHED_RUNS]


def kept_days(environ: Mapping[str, str]) -> int:
    """Return how many days runs are kept at least: `AIVJ_RUNS_KEPT_DAYS`, else 90; 0 keeps all of them.

    Raises `UserError` for what is no number of days.
    """
    text = environ.get(KEPT_DAYS_VARIABLE, "").strip()
    if not text:
        return DEFAULT_KEPT_DAYS
    if not text.isdecimal() or int(text) > 36_500:
        raise UserError(f"{KEPT_DAYS_VARIABLE} is '{text}'; give a number of days, or 0 to keep all runs.")
    return int(text)


def forget_superseded(
    instance: dg.DagsterInstance, *, older_than_days: float, time_limit_s: float = 30.0, after: str | None = None
) -> tuple[list[str], str | None]:
    """Delete ended runs that are older and superseded, with what their steps printed.

    Returns the ids of the deleted runs and where the next call goes on (`after`), None when all were looked at. A run
    stays while it made the latest materialisation or observation of an asset's partition or its check's latest
    evaluation, is the last one of its job for its partition, or counts as a try of a remedy.
    """
    deleted: list[str] = []
    latest, deadline = _Latest(instance), time.monotonic() + time_limit_s
    before = datetime.now(UTC) - timedelta(days=older_than_days)
    for run in _ended_runs(instance, before, after):
        if time.monotonic() >= deadline:
            return deleted, after
        if REMEDY_TAG in run.tags or latest.needs(run):
            after = run.run_id
        else:
            delete_run(instance, run.run_id)
            deleted.append(run.run_id)
    return deleted, None


def _ended_runs(instance: dg.DagsterInstance, before: datetime, after: str | None) -> Iterator[dg.DagsterRun]:
    """Yield ended runs, the oldest first; those that were yielded may be deleted meanwhile."""
    seen: set[str] = set()
    while True:
        records = instance.get_run_records(
            dg.RunsFilter(statuses=_ENDED, created_before=before), limit=_PAGE, ascending=True, cursor=after
        )
        fresh = [record.dagster_run for record in records if record.dagster_run.run_id not in seen]
        if not fresh:
            return
        for run in fresh:
            seen.add(run.run_id)
            yield run
        kept = instance.get_runs(dg.RunsFilter(run_ids=[run.run_id for run in fresh]))
        # A cursor must be a run that is still there.
        after = next((run.run_id for run in reversed(fresh) if run.run_id in {one.run_id for one in kept}), after)


def delete_run(instance: dg.DagsterInstance, run_id: str) -> None:
    """Delete a run, its events and what its steps printed."""
    instance.delete_run(run_id)
    with contextlib.suppress(OSError, NotImplementedError):
        instance.compute_log_manager.delete_logs(prefix=[run_id])
    storage = instance.event_log_storage
    if isinstance(storage, SqliteEventLogStorage):
        # Its own database is left empty, and as large as it was.
        shard = Path(storage.path_for_shard(run_id))
        for path in (shard, shard.with_name(f"{shard.name}-wal"), shard.with_name(f"{shard.name}-shm")):
            with contextlib.suppress(OSError):
                path.unlink()


@dataclass
class _Latest:
    """Which run was the last to tell something, looked up once a thing."""

    instance: dg.DagsterInstance
    known: dict[tuple[object, ...], str | None] = field(default_factory=dict)

    def needs(self, run: dg.DagsterRun) -> bool:
        """Whether anything that a run told is the latest of its kind."""
        partition = run.tags.get("dagster/partition")
        if self._is(("run", run.job_name, partition), run.run_id, lambda: self._last_run(run.job_name, partition)):
            return True
        for entry in self.instance.all_logs(run.run_id, of_type=_TOLD):
            event = entry.dagster_event
            if event is not None and self._is_latest(event, run.run_id):
                return True
        return False

    def _is_latest(self, event: dg.DagsterEvent, run_id: str) -> bool:
        if event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            check = dg.AssetCheckKey(evaluation.asset_key, evaluation.check_name)
            return self._is(
                (check, evaluation.partition), run_id, lambda: self._last_evaluation(check, evaluation.partition)
            )
        asset, partition, kind = event.asset_key, event.partition, event.event_type
        if asset is None:
            return False
        return self._is((kind, asset, partition), run_id, lambda: self._last_event(kind, asset, partition))

    def _is(self, thing: tuple[object, ...], run_id: str, find: Callable[[], str | None]) -> bool:
        if thing not in self.known:
            self.known[thing] = find()
        return self.known[thing] == run_id

    def _last_run(self, job: str, partition: str | None) -> str | None:
        tags = {} if partition is None else {"dagster/partition": partition}
        runs = self.instance.get_runs(dg.RunsFilter(job_name=job, tags=tags), limit=1)
        return runs[0].run_id if runs else None

    def _last_event(self, kind: DagsterEventType, asset: AssetKey, partition: str | None) -> str | None:
        wanted = AssetRecordsFilter(asset, asset_partitions=None if partition is None else [partition])
        fetch = self.instance.fetch_materializations
        if kind == DagsterEventType.ASSET_OBSERVATION:
            fetch = self.instance.fetch_observations
        records = fetch(wanted, limit=1).records
        return records[0].run_id if records else None

    def _last_evaluation(self, check: dg.AssetCheckKey, partition: str | None) -> str | None:
        records = self.instance.event_log_storage.get_asset_check_execution_history(
            check, limit=1, partition_filter=PartitionKeyFilter(key=partition)
        )
        return records[0].run_id if records else None
