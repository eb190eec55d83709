"""Is this stage of this batch accepted? The one place that asks Dagster's storage about check results.

A blocking check stops what follows only inside its own run, so every consumer asks here before it reads: each ancestor
must be materialised, its blocking checks passed for that very materialisation, made from the current version of its
own inputs, and its files unchanged since.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

import dagster as dg
from dagster import AssetKey, AssetRecordsFilter
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.instance.utils import RUNLESS_JOB_NAME
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)

from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.stages import STAGES, ancestors, content_version

# The history of checks is not public API; the contract test in integration/ notices when it changes.
INPUTS_METADATA = "aivj/inputs"
UNACCEPTED_METADATA = "aivj/unaccepted"
ProblemKind = Literal["missing", "unchecked", "rejected", "stale", "changed", "unaccepted"]
_EVALUATED = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}


@dataclass(frozen=True)
class StageState:
    """What is known about one stage of one batch; `problem` is None when it is accepted."""

    stage: str
    data_version: str | None
    problem: str | None
    rejected: bool = False
    """Whether a check judged it and did not pass it; else it is only unfinished or stale."""
    kind: ProblemKind | None = None


@dataclass(frozen=True)
class Materialization:
    """A partition's latest materialisation as it was recorded."""

    storage_id: int
    event: dg.AssetMaterialization
    run_id: str | None
    """None where no run made it (it was adopted)."""
    at_epoch_s: float


@dataclass(frozen=True)
class Evaluation:
    """What a check last said about a partition, and which materialisation it judged."""

    passed: bool
    target_storage_id: int
    at_epoch_s: float
    run_id: str | None
    """None where no run made it (it was adopted)."""
    description: str | None
    metadata: Mapping[str, Any]
    """Values without Dagster's types."""


@dataclass
class _Look:
    """Records that were read once in this look at the storage."""

    materializations: dict[tuple[str, str], Materialization | None] = field(default_factory=dict)
    evaluations: dict[tuple[str, str, str], Evaluation | None] = field(default_factory=dict)
    partitions: set[str] = field(default_factory=set)
    versions: dict[tuple[str, str], str] = field(default_factory=dict)


_LOOK: ContextVar[_Look | None] = ContextVar("aivj_look", default=None)


@contextmanager
def one_look() -> Iterator[None]:
    """Read each record and hash each file at most once inside the block: 130 batches then take seconds.

    For whoever only shows what is; what changes meanwhile is not seen. A look inside another one is that one.
    """
    token = _LOOK.set(_LOOK.get() or _Look())
    try:
        yield
    finally:
        _LOOK.reset(token)


def materialization_record(instance: dg.DagsterInstance, stage: str, partition: str) -> Materialization | None:
    """Return a partition's latest materialisation with its run and time, or None."""
    look, key = _LOOK.get(), (stage, partition)
    if look is not None and key in look.materializations:
        return look.materializations[key]
    records = instance.fetch_materializations(
        AssetRecordsFilter(asset_key=AssetKey(stage), asset_partitions=[partition]), limit=1
    ).records
    event = records[0].asset_materialization if records else None
    found = None
    if event is not None:
        found = Materialization(records[0].storage_id, event, records[0].run_id or None, records[0].timestamp)
    if look is not None:
        look.materializations[key] = found
    return found


def latest_materialization(
    instance: dg.DagsterInstance, stage: str, partition: str
) -> tuple[int, dg.AssetMaterialization] | None:
    """Return the storage id and the event of a partition's latest materialisation."""
    found = materialization_record(instance, stage, partition)
    return None if found is None else (found.storage_id, found.event)


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


def latest_evaluation(instance: dg.DagsterInstance, stage: str, check: str, partition: str) -> Evaluation | None:
    """Return a check's latest evaluation that names the materialisation it judged, or None.

    Evaluations only: Dagster also keeps a row for each check that a run planned, and a run that fails before its checks
    begin must not take an earlier verdict away.
    """
    look, key = _LOOK.get(), (stage, check, partition)
    if look is None:
        return _latest_evaluation(instance, stage, check, partition)
    if partition not in look.partitions:
        _look_at_checks(instance, partition, look)
    if key not in look.evaluations:
        look.evaluations[key] = _latest_evaluation(instance, stage, check, partition)
    return look.evaluations[key]


def _latest_evaluation(instance: dg.DagsterInstance, stage: str, check: str, partition: str) -> Evaluation | None:
    records = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(AssetKey(stage), check),
        limit=1,
        status=_EVALUATED,
        partition_filter=PartitionKeyFilter(key=partition),
    )
    return _evaluation(records[0]) if records else None


def _look_at_checks(instance: dg.DagsterInstance, partition: str, look: _Look) -> None:
    """Read the latest records of all checks of a partition at once; those that are only planned are asked for later."""
    keys = {
        (stage.name, check): dg.AssetCheckKey(AssetKey(stage.name), check)
        for stage in STAGES.values()
        for check in (*stage.blocking_checks, *stage.warning_checks)
    }
    found = instance.event_log_storage.get_latest_asset_check_execution_by_key(
        list(keys.values()), PartitionKeyFilter(key=partition)
    )
    for (stage, check), key in keys.items():
        record = found.get(key)
        if record is None or record.status in _EVALUATED:
            look.evaluations[stage, check, partition] = None if record is None else _evaluation(record)
    look.partitions.add(partition)


def _evaluation(record: AssetCheckExecutionRecord) -> Evaluation | None:
    entry = record.event
    event = entry.dagster_event if entry is not None else None
    if entry is None or event is None:
        return None
    evaluation = event.asset_check_evaluation_data
    target = evaluation.target_materialization_data
    if target is None:
        return None
    run_id = None if event.job_name == RUNLESS_JOB_NAME else record.run_id or None
    metadata = {name: value.value for name, value in evaluation.metadata.items()}
    return Evaluation(evaluation.passed, target.storage_id, entry.timestamp, run_id, evaluation.description, metadata)


def latest_verdict(instance: dg.DagsterInstance, stage: str, check: str, partition: str) -> tuple[bool, int] | None:
    """Return (passed, storage id of the materialisation it judged) of a check's latest evaluation, or None."""
    found = latest_evaluation(instance, stage, check, partition)
    return None if found is None else (found.passed, found.target_storage_id)


def _version_now(root: DataRoot, batch: BatchKey, stage: str) -> str:
    """Return the content version of a stage's files as they are; in one look they are hashed once."""
    look, key = _LOOK.get(), (batch.key, stage)
    if look is None:
        return content_version(root, batch, STAGES[stage])
    if key not in look.versions:
        look.versions[key] = content_version(root, batch, STAGES[stage])
    return look.versions[key]


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
        return StageState(stage, None, f"it is not materialised; materialise {stage} first", kind="missing")
    storage_id, materialization = found
    version = data_version_of(materialization)
    problem, rejected = _check_problem(instance, stage, batch.key, storage_id, without)
    kind: ProblemKind | None = "rejected" if rejected else "unchecked" if problem is not None else None
    if problem is None and UNACCEPTED_METADATA in materialization.metadata:
        problem, kind = f"it was made past the gates; materialise {stage} again", "unaccepted"
    if problem is None:
        made_from = recorded_inputs(materialization)
        for name in STAGES[stage].inputs:
            above = latest_materialization(instance, name, batch.key)
            if above is None or data_version_of(above[1]) != made_from.get(name):
                problem = f"it is stale: '{name}' has changed since; materialise {stage} again"
                break
    if problem is None:
        try:
            if _version_now(root, batch, stage) != version:
                problem = f"its files have changed since they were materialised; materialise {stage} again"
        except UserError as error:
            problem = str(error)
        kind = None if problem is None else "changed"
    return StageState(stage, version, problem, rejected, kind or (None if problem is None else "stale"))


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


@dataclass(frozen=True)
class Admission:
    """What a stage may read: {input: data version}, and {ancestor: problem} of what a bypass passed over."""

    inputs: dict[str, str]
    passed_over: dict[str, str]


def admit(
    instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey, stage: str, *, allow_unaccepted: bool = False
) -> Admission:
    """Let a stage read its inputs when every ancestor is accepted.

    With `allow_unaccepted` also where one is rejected, unchecked or stale, as long as its files are those that were
    materialised. Raises `UserError` that names the batch, the first ancestor in the way, and the way out.
    """
    versions: dict[str, str] = {}
    passed_over: dict[str, str] = {}
    for state in batch_states(instance, root, batch, ancestors(stage)):
        problem = state.problem
        if problem is not None and allow_unaccepted:
            problem = _unreadable(root, batch, state)
            if problem is None:
                passed_over[state.stage] = str(state.problem)
        if problem is not None:
            raise UserError(f"Batch {batch}: '{stage}' refuses '{state.stage}': {problem}.")
        versions[state.stage] = state.data_version or ""
    return Admission({name: versions[name] for name in STAGES[stage].inputs}, passed_over)


def _unreadable(root: DataRoot, batch: BatchKey, state: StageState) -> str | None:
    """Return why a stage that is not accepted cannot even be read, None when its files are as materialised."""
    if state.kind == "missing":
        return state.problem
    try:
        if _version_now(root, batch, state.stage) == state.data_version:
            return None
    except UserError as error:
        return str(error)
    return f"its files have changed since they were materialised; materialise {state.stage} again"


def require_ancestors(instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey, stage: str) -> dict[str, str]:
    """Return {input: data version} for `stage` when every ancestor is accepted; raises `UserError` as `admit` does."""
    return admit(instance, root, batch, stage).inputs


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
