"""`nightly_rendering`, off by default: what is not finished goes on at night and stops at the night's end."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from aivj_assets.contracts.lineage import RemovedBatches
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.pack_settings import PackSettings
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot, sha256_file
from aivj_assets.orchestration.automation import busy_partitions
from aivj_assets.orchestration.budget import STOP_AT_TAG
from aivj_assets.orchestration.guard import is_unfinished, one_look
from aivj_assets.orchestration.instance import MANIFEST_TAG
from aivj_assets.orchestration.jobs import batch_job
from aivj_assets.orchestration.lineage.store import lineage_of
from aivj_assets.orchestration.night import Night
from aivj_assets.orchestration.partitions import BATCHES, PACKS
from aivj_assets.orchestration.requires import waiting_for
from aivj_assets.orchestration.resources import DataRootResource
from aivj_assets.orchestration.reuse import LAST_STAGE
from aivj_assets.orchestration.run_config import batch_run_config

NIGHT_SCHEDULE = "nightly_rendering"


@dataclass
class NightWork:
    """The runs of a night, in the order of the batches, and what is left out for a reason that a person can mend."""

    requests: list[dg.RunRequest]
    left_out: list[str]


def night_work(
    instance: dg.DagsterInstance, root: DataRoot, *, begins: dt.datetime, stop_at_epoch_s: float
) -> NightWork:
    """Return one run for each batch that is new, stale or incomplete, and register it as a partition.

    Rejected and removed batches, those whose pack waits for another and those with a run are left alone. All runs end
    at the same time: one that starts late gets what is left of the night.
    """
    work = NightWork([], [])
    waits: dict[str, list[str]] = {}
    with one_look():
        busy = busy_partitions(instance)
        for batch in root.find_batches():
            try:
                if batch.key in busy or not _has_work(instance, root, batch):
                    continue
                if batch.pack not in waits:
                    waits[batch.pack] = waiting_for(instance, root, batch.pack)
                if waits[batch.pack]:
                    work.left_out.append(f"Batch {batch} waits for {'; for '.join(waits[batch.pack])}.")
                    continue
                config = batch_run_config(PackSettings.of_pack(root, batch.pack))
                digest = sha256_file(root.manifest(batch))
            except (UserError, OSError) as error:
                work.left_out.append(f"Batch {batch} is passed over: {error}")
                continue
            tags = {MANIFEST_TAG: digest, "aivj/pack": batch.pack, STOP_AT_TAG: f"{stop_at_epoch_s:.0f}"}
            key = f"{batch.key}:{begins.isoformat()}"
            work.requests.append(dg.RunRequest(run_key=key, partition_key=batch.key, run_config=config, tags=tags))
    # The sensor that registers partitions may be off.
    keys = [str(request.partition_key) for request in work.requests]
    if keys:
        instance.add_dynamic_partitions(str(BATCHES.name), keys)
        instance.add_dynamic_partitions(str(PACKS.name), sorted({BatchKey.parse(key).pack for key in keys}))
    return work


def _has_work(instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey) -> bool:
    if batch.key in RemovedBatches.of(lineage_of(root, batch.pack)).batches:
        return False
    Manifest.load(root.manifest(batch))
    return is_unfinished(instance, root, batch, LAST_STAGE)


def nightly_rendering(environ: Mapping[str, str]) -> dg.ScheduleDefinition:
    """Return the schedule as the environment has it; a wrong variable is told by each tick and by its description."""
    night = Night.of(environ)

    @dg.schedule(
        name=NIGHT_SCHEDULE,
        job=batch_job,
        cron_schedule=night.cron,
        execution_timezone=night.timezone,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=night.problem
        or f"Runs every batch that is not finished, for {night.hours:g} hours from '{night.cron}' ({night.timezone}); "
        "rendering then stops between two presets and goes on the next night.",
    )
    def schedule(context: dg.ScheduleEvaluationContext, data_root: DataRootResource) -> Any:
        if night.problem is not None:
            return dg.SkipReason(night.problem)
        begins = context.scheduled_execution_time
        ends = begins + dt.timedelta(hours=night.hours)
        if dt.datetime.now(dt.UTC) >= ends:
            return dg.SkipReason(f"the night of {begins:%Y-%m-%d} is over since {ends:%H:%M}")
        work = night_work(context.instance, data_root.get(), begins=begins, stop_at_epoch_s=ends.timestamp())
        for sentence in work.left_out:
            context.log.warning(sentence)
        nothing = ["every batch is finished, rejected, removed or at work", *work.left_out]
        return work.requests or dg.SkipReason("; ".join(nothing))

    return schedule
