"""Sensors: they only discover. New or changed manifests become batches and runs, accepted batches publications."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.pack_settings import PackSettings
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot, sha256_file
from aivj_assets.orchestration.assets.publication import unfinished_batches
from aivj_assets.orchestration.automation import PRIORITY_TAG, STARTED, automation_is_on
from aivj_assets.orchestration.guard import acceptance_problem
from aivj_assets.orchestration.instance import MANIFEST_TAG, PROCESS_TAG, report_dead_runs
from aivj_assets.orchestration.jobs import PACK_JOBS, batch_job, publish_job
from aivj_assets.orchestration.lineage.acts import has_accepted_batch, lineage_job, packs_of_act
from aivj_assets.orchestration.partitions import BATCHES, PACKS
from aivj_assets.orchestration.requires import waiting_for
from aivj_assets.orchestration.resources import DataRootResource
from aivj_assets.orchestration.run_config import batch_run_config
from aivj_assets.orchestration.stages import PUBLISHED_STAGE, STAGES

_RUNS_LOOKED_AT = 50


@dataclass
class Discovery:
    """What a look at the data root found, in sorted order. `seen` is the next cursor: {batch: manifest SHA-256}."""

    new: list[tuple[BatchKey, str]] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    seen: dict[str, str] = field(default_factory=dict)


def discover_batches(root: DataRoot, seen: Mapping[str, str]) -> Discovery:
    """Compare the manifests under the data root with those seen before.

    A manifest counts as new when its bytes changed. An unreadable one is reported each time until it changes, and
    never becomes a batch. A deleted one is reported once.
    """
    found = Discovery()
    for batch in root.find_batches():
        path = root.manifest(batch)
        try:
            digest = sha256_file(path)
            if seen.get(batch.key) == digest:
                found.seen[batch.key] = digest
                continue
            Manifest.load(path)
        except (UserError, OSError) as error:
            # Not remembered: a manifest that is being copied in is whole at a later look.
            found.unreadable[batch.key] = str(error)
            continue
        found.new.append((batch, digest))
        found.seen[batch.key] = digest
    found.deleted = sorted(set(seen) - set(found.seen) - set(found.unreadable))
    return found


def parse_cursor(cursor: str | None) -> dict[str, str]:
    """Return {batch: manifest SHA-256} from a sensor's cursor; a cursor of another form is empty."""
    try:
        data = json.loads(cursor or "{}")
    except ValueError:
        return {}
    return {str(key): str(value) for key, value in data.items()} if isinstance(data, dict) else {}


def was_run(instance: dg.DagsterInstance, batch: BatchKey, digest: str) -> bool:
    """Whether there is a run of this very manifest."""
    tags = {MANIFEST_TAG: digest, "dagster/partition": batch.key}
    return instance.get_runs_count(dg.RunsFilter(tags=tags)) > 0


def last_manifest_run(instance: dg.DagsterInstance, batch: BatchKey) -> str | None:
    """Return the manifest's SHA-256 of a batch's latest run that began, by whomever started (e.g. `aivj run`)."""
    records = instance.get_run_records(dg.RunsFilter(tags={"dagster/partition": batch.key}), limit=_RUNS_LOOKED_AT)
    never_ran = {dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
    for record in records:
        began = record.start_time is not None or record.dagster_run.status not in never_ran
        digest = record.dagster_run.tags.get(MANIFEST_TAG)
        if began and digest is not None:
            return digest
    return None


def batch_request(
    root: DataRoot, batch: BatchKey, digest: str, after: str | None = None, *, only: Sequence[str] | None = None
) -> dg.RunRequest:
    """Return the run of one manifest; its key makes sure that it starts once.

    `after` is the manifest that ran last: one that comes back in its place is run again. `only` are the assets to make.
    """
    config = batch_run_config(PackSettings.of_pack(root, batch.pack))
    if only is not None and "ops" in config:
        config["ops"] = {name: value for name, value in config["ops"].items() if name in only}
    return dg.RunRequest(
        run_key=f"{batch.key}:{digest}" + (f":after-{after[:16]}" if after else ""),
        partition_key=batch.key,
        run_config=config,
        tags={MANIFEST_TAG: digest, "aivj/pack": batch.pack},
        asset_selection=None if only is None else [dg.AssetKey(name) for name in only],
    )


@dataclass
class _Wanted:
    """What a tick asks for. `held` are batches that get a partition and no run: their pack waits for another."""

    requests: list[dg.RunRequest] = field(default_factory=list)
    held: list[BatchKey] = field(default_factory=list)
    waits: dict[str, list[str]] = field(default_factory=dict)


def _wanted(
    context: dg.SensorEvaluationContext, root: DataRoot, found: Discovery, only: Sequence[str] | None
) -> _Wanted:
    """Return the runs of new manifests; what cannot run now is taken out of `found.seen`, so that it is seen again."""
    wanted = _Wanted()
    for batch, digest in found.new:
        last = last_manifest_run(context.instance, batch)
        if last == digest:
            continue
        try:
            if batch.pack not in wanted.waits:
                wanted.waits[batch.pack] = waiting_for(context.instance, root, batch.pack)
            if wanted.waits[batch.pack]:
                found.seen.pop(batch.key)
                wanted.held.append(batch)
                continue
            came_back = last is not None and was_run(context.instance, batch, digest)
            wanted.requests.append(batch_request(root, batch, digest, last if came_back else None, only=only))
        except UserError as error:
            found.seen.pop(batch.key)
            context.log.error(f"Batch {batch} is passed over: {error}")  # noqa: TRY400 - a line, no traceback
    return wanted


def _location(context: dg.SensorEvaluationContext) -> str | None:
    origin = context.code_location_origin
    return None if origin is None else origin.location_name


@dg.sensor(
    job=batch_job,
    minimum_interval_seconds=20,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Each new or changed manifest under public/presets becomes a batch and one run.",
)
def new_manifest_batches(context: dg.SensorEvaluationContext, data_root: DataRootResource) -> dg.SensorResult:
    """Register batches and packs, and ask for one run per new or changed manifest."""
    root = data_root.get()
    for run_id in report_dead_runs(context.instance, root):
        context.log.warning(f"Run {run_id} was marked as failed: its process no longer lives.")
    found = discover_batches(root, parse_cursor(context.cursor))
    for key, problem in found.unreadable.items():
        context.log.error(f"Batch {key} is passed over: {problem}")
    for key in found.deleted:
        context.log.warning(f"The manifest of batch {key} is gone; nothing of the batch is deleted.")
    only = None
    if automation_is_on(context.instance, _location(context)):
        only = STARTED
        context.log.info("Declarative automation is on: new manifests start presets and frames, the rest flows.")
    wanted = _wanted(context, root, found, only)
    waiting = [f"pack '{pack}' waits for {'; for '.join(waits)}" for pack, waits in wanted.waits.items() if waits]
    for sentence in waiting:
        context.log.warning(f"{sentence[0].upper()}{sentence[1:]}.")
    known = set(context.instance.get_dynamic_partitions(BATCHES.name or ""))
    known_packs = set(context.instance.get_dynamic_partitions(PACKS.name or ""))
    held = {batch.key for batch in wanted.held}
    batches = [batch.key for batch, _ in found.new if batch.key in found.seen.keys() | held and batch.key not in known]
    packs = sorted({BatchKey.parse(key).pack for key in found.seen.keys() | held} - known_packs)
    partitions: list[Any] = []
    if batches:
        partitions.append(BATCHES.build_add_request(batches))
    if packs:
        partitions.append(PACKS.build_add_request(packs))
    skip = None
    if not wanted.requests:
        skip = f"{len(found.seen)} manifests known, none new" + (
            f", {len(found.unreadable)} unreadable" if found.unreadable else ""
        )
        skip = "; ".join([skip, *waiting])
    return dg.SensorResult(
        run_requests=wanted.requests,
        dynamic_partitions_requests=partitions,
        cursor=json.dumps(found.seen, sort_keys=True),
        skip_reason=skip,
    )


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    request_job=publish_job,
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=15,
    description="After a run of a batch, by whatever button, its pack is published if the batch is accepted; after an "
    "act on a lineage its packs are.",
)
def publish_accepted_batches(
    context: dg.RunStatusSensorContext, data_root: DataRootResource
) -> dg.RunRequest | dg.SensorResult | dg.SkipReason:
    """Ask for the publication of the pack whose batch has just been made, when it is accepted."""
    run = context.dagster_run
    if run.job_name == lineage_job.name:
        return _after_act(context, data_root.get())
    partition = run.tags.get("dagster/partition")
    left_to_others = _why_not_ours(context)
    if partition is None or left_to_others:
        return dg.SkipReason(left_to_others or "the run made no batch")
    batch = BatchKey.parse(partition)
    problem = acceptance_problem(context.instance, data_root.get(), batch, PUBLISHED_STAGE)
    if problem is not None:
        return dg.SkipReason(f"batch {batch} is not accepted: {problem}")
    waiting = unfinished_batches(context.instance, data_root.get(), batch.pack)
    if waiting:
        # Its own run asks again when it has ended.
        return dg.SkipReason(f"batch {waiting[0]}, which is published, is being made again")
    return _publication_request(batch.pack, run.run_id)


def _why_not_ours(context: dg.RunStatusSensorContext) -> str | None:
    """Return why this sensor does not publish after a run, or None."""
    run = context.dagster_run
    selected = run.asset_selection or ()
    of_packs = bool(selected) and not any(key.to_user_string() in STAGES for key in selected)
    if of_packs or run.job_name in PACK_JOBS:
        return "the run made no batch"
    if PROCESS_TAG in run.tags:
        return "the command line publishes what it has run"
    origin = run.remote_job_origin
    if automation_is_on(context.instance, None if origin is None else origin.location_name):
        return "declarative automation is on: it publishes"
    return None


def _publication_request(pack: str, run_id: str) -> dg.RunRequest:
    # It takes seconds, and must not wait for a backfill of all other batches to end.
    tags = {"aivj/pack": pack, PRIORITY_TAG: "1"}
    return dg.RunRequest(run_key=f"{pack}:{run_id}", partition_key=pack, tags=tags)


def _after_act(context: dg.RunStatusSensorContext, root: DataRoot) -> dg.SensorResult | dg.SkipReason:
    """Ask for the publication of every pack whose ids an act may have changed."""
    run = context.dagster_run
    if PROCESS_TAG in run.tags:
        return dg.SkipReason("the command line publishes what it has done")
    ops: Any = run.run_config.get("ops", {})
    config = ops.get("lineage_act", {}).get("config", {})
    packs = packs_of_act(root, config.get("act"), config.get("lineage"), config.get("batch"))
    accepted = [pack for pack in packs if has_accepted_batch(context.instance, root, pack)]
    if not accepted:
        return dg.SkipReason("the act changes no published pack")
    return dg.SensorResult(run_requests=[_publication_request(pack, run.run_id) for pack in accepted])
