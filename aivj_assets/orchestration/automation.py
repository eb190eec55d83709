"""Declarative automation, off by default: a batch whose frames are accepted flows on by itself, then its pack.

One truth: the mode is declarative while the sensor `declarative_automation` runs. `new_manifest_batches` then starts
presets and frames only, and `publish_accepted_batches` leaves batches alone.

The condition asks the guard. Dagster's own `eager() & all_deps_blocking_checks_passed()` does not do here: it takes a
check's earlier pass for frames that nobody has judged yet, would publish with half of a pack's batches being made
again, and knows neither `requires` nor batches that a person removed.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import dagster as dg
from dagster._core.asset_graph_view.asset_graph_view import AssetGraphView
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorStatus
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from aivj_assets.contracts.lineage import RemovedBatches
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot, resolve_data_root
from aivj_assets.orchestration.assets.publication import publishable_batches, unfinished_batches
from aivj_assets.orchestration.guard import (
    data_version_of,
    latest_evaluation,
    materialization_record,
    one_look,
    recorded_inputs,
    stage_state,
)
from aivj_assets.orchestration.instance import PROCESS_TAG
from aivj_assets.orchestration.lineage.store import lineage_of
from aivj_assets.orchestration.requires import waiting_for
from aivj_assets.orchestration.stages import PUBLISHED_STAGE, STAGES, ancestors

AUTOMATION_SENSOR = "declarative_automation"
PARTITION_TAG = "dagster/partition"
PRIORITY_TAG = "dagster/priority"
STARTED = ("presets", "frames")
"""What a new manifest starts; the rest flows."""
AUTOMATED = tuple(name for name in STAGES if name not in STARTED)
_PUBLICATION = "publication"
_SENSOR_TAG = "dagster/sensor_name"
_RUNS_LOOKED_AT = 20
_LOG = logging.getLogger(__name__)

Event = tuple[float, str | None]
"""When something was made or judged (seconds since the epoch), and by which run."""


def automation_is_on(instance: dg.DagsterInstance, location: str | None) -> bool:
    """Whether the automation sensor runs in a code location (None: in any)."""
    for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
        if state.instigator_name != AUTOMATION_SENSOR or state.status != InstigatorStatus.RUNNING:
            continue
        if location in (None, state.origin.repository_origin.code_location_origin.location_name):
            return True
    return False


def busy_partitions(instance: dg.DagsterInstance) -> set[str]:
    """Return the partitions with a run that is queued or under way."""
    runs = instance.get_runs(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES))
    return {run.tags[PARTITION_TAG] for run in runs if PARTITION_TAG in run.tags}


def due(instance: dg.DagsterInstance, root: DataRoot, log: logging.Logger = _LOG) -> dict[str, set[str]]:
    """Return {asset: partitions to make now} of batches whose frames are accepted, and of their packs.

    Each change above starts one run: what failed or was rejected is not tried again before something changes. Storage
    is read for all batches, files are hashed only for those with something to make.
    """
    found: dict[str, set[str]] = defaultdict(set)
    packs: dict[str, list[BatchKey]] = defaultdict(list)
    waits: dict[str, list[str]] = {}
    with one_look():
        busy = busy_partitions(instance)
        for batch in root.find_batches():
            if batch.key in busy:
                continue
            packs[batch.pack].append(batch)
            try:
                stages = stages_to_make(instance, root, batch)
                if stages and batch.pack not in waits:
                    waits[batch.pack] = waiting_for(instance, root, batch.pack)
            except UserError as error:
                log.warning(f"Batch {batch} is passed over: {error}")
                continue
            if stages and waits[batch.pack]:
                log.info(f"Batch {batch} waits for {'; for '.join(waits[batch.pack])}.")
                continue
            for stage in stages:
                found[stage].add(batch.key)
        for pack in packs.keys() - busy:
            try:
                if is_to_be_published(instance, root, pack, packs[pack]):
                    found[_PUBLICATION].add(pack)
            except UserError as error:
                log.warning(f"Pack '{pack}' is passed over: {error}")
    return found


def stages_to_make(instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey) -> list[str]:
    """Return the stages below frames that one run can make now, in order: those that are missing or stale.

    Every ancestor is accepted or made in the same run, where its checks stop the rest.
    """
    outdated: set[str] = set()
    for stage in AUTOMATED:
        if outdated & set(STAGES[stage].inputs) or _is_outdated(instance, batch.key, stage):
            outdated.add(stage)
    if not outdated or batch.key in RemovedBatches.of(lineage_of(root, batch.pack)).batches:
        return []
    accepted: dict[str, bool] = {}
    stages: list[str] = []
    for stage in (name for name in AUTOMATED if name in outdated):
        above = [name for name in ancestors(stage) if name not in stages]
        for name in above:
            if name not in accepted:
                accepted[name] = stage_state(instance, root, batch, name).problem is None
        if all(accepted[name] for name in above) and not _was_tried(
            instance, batch.key, stage, _events(instance, batch.key, above)
        ):
            stages.append(stage)
    return stages


def is_to_be_published(instance: dg.DagsterInstance, root: DataRoot, pack: str, idle: Sequence[BatchKey]) -> bool:
    """Whether a batch of the pack was made and accepted since the last publication, and none is half done.

    `idle` are the pack's batches without a run. What the command line has run it publishes itself.
    """
    last = materialization_record(instance, _PUBLICATION, pack)
    newer = {}
    for batch in idle:
        made = materialization_record(instance, PUBLISHED_STAGE, batch.key)
        if made is not None and (last is None or made.storage_id > last.storage_id):
            run = instance.get_run_by_id(made.run_id) if made.run_id else None
            if run is None or PROCESS_TAG not in run.tags:
                newer[batch] = (made.at_epoch_s, made.run_id)
    if not newer or _was_tried(instance, pack, _PUBLICATION, newer.values()):
        return False
    accepted, _ = publishable_batches(instance, root, pack)
    return any(batch in newer for batch in accepted) and not unfinished_batches(instance, root, pack)


def _is_outdated(instance: dg.DagsterInstance, partition: str, stage: str) -> bool:
    """Whether a stage is missing, made from other inputs than those of now, or not judged; files are not looked at."""
    made = materialization_record(instance, stage, partition)
    if made is None:
        return True
    made_from = recorded_inputs(made.event)
    for name in STAGES[stage].inputs:
        above = materialization_record(instance, name, partition)
        if above is None or data_version_of(above.event) != made_from.get(name):
            return True
    for check in STAGES[stage].blocking_checks:
        verdict = latest_evaluation(instance, stage, check, partition)
        if verdict is None or verdict.target_storage_id != made.storage_id:
            return True
    return False


def _events(instance: dg.DagsterInstance, partition: str, stages: Iterable[str]) -> list[Event]:
    """Return when stages were last made and judged."""
    events: list[Event] = []
    for stage in stages:
        made = materialization_record(instance, stage, partition)
        if made is not None:
            events.append((made.at_epoch_s, made.run_id))
        for check in STAGES[stage].blocking_checks:
            verdict = latest_evaluation(instance, stage, check, partition)
            if verdict is not None:
                events.append((verdict.at_epoch_s, verdict.run_id))
    return events


def _was_tried(instance: dg.DagsterInstance, partition: str, asset: str, events: Iterable[Event]) -> bool:
    """Whether an automated run of the asset was asked for since the last of these events, or brought that about."""
    newest_at, newest_run = max(events, key=lambda event: event[0], default=(0.0, None))
    tags = {PARTITION_TAG: partition, _SENSOR_TAG: AUTOMATION_SENSOR}
    for record in instance.get_run_records(dg.RunsFilter(tags=tags), limit=_RUNS_LOOKED_AT):
        run = record.dagster_run
        if run.asset_selection and dg.AssetKey(asset) not in run.asset_selection:
            continue
        if run.run_id == newest_run or record.create_timestamp.timestamp() >= newest_at:
            return True
    return False


# What is due is found out once a tick, for all assets.
_DUE: WeakKeyDictionary[AssetGraphView, Mapping[str, set[str]]] = WeakKeyDictionary()


class AcceptedUpstream(dg.AutomationCondition[dg.AssetKey]):
    """True for partitions whose inputs are accepted and that are not made from them yet, once for each change."""

    @property
    def name(self) -> str:
        """What the UI shows beside the condition."""
        return "all that is above is accepted by the guard, and this is not made from it"

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        """Return the candidates among what is due."""
        view = context.asset_graph_view
        if view not in _DUE:
            _DUE[view] = due(view.instance, resolve_data_root(os.environ), context.log)
        wanted = _DUE[view].get(context.key.to_user_string(), set())
        keys = context.candidate_subset.expensively_compute_partition_keys() & wanted
        if not keys or context.partitions_def is None:
            return dg.AutomationResult(context, true_subset=context.get_empty_subset())
        subset = view.get_subset_from_partition_keys(context.key, context.partitions_def, keys)
        return dg.AutomationResult(context, true_subset=subset)


def with_conditions(assets: Iterable[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """Return assets in which those that flow have their automation condition."""
    # A run is known by its partition; a backfill is not.
    condition = ~dg.AutomationCondition.backfill_in_progress() & AcceptedUpstream()

    def conditioned(spec: dg.AssetSpec) -> dg.AssetSpec:
        flows = spec.key.to_user_string() in (*AUTOMATED, _PUBLICATION)
        return spec.replace_attributes(automation_condition=condition) if flows else spec

    return list(dg.map_asset_specs(conditioned, assets))


def _sensor() -> dg.AutomationConditionSensorDefinition:
    with warnings.catch_warnings():
        # Conditions of our own are evaluated in the code location; that is in beta.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.AutomationConditionSensorDefinition(
            AUTOMATION_SENSOR,
            target=dg.AssetSelection.assets(*AUTOMATED, _PUBLICATION).without_checks(),
            use_user_code_server=True,
            # One run a batch, as everywhere.
            emit_backfills=False,
            # What can be finished goes before what is to be rendered.
            run_tags={PRIORITY_TAG: "1"},
            minimum_interval_seconds=20,
            default_status=dg.DefaultSensorStatus.STOPPED,
            description="Off: one run makes a whole batch. On: a batch whose frames are accepted flows on by itself, "
            "also when only frames were rendered again; new manifests then start presets and frames.",
        )


declarative_automation: Any = _sensor()
