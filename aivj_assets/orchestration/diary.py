"""The diary: what became of each batch, in `EXECUTION_STATUS.local.md` and `TODOS.local.md` under the data root."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg
from rich.console import Console

from aivj_assets.contracts.frames_index import read_records
from aivj_assets.contracts.lineage import RemovedBatches
from aivj_assets.contracts.run_meta import QaVerdict, RunMeta
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir, BatchKey, DataRoot
from aivj_assets.orchestration.file_lock import held_lock
from aivj_assets.orchestration.guard import StageState, batch_states, latest_evaluation, materialization_record
from aivj_assets.orchestration.lineage.store import lineage_of
from aivj_assets.orchestration.stages import PUBLISHED_STAGE, STAGES, ancestors
from aivj_assets.report.console import BatchSummary, summarise_batch
from aivj_assets.report.diary import DiaryFacts, diary_section, diary_todo, gate_text
from aivj_assets.report.diary_file import merge_section, merge_todo, read_file, update_file


def write_diary(instance: dg.DagsterInstance, root: DataRoot, batches: Sequence[BatchKey]) -> list[BatchKey]:
    """Bring the diary's entries of some batches up to date; returns those whose entry changed.

    A batch that cannot be read has that as its entry. What a person wrote around the entries stays. Raises `UserError`
    when one of the two files cannot be read or written.
    """
    changed = []
    for batch in batches:
        # Looked at under the lock: of two processes the later one has the later state.
        with held_lock(root.diary_lock):
            facts = diary_facts(instance, root, batch)
            status, todos = read_file(root.execution_status), read_file(root.todos)
            section = merge_section(status or b"", batch.key, diary_section(facts))
            line = merge_todo(todos or b"", batch.key, diary_todo(facts))
            written = [update_file(root.execution_status, status, section), update_file(root.todos, todos, line)]
        if any(written):
            changed.append(batch)
    return changed


def keep_diary(
    instance: dg.DagsterInstance, root: DataRoot, batches: Sequence[BatchKey], warn: Callable[[str], None]
) -> None:
    """Bring the diary up to date; a diary that cannot be written is told to `warn` and stops nothing."""
    try:
        write_diary(instance, root, batches)
    except (UserError, OSError) as error:
        warn(f"The diary is not brought up to date: {error}")


@contextmanager
def diary_at_end(
    instance: dg.DagsterInstance, root: DataRoot, batches: Sequence[BatchKey], console: Console
) -> Iterator[None]:
    """Bring the diary's entries of some batches up to date when the block ends, however it does."""
    try:
        yield
    finally:
        keep_diary(
            instance, root, batches, lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True)
        )


def diary_facts(instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey) -> DiaryFacts:
    """Gather what the diary says of a batch; a batch that cannot be read has that as its state."""
    try:
        return _facts(instance, root, batch)
    except (UserError, OSError) as error:
        return DiaryFacts(batch, "unreadable", why=str(error))


def _facts(instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey) -> DiaryFacts:
    summary, folder = summarise_batch(root, batch), root.batch(batch)
    removed = RemovedBatches.of(lineage_of(root, batch.pack)).batches.get(batch.key)
    qa = RunMeta.load(folder.run_meta).qa if folder.run_meta.exists() else QaVerdict()
    states = _states_to_first_problem(instance, root, batch)
    last = states[-1]
    facts = DiaryFacts(
        batch, "accepted", at=_last_made(instance, batch, states), summary=summary, qa=qa,
        made=frozenset(state.stage for state in states if state.problem is None or state.rejected),
        removed=None if removed is None else removed.reason,
    )  # fmt: skip
    if last.problem is None:
        return replace(facts, links=_links(root, summary, folder))
    if summary.figures.without_record:
        return replace(facts, state="incomplete", at=_last_record(folder))
    if last.rejected:
        return replace(facts, state="rejected", rejections=_rejections(instance, batch, summary, last.stage))
    return replace(facts, state="not accepted", why=f"'{last.stage}': {last.problem}")


def _states_to_first_problem(instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey) -> list[StageState]:
    states = []
    for state in batch_states(instance, root, batch, [*ancestors(PUBLISHED_STAGE), PUBLISHED_STAGE]):
        states.append(state)
        if state.problem is not None:
            break
    return states


def _last_made(instance: dg.DagsterInstance, batch: BatchKey, states: Sequence[StageState]) -> str | None:
    """Return when the last of these stages that was ever made was made."""
    for state in reversed(states):
        record = materialization_record(instance, state.stage, batch.key)
        if record is not None:
            made_at = datetime.fromtimestamp(record.at_epoch_s, UTC)
            return made_at.isoformat(timespec="seconds").replace("+00:00", "Z")
    return None


def _last_record(folder: BatchDir) -> str | None:
    """Return when the newest record was made, those in the logs of a rendering that was stopped included."""
    paths = [folder.frames_index, *folder.shard_logs_dir.glob("*.jsonl")]
    return max((record.at for path in paths for record in read_records(path).values()), default=None)


def _rejections(instance: dg.DagsterInstance, batch: BatchKey, summary: BatchSummary, stage: str) -> dict[str, str]:
    """Return {blocking check that did not pass: what it says}."""
    gates = {verdict.gate.name: gate_text(verdict) for verdict in summary.verdicts if not verdict.passed}
    told = {}
    for name in STAGES[stage].blocking_checks:
        found = latest_evaluation(instance, stage, name, batch.key)
        if found is not None and not found.passed:
            told[name] = gates.get(name) or f"{name}: {found.description or 'see its result'}"
    return told


def _links(root: DataRoot, summary: BatchSummary, folder: BatchDir) -> dict[str, str]:
    places = {"QA page": summary.qa_page, folder.run_meta.name: folder.run_meta if folder.run_meta.exists() else None}
    return {label: path.relative_to(root.path).as_posix() for label, path in places.items() if path is not None}
