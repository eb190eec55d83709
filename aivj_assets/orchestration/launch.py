"""Running a job from the command line: in this process's own executor, watched through Dagster's event log."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from dagster import AssetKey, DagsterEventType
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.events import RunFailureReason
from dagster_shared.error import SerializableErrorInfo

from aivj_assets.layout import BatchKey, DataRoot, project_root, sha256_file
from aivj_assets.orchestration.budget import incomplete_sentence
from aivj_assets.orchestration.instance import MANIFEST_TAG, process_tags
from aivj_assets.orchestration.partitions import BATCHES, PACKS

DEFINITIONS = "aivj_assets.definitions"
"""The module that holds the project's assets and jobs as `defs`."""
_POLL_S = 0.5
_WATCHED = {DagsterEventType.STEP_START, DagsterEventType.ASSET_MATERIALIZATION}
# Dagster's own console log repeats every event; the progress display and the UI show what matters.
_QUIET = {"console": {"config": {"log_level": "CRITICAL"}}}

_INTERRUPTIONS = {"DagsterExecutionInterruptedError", "KeyboardInterrupt"}

Watcher = Callable[[dg.DagsterEvent], None]


@dataclass
class RunOutcome:
    """How a run ended. `problems` are one-line reasons; `rejected` gates that did not pass, `warnings` other checks."""

    run_id: str
    success: bool
    interrupted: bool = False
    problems: list[str] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def run_batch(
    instance: dg.DagsterInstance,
    root: DataRoot,
    batch: BatchKey,
    run_config: Mapping[str, Any],
    *,
    only: Sequence[str] | None = None,
    watch: Watcher | None = None,
    more_tags: Mapping[str, str] | None = None,
    definitions: str = DEFINITIONS,
) -> RunOutcome:
    """Run `batch_job` for a batch, or only some of its assets; registers the batch and its pack as partitions.

    `definitions` names the module whose `defs` hold the job: the project's, or the same with other resources.
    """
    instance.add_dynamic_partitions(str(BATCHES.name), [batch.key])
    instance.add_dynamic_partitions(str(PACKS.name), [batch.pack])
    tags = {MANIFEST_TAG: sha256_file(root.manifest(batch)), "aivj/pack": batch.pack, **(more_tags or {})}
    return _execute(
        instance, "batch_job", batch.key, tags, run_config=run_config, only=only, watch=watch, definitions=definitions
    )


def run_publication(instance: dg.DagsterInstance, pack: str, *, definitions: str = DEFINITIONS) -> RunOutcome:
    """Run `publish_job` for a pack."""
    return run_pack_job(instance, pack, "publish_job", {}, definitions=definitions)


def publish_after(instance: dg.DagsterInstance, pack: str, run: RunOutcome) -> RunOutcome:
    """Publish a pack after a batch's run; returns how the publication went, with the checks that warned in both."""
    published = run_publication(instance, pack)
    published.warnings = [*run.warnings, *published.warnings]
    return published


def run_pack_job(
    instance: dg.DagsterInstance,
    pack: str,
    job: str,
    run_config: Mapping[str, Any],
    *,
    definitions: str = DEFINITIONS,
) -> RunOutcome:
    """Run a job over a pack's partition."""
    instance.add_dynamic_partitions(str(PACKS.name), [pack])
    return _execute(instance, job, pack, {"aivj/pack": pack}, run_config=run_config, definitions=definitions)


def run_lineage_act(instance: dg.DagsterInstance, name: str, config: Mapping[str, Any]) -> RunOutcome:
    """Run `lineage_job`, one act on a lineage; `name` is the lineage's or the batch's, for the run's tag."""
    run_config = {"ops": {"lineage_act": {"config": dict(config)}}}
    return _execute(instance, "lineage_job", None, {"aivj/lineage_act": name}, run_config=run_config)


def _execute(
    instance: dg.DagsterInstance,
    job_name: str,
    partition: str | None,
    tags: Mapping[str, str],
    *,
    run_config: Mapping[str, Any] | None = None,
    only: Sequence[str] | None = None,
    watch: Watcher | None = None,
    definitions: str = DEFINITIONS,
) -> RunOutcome:
    repository = ReconstructableRepository.for_module(definitions, "defs", working_directory=str(project_root()))
    of_partition = {} if partition is None else {"dagster/partition": partition}
    run_tags = {**tags, **process_tags(), **of_partition}
    outcome = RunOutcome("", success=False)
    with (
        _watching(instance, run_tags, watch),
        dg.execute_job(
            repository.get_reconstructable_job(job_name),
            instance,
            run_config={**(run_config or {}), "loggers": _QUIET},
            tags=run_tags,
            asset_selection=[AssetKey(name) for name in only] if only else None,
        ) as result,
    ):
        outcome.run_id, outcome.success = result.run_id, result.success
    incomplete = incomplete_sentence(instance, outcome.run_id)
    outcome.success = outcome.success and incomplete is None
    outcome.interrupted = not outcome.success and was_interrupted(instance, outcome.run_id)
    outcome.problems, outcome.rejected, outcome.warnings = explain_run(instance, outcome.run_id)
    if incomplete is not None:
        outcome.problems.append(incomplete)
    return outcome


@contextmanager
def _watching(instance: dg.DagsterInstance, tags: Mapping[str, str], watch: Watcher | None) -> Iterator[None]:
    """Hand the run's events to `watch` while it goes on."""
    if watch is None:
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=_follow, args=(instance, tags, watch, done), name="run-watcher", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=10)


def _follow(instance: dg.DagsterInstance, tags: Mapping[str, str], watch: Watcher, done: threading.Event) -> None:
    run_id: str | None = None
    cursor: str | None = None
    last = False
    while not last:
        last = done.wait(_POLL_S)
        if run_id is None:
            runs = instance.get_runs(dg.RunsFilter(tags=dict(tags)), limit=1)
            if not runs or (runs[0].is_finished and not last):
                continue
            run_id = runs[0].run_id
        connection = instance.get_records_for_run(run_id, cursor, of_type=_WATCHED)
        cursor = connection.cursor
        for record in connection.records:
            if record.event_log_entry.dagster_event is not None:
                watch(record.event_log_entry.dagster_event)


def was_interrupted(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a run ended by Ctrl-C or a termination.

    Dagster then cancels the run, or fails the step at work, or, where that falls between two steps, the run itself. In
    the first seconds of a run it leaves it as it is: neither done nor failed.
    """
    run = instance.get_run_by_id(run_id)
    if run is not None and run.status == dg.DagsterRunStatus.CANCELED:
        return True
    failures = instance.all_logs(run_id, of_type={DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE})
    if not failures:
        return run is not None and run.status != dg.DagsterRunStatus.SUCCESS
    for entry in failures:
        event = entry.dagster_event
        if event is None:
            continue
        if event.event_type == DagsterEventType.STEP_FAILURE:
            error = event.step_failure_data.error
        else:
            error = event.job_failure_data.error
            if event.job_failure_data.failure_reason == RunFailureReason.UNEXPECTED_TERMINATION:
                return True
        while error is not None:
            if error.cls_name in _INTERRUPTIONS or _is_end_of_fork_server(error):
                return True
            error = error.cause or error.context
    return False


def _is_end_of_fork_server(error: SerializableErrorInfo) -> bool:
    """Whether the process that starts the steps' processes has gone: while it starts itself, it hears Ctrl-C too."""
    return error.cls_name == "EOFError" and any("forkserver.py" in line for line in error.stack)


def first_cause(error: SerializableErrorInfo) -> str:
    """Return what began a chain of errors, as one line."""
    while error.cause is not None:
        error = error.cause
    if error.cls_name == "ChildProcessCrashException":
        return "its process was ended from outside (killed, or out of memory); what is done is kept, run again to go on"
    return " ".join(error.message.split())[:400]


def explain_run(instance: dg.DagsterInstance, run_id: str) -> tuple[list[str], list[str], list[str]]:
    """Return why a run failed (one line a step), which gates did not pass and which checks warn (one line each)."""
    problems: list[str] = []
    rejected: list[str] = []
    warnings: list[str] = []
    for entry in instance.all_logs(
        run_id, of_type={DagsterEventType.STEP_FAILURE, DagsterEventType.ASSET_CHECK_EVALUATION}
    ):
        event = entry.dagster_event
        if event is None:
            continue
        if event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            if not evaluation.passed:
                listed = warnings if evaluation.severity == dg.AssetCheckSeverity.WARN else rejected
                listed.append(evaluation.description or evaluation.check_name)
            continue
        failure = event.step_failure_data
        if failure.user_failure_data is not None:
            problems.append(failure.user_failure_data.description or f"{event.step_key} failed")
        elif failure.error is not None and "DagsterAssetCheckFailedError" not in failure.error.to_string():
            problems.append(f"{event.step_key}: {first_cause(failure.error)}")
    return problems, rejected, warnings
