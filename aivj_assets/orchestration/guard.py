"""Is this stage of this batch accepted? The one place that asks Dagster's storage about check results.

A blocking check stops what follows only inside its own run, so every consumer asks here before it reads: each ancestor
must be materialised, its blocking checks passed for that very materialisation, made from the current version of its
own inputs, and its files unchanged since.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster import AssetKey, AssetRecordsFilter
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.stages import STAGES, ancestors, content_version

# The history of checks is not public API; the contract test in integration/ notices when it changes.
INPUTS_METADATA = "aivj/inputs"


@dataclass(frozen=True)
class StageState:
    """What is known about one stage of one batch; `problem` is None when it is accepted."""

    stage: str
    data_version: str | None
    problem: str | None
    rejected: bool = False
    """Whether a check judged it and did not pass it; else it is only unfinished or stale."""


def latest_materialization(
    instance: dg.DagsterInstance, stage: str, partition: str
) -> tuple[int, dg.AssetMaterialization] | None:
    """Return the storage id and the event of a partition's latest materialisation."""
    records = instance.fetch_materializations(
        AssetRecordsFilter(asset_key=AssetKey(stage), asset_partitions=[partition]), limit=1
    ).records
    if not records or records[0].asset_materialization is None:
        return None
    return records[0].storage_id, records[0].asset_materialization


def data_version_of(materialization: dg.AssetMaterialization) -> str | None:
    """Return the data version that a materialisation carries."""
    return (materialization.tags or {}).get("dagster/data_version")


def recorded_inputs(materialization: dg.AssetMaterialization) -> dict[str, str]:
    """Return {input stage: data version} that a materialisation says it was made from."""
    value = materialization.metadata.get(INPUTS_METADATA)
    data = value.value if value is not None else None
    if isinstance(data, str):
        data = json.loads(data)
    return {str(name): str(version) for name, version in data.items()} if isinstance(data, dict) else {}


def latest_verdict(instance: dg.DagsterInstance, stage: str, check: str, partition: str) -> tuple[bool, int] | None:
    """Return (passed, storage id of the materialisation it judged) of a check's latest evaluation, or None.

    Evaluations only: Dagster also keeps a row for each check that a run planned, and a run that fails before its checks
    begin must not take an earlier verdict away.
    """
    records = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(AssetKey(stage), check),
        limit=1,
        status={AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED},
        partition_filter=PartitionKeyFilter(key=partition),
    )
    event = records[0].event.dagster_event if records and records[0].event is not None else None
    if event is None:
        return None
    evaluation = event.asset_check_evaluation_data
    target = evaluation.target_materialization_data
    return None if target is None else (evaluation.passed, target.storage_id)


def _check_problem(
    instance: dg.DagsterInstance, stage: str, partition: str, storage_id: int, without: Collection[str]
) -> tuple[str | None, bool]:
    """Return what is wrong with the results of a stage's checks, None when all passed, and whether one did not pass."""
    failed = []
    for name in STAGES[stage].blocking_checks:
        if name in without:
            continue
        verdict = latest_verdict(instance, stage, name, partition)
        if verdict is None or verdict[1] != storage_id:
            return f"its check '{name}' has no result for the current materialisation; run the checks of {stage}", False
        if not verdict[0]:
            failed.append(name)
    if failed:
        return f"it is rejected by {', '.join(failed)}; see the checks of {stage} for values and what to try", True
    return None, False


def stage_state(
    instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey, stage: str, *, without: Collection[str] = ()
) -> StageState:
    """Judge one stage by itself: materialised, checks passed, inputs current, files unchanged.

    Checks named in `without` are not asked.
    """
    found = latest_materialization(instance, stage, batch.key)
    if found is None:
        return StageState(stage, None, f"it is not materialised; materialise {stage} first")
    storage_id, materialization = found
    version = data_version_of(materialization)
    problem, rejected = _check_problem(instance, stage, batch.key, storage_id, without)
    if problem is None:
        made_from = recorded_inputs(materialization)
        for name in STAGES[stage].inputs:
            above = latest_materialization(instance, name, batch.key)
            if above is None or data_version_of(above[1]) != made_from.get(name):
                problem = f"it is stale: '{name}' has changed since; materialise {stage} again"
                break
    if problem is None:
        try:
            if content_version(root, batch, STAGES[stage]) != version:
                problem = f"its files have changed since they were materialised; materialise {stage} again"
        except UserError as error:
            problem = str(error)
    return StageState(stage, version, problem, rejected)


def batch_states(
    instance: dg.DagsterInstance,
    root: DataRoot,
    batch: BatchKey,
    stages: Sequence[str],
    *,
    without: Collection[str] = (),
) -> Iterator[StageState]:
    """Judge several stages of a batch one after the other, in the order given; the first problem may end the asking."""
    return (stage_state(instance, root, batch, stage, without=without) for stage in stages)


def require_ancestors(instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey, stage: str) -> dict[str, str]:
    """Return {input: data version} for `stage` when every ancestor is accepted.

    Raises `UserError` that names the batch, the first ancestor that is not, and the way out.
    """
    versions: dict[str, str] = {}
    for state in batch_states(instance, root, batch, ancestors(stage)):
        if state.problem is not None:
            raise UserError(f"Batch {batch}: '{stage}' refuses '{state.stage}': {state.problem}.")
        versions[state.stage] = state.data_version or ""
    return {name: versions[name] for name in STAGES[stage].inputs}


def is_unfinished(instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey, stage: str) -> bool:
    """Whether a batch is neither accepted nor rejected up to `stage`: it is being made again, or that was cut off."""
    for state in batch_states(instance, root, batch, [*ancestors(stage), stage]):
        if state.problem is not None:
            return not state.rejected
    return False


def acceptance_problem(
    instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey, stage: str, *, without: Collection[str] = ()
) -> str | None:
    """Return why a batch is not accepted up to and including `stage`, or None when it is.

    Blocking checks named in `without` are not asked: whoever passes them decides about what they stand for.
    """
    for state in batch_states(instance, root, batch, [*ancestors(stage), stage], without=without):
        if state.problem is not None:
            return f"'{state.stage}': {state.problem}"
    return None
