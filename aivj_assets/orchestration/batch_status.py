"""What is known of each batch, from Dagster's records, which the guard enforces; nothing is measured anew.

Only of a batch that was rendered and that Dagster's history does not know are the figures taken from its files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import dagster as dg

from aivj_assets.contracts.base import utc_now
from aivj_assets.contracts.frames_index import read_records
from aivj_assets.contracts.gate_report import (
    BatchProgress,
    BatchRun,
    BatchState,
    BatchStatus,
    GateReport,
    GateResult,
)
from aivj_assets.contracts.gates import GATES, evaluate_gates, measure_folder
from aivj_assets.contracts.lineage import RemovedBatches
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.run_meta import RunMeta
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.check_results import RecordedResults, batch_numbers, iso, read_or_none
from aivj_assets.orchestration.guard import (
    StageState,
    batch_states,
    materialization_record,
    one_look,
)
from aivj_assets.orchestration.jobs import PACK_JOBS
from aivj_assets.orchestration.launch import explain_run
from aivj_assets.orchestration.lineage.store import lineage_of
from aivj_assets.orchestration.partitions import BATCHES
from aivj_assets.orchestration.requires import waiting_for, waiting_sentence
from aivj_assets.orchestration.stages import PUBLISHED_STAGE, STAGES, ancestors
from aivj_assets.qa.conclusion import QA_REVIEWED
from aivj_assets.report.console import read_render_progress
from aivj_assets.report.record import gate_lines

UNFINISHED_RUNS = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_GATE_NAMES = {gate.name for gate in GATES}
_CHAIN = (*ancestors(PUBLISHED_STAGE), PUBLISHED_STAGE)


def batch_statuses(instance: dg.DagsterInstance, root: DataRoot, wanted: str | None = None) -> list[BatchStatus]:
    """Return the state of each batch of a pack, of one batch, or of all, sorted by key.

    Also of batches whose manifest was deleted while Dagster or `artifacts/` still know them. A batch that cannot be
    read has that as its state; nothing is raised. Files of up to 130 batches of 1,000 presets are hashed in a second
    or two, once each.
    """
    shown = _known_batches(instance, root, wanted)
    with one_look():
        asked = _Asked(instance, root)
        return [asked.status(batch) for batch in shown]


def batch_status(instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey) -> BatchStatus:
    """Return the state of one batch; as `batch_statuses`."""
    with one_look():
        return _Asked(instance, root).status(batch)


def gate_report(instance: dg.DagsterInstance, root: DataRoot, ui_url: str | None) -> GateReport:
    """Return the state of all batches, with how many there are in each."""
    statuses = batch_statuses(instance, root)
    counts = dict(Counter(status.state for status in statuses))
    return GateReport(
        generated_at=utc_now(),
        ui_url=ui_url.rstrip("/") if ui_url else None,
        counts={str(state): count for state, count in counts.items()},
        batches=statuses,
    )


def is_run_of_batch(run: dg.DagsterRun) -> bool:
    """Whether a run made stages of a batch: a pack's publication and k report have partitions of the same names."""
    if "dagster/partition" not in run.tags or run.job_name in PACK_JOBS:
        return False
    return not run.asset_selection or any(key.to_user_string() in STAGES for key in run.asset_selection)


def _known_batches(instance: dg.DagsterInstance, root: DataRoot, wanted: str | None) -> list[BatchKey]:
    found = set(root.find_batches())
    for key in instance.get_dynamic_partitions(BATCHES.name or ""):
        try:
            found.add(BatchKey.parse(key))
        except UserError:
            continue
    found.update(root.find_made_batches())
    # The whole of a pack that was split later is no batch; its parts are.
    batches = [batch for batch in found if batch.batch is not None or not root.is_split(batch.pack)]
    return sorted((batch for batch in batches if wanted in (None, batch.pack, batch.key)), key=lambda batch: batch.key)


@dataclass
class _Asked:
    """What is read once for all batches of a call."""

    instance: dg.DagsterInstance
    root: DataRoot
    _removed: dict[str, RemovedBatches] = field(default_factory=dict)
    _waits: dict[str, list[str]] = field(default_factory=dict)

    @cached_property
    def running(self) -> dict[str, BatchRun]:
        """Runs that have not ended, by batch."""
        runs = self.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED_RUNS))
        # The newest first: of several runs of a batch the oldest holds it.
        return {
            run.tags["dagster/partition"]: BatchRun(run_id=run.run_id, status=run.status.value.lower())
            for run in runs
            if is_run_of_batch(run)
        }

    def status(self, batch: BatchKey) -> BatchStatus:
        """Return all that is known of one batch."""
        removed, waits, trouble = self._pack_facts(batch)
        known = self._recorded(batch)
        known.removed, known.run = removed, self.running.get(batch.key)
        if not self.root.manifest(batch).is_file():
            known.state, known.accepted, known.progress = "manifest gone", False, None
            known.problem = "its manifest is no longer there; nothing of the batch was deleted"
            known.next = (
                f"bring {self.root.manifest(batch)} back, or delete {self.root.batch(batch).path} and the partition"
            )
            return known
        first = next((state for state in self._states(batch) if state.problem is not None), None)
        known.accepted = first is None
        if first is not None:
            known.problem = f"'{first.stage}': {first.problem}"
        unreadable = self._unreadable(batch, first)
        known.waiting_for = waits if first is not None else []
        if first is None:
            known.state = "accepted" if removed is None else "removed"
        elif removed is not None:
            known.state = "removed"
        elif unreadable is not None or trouble is not None:
            known.state, known.problem = "unreadable", unreadable or trouble
        else:
            self._judge(batch, known, first)
        known.next = self._next(batch, known)
        return known

    def _states(self, batch: BatchKey) -> Iterable[StageState]:
        return batch_states(self.instance, self.root, batch, _CHAIN)

    def _unreadable(self, batch: BatchKey, first: StageState | None) -> str | None:
        """Return why a manifest cannot be read. One that `presets` has accepted as it is need not be read again."""
        if first is None or first.stage != "presets":
            return None
        try:
            Manifest.load(self.root.manifest(batch))
        except UserError as error:
            return str(error)
        return None

    def _pack_facts(self, batch: BatchKey) -> tuple[str | None, list[str], str | None]:
        """Return why a batch was removed, what its pack waits for, and why neither can be told (malformed settings)."""
        try:
            if batch.pack not in self._removed:
                self._removed[batch.pack] = RemovedBatches.of(lineage_of(self.root, batch.pack))
                self._waits[batch.pack] = waiting_for(self.instance, self.root, batch.pack)
        except UserError as error:
            return None, [], str(error)
        gone = self._removed[batch.pack].batches.get(batch.key)
        return (None if gone is None else gone.reason), self._waits[batch.pack], None

    def _judge(self, batch: BatchKey, known: BatchStatus, first: StageState) -> None:
        """Set the state of a batch that is not accepted."""
        if first.stage == "frames" and first.kind in {"missing", "stale", "changed"}:
            known.progress = self._progress(batch)
        state: BatchState = self._state(batch, known, first)
        if state == "incomplete" and known.progress is not None:
            done, total = known.progress.done, known.progress.total
            known.problem = f"rendering was stopped: {done:,} of {total:,} presets have a record"
        if known.run is not None:
            state = "running"
            known.problem = f"run {known.run.run_id} is {known.run.status}; until it has ended: {known.problem}"
        elif known.waiting_for and state in {"not run", "unfinished", "incomplete", "stale", "unchecked"}:
            state = "waiting"
            known.problem = waiting_sentence(self.root, batch.pack, known.waiting_for)
        elif first.kind == "missing" or state == "incomplete":
            self._tell_last_failure(batch, known)
        known.state = state

    def _state(self, batch: BatchKey, known: BatchStatus, first: StageState) -> BatchState:
        if first.kind == "missing":
            if known.progress is not None:
                return "incomplete"
            if first.stage in {"presets", "frames"} and self._from_files(batch, known):
                known.problem = f"{known.problem} (it was rendered, but Dagster's history does not know it)"
                return "unchecked"
            return "not run" if first.stage == "presets" else "unfinished"
        if first.kind == "rejected":
            return "rejected"
        if first.kind == "unchecked":
            return "unchecked"
        return "incomplete" if known.progress is not None else "stale"

    def _progress(self, batch: BatchKey) -> BatchProgress | None:
        """Return how far a rendering has come; None where none was begun, or where every preset has a record."""
        folder = self.root.batch(batch)
        logged = read_render_progress(self.root, batch)
        manifest = read_or_none(lambda: Manifest.load(self.root.manifest(batch)))
        records = read_or_none(lambda: read_records(folder.frames_index))
        if manifest is None or records is None or (logged is None and not records):
            return None
        total = len(manifest.presets)
        kept = sum(preset.id in records for preset in manifest.presets)
        if logged is None and kept == total:
            return None
        return BatchProgress(done=min(total, kept + (logged or (0, 0))[0]), total=total)

    def _from_files(self, batch: BatchKey, known: BatchStatus) -> bool:
        """Measure a batch that was rendered without a record in Dagster; returns whether there is such a batch."""
        folder = self.root.batch(batch)
        if not folder.frames_index.exists():
            return False
        figures = read_or_none(lambda: measure_folder(Manifest.load(self.root.manifest(batch)), folder))
        if figures is None or figures.without_record == figures.total:
            return False
        known.gates = [GateResult(**line.model_dump(), source="files") for line in gate_lines(evaluate_gates(figures))]
        known.failure_reasons = figures.failure_reasons
        known.numbers = batch_numbers(known.gates, self.root, batch)
        return True

    def _tell_last_failure(self, batch: BatchKey, known: BatchStatus) -> None:
        runs = self.instance.get_runs(dg.RunsFilter(tags={"dagster/partition": batch.key}), limit=10)
        last = next((run for run in runs if is_run_of_batch(run)), None)
        if last is None:
            return
        known.last_run_id = last.run_id
        if last.status in {dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}:
            problems, _, _ = explain_run(self.instance, last.run_id)
            why = f"failed: {problems[0].rstrip('.')}" if problems else f"ended as {last.status.value.lower()}"
            known.problem = f"{known.problem}; its last run {why}"

    def _recorded(self, batch: BatchKey) -> BatchStatus:
        """Return what the records tell of a batch's checks, and where its pages lie; its state is not yet known."""
        results = RecordedResults(self.instance, batch)
        gates = [results.gate(gate) for gate in GATES]
        checks = [
            results.check(stage.name, check, blocking=True)
            for stage in STAGES.values()
            for check in stage.blocking_checks
            if check not in _GATE_NAMES
        ]
        warnings = [
            results.check(stage.name, check, blocking=False)
            for stage in STAGES.values()
            for check in stage.warning_checks
        ]
        rate = results.of("frames", "ok_rate")
        reasons = rate.metadata.get("failure_reasons") if rate is not None else None
        folder, base = self.root.batch(batch), self.root.artifacts_dir
        page = folder.qa_dir / "index.html"
        record = read_or_none(lambda: RunMeta.load(folder.run_meta).qa) if folder.run_meta.exists() else None
        made = materialization_record(self.instance, "frames", batch.key)
        return BatchStatus(
            batch=batch.key,
            accepted=False,
            state="not run",
            gates=gates,
            judged_at=iso(max(results.times_s)) if results.times_s else None,
            last_run_id=next((gate.run_id for gate in gates if gate.run_id), made.run_id if made else None),
            checks=checks,
            # What is reviewed is said by `qa`.
            warnings=[check for check in warnings if check.passed is False and check.check != QA_REVIEWED],
            numbers=batch_numbers(gates, self.root, batch),
            failure_reasons=dict(reasons) if isinstance(reasons, dict) else {},
            qa_page=page.relative_to(base).as_posix() if page.exists() else None,
            run_record=folder.run_meta.relative_to(base).as_posix() if record is not None else None,
            frames_index=folder.frames_index.relative_to(base).as_posix() if folder.frames_index.exists() else None,
            qa=None if record is None else record.verdict or record.state,
            qa_reviewed_fraction=None if record is None else record.reviewed_fraction,
            qa_note=None if record is None else record.note,
        )

    def _next(self, batch: BatchKey, known: BatchStatus) -> str | None:
        """Return what to do about a batch's state, None when there is nothing to do."""
        run = f"aivj run {batch}"
        if known.state == "rejected":
            remedies = [f"{gate.gate}: {gate.declared.remedy}" for gate in known.failed_gates]
            details = [f"{check.check}: {check.detail}" for check in known.failed_checks if check.detail]
            by_itself = [f"aivj remedy {batch} tries the change that fits"] if remedies else []
            return "; ".join([*remedies, *details, *by_itself]) or run
        told: dict[BatchState, str] = {
            "incomplete": run,
            "unfinished": run,
            "stale": run,
            "unchecked": run,
            "not run": run,
            "running": "wait for the run",
            "waiting": "accept what it waits for first",
            "unreadable": "mend the file or put a whole one in its place",
            "removed": f"aivj lineage readmit {batch}",
        }
        return told.get(known.state)
