"""Materialisations and check results without a run: what the guard needs of a stage that another tool has made."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

import dagster as dg
from dagster import AssetRecordsFilter
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.instance.utils import RUNLESS_JOB_NAME

from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.batch_lock import acquire_batch
from aivj_assets.orchestration.checks import CHECKS
from aivj_assets.orchestration.guard import (
    INPUTS_METADATA,
    data_version_of,
    latest_materialization,
    recorded_inputs,
    require_ancestors,
    stage_state,
)
from aivj_assets.orchestration.resources import DataRootResource
from aivj_assets.orchestration.stages import STAGES, content_version


@dataclass
class RunlessRecords:
    """Records the stages of one batch; what their checks say goes to `rejected` and `warnings`, one line each."""

    instance: dg.DagsterInstance
    root: DataRoot
    batch: BatchKey
    adopted_from: str
    rejected: list[str]
    warnings: list[str]
    started: float = field(default_factory=time.monotonic)
    evaluation_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def record(self, stage_name: str, facts: Mapping[str, Any]) -> None:
        """Report a stage as materialised, unless it is so already, and its checks as evaluated just now."""
        declared = STAGES[stage_name]
        inputs = require_ancestors(self.instance, self.root, self.batch, stage_name)
        version = content_version(self.root, self.batch, declared)
        known = latest_materialization(self.instance, stage_name, self.batch.key)
        if known is None or data_version_of(known[1]) != version or recorded_inputs(known[1]) != inputs:
            metadata = {
                **facts,
                "adopted_from": self.adopted_from,
                "folder": dg.MetadataValue.path(str(self.root.batch(self.batch).path)),
                "duration_s": round(time.monotonic() - self.started, 3),
                INPUTS_METADATA: dg.MetadataValue.json(inputs),
            }
            event = dg.AssetMaterialization(
                stage_name,
                description=f"adopted from {self.adopted_from}",
                metadata={name: value for name, value in metadata.items() if value is not None},
                partition=self.batch.key,
                tags={"dagster/data_version": version},
            )
            self.instance.report_runless_asset_event(event)
        self.started = time.monotonic()
        self._check(stage_name)

    def _check(self, stage_name: str) -> None:
        if stage_state(self.instance, self.root, self.batch, stage_name).problem is None:
            return
        target = evaluation_target(self.instance, stage_name, self.batch)
        for result in self._results(stage_name):
            evaluation = dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey(stage_name), check_name=str(result.check_name), passed=result.passed,
                metadata=result.metadata, target_materialization_data=target, severity=result.severity,
                description=result.description, blocking=result.check_name in STAGES[stage_name].blocking_checks,
                partition=self.batch.key,
            )  # fmt: skip
            report_evaluation(self.instance, evaluation, self.evaluation_id)
            if not result.passed:
                warns = result.severity == dg.AssetCheckSeverity.WARN
                listed = self.warnings if warns else self.rejected
                listed.append(result.description or str(result.check_name))

    def _results(self, stage_name: str) -> Iterator[dg.AssetCheckResult]:
        """Evaluate a stage's checks by the very definitions that runs use."""
        resource = DataRootResource(path=str(self.root.path))
        for definition in CHECKS:
            if dg.AssetKey(stage_name) not in {key.asset_key for key in definition.check_keys}:
                continue
            with dg.build_asset_context(instance=self.instance, partition_key=self.batch.key) as context:
                try:
                    yield from cast("Iterator[dg.AssetCheckResult]", definition(context, data_root=resource))
                except dg.Failure as failure:
                    raise UserError(failure.description or f"the checks of {stage_name} failed") from None


def evaluation_target(
    instance: dg.DagsterInstance, stage_name: str, batch: BatchKey
) -> AssetCheckEvaluationTargetMaterializationData:
    """Return the latest materialisation of a stage as what an evaluation judges; there must be one."""
    asked = AssetRecordsFilter(asset_key=dg.AssetKey(stage_name), asset_partitions=[batch.key])
    (record,) = instance.fetch_materializations(asked, limit=1).records
    return AssetCheckEvaluationTargetMaterializationData(
        storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
    )


def report_evaluation(instance: dg.DagsterInstance, evaluation: dg.AssetCheckEvaluation, evaluation_id: str) -> None:
    """Report an evaluation of a check of one partition without a run.

    Dagster 1.13 keeps one such evaluation of a check and partition: a later one goes under an id that is no run's.
    """
    known = instance.event_log_storage.get_asset_check_execution_history(
        evaluation.asset_check_key, limit=1, partition_filter=PartitionKeyFilter(key=str(evaluation.partition))
    )
    if not known:
        instance.report_runless_asset_event(evaluation)
        return
    event = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.ASSET_CHECK_EVALUATION.value,
        event_specific_data=evaluation,
        job_name=RUNLESS_JOB_NAME,
    )
    instance.report_dagster_event(event, run_id=evaluation_id)


@contextmanager
def held_batch(instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey, what: str = "adopt") -> Iterator[None]:
    """Hold a batch's lock without a run, `what` names why; raises `UserError` when a run works on the batch."""

    def run_is_over(run_id: str) -> bool | None:
        run = instance.get_run_by_id(run_id)
        return None if run is None else run.is_finished

    path, name = root.batch(batch).lock, f"{what}-{uuid.uuid4().hex[:8]}"
    acquire_batch(path, batch=batch.key, run_id=name, owner_pid=os.getpid(), run_is_over=run_is_over)
    try:
        yield
    finally:
        # What follows is made by a run of this very process, which would wait for its own lock.
        with suppress(OSError):
            path.unlink()
