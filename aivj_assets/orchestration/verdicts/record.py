"""What follows from verdicts for the batches of a lineage: run records, the check `qa_reviewed`, the diary.

A run record is part of what the guard watches, by its content. A verdict is therefore recorded as a materialisation
without a run, with the same inputs and the version of the new content: an accepted batch stays accepted, the asset's
history in the UI shows when which verdict came, and the guard still notices a file that was changed by hand. (Leaving
the verdict out of the content version would have made every record of before stale, and its history silent.)
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

import dagster as dg

from aivj_assets.contracts.run_meta import QaVerdict, RunMeta
from aivj_assets.contracts.unaccepted import is_marked
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir, BatchKey, DataRoot, LineageDir
from aivj_assets.orchestration.assets.run_record import qa_metadata
from aivj_assets.orchestration.diary import keep_diary
from aivj_assets.orchestration.guard import data_version_of, latest_evaluation, latest_materialization, stage_state
from aivj_assets.orchestration.runless import evaluation_target, held_batch, report_evaluation
from aivj_assets.orchestration.stages import STAGES, files_version
from aivj_assets.orchestration.verdicts.known import Judged, reviewed_finding
from aivj_assets.qa.conclusion import QA_REVIEWED

Say = Callable[[str], None]


def bring_up_to_date(instance: dg.DagsterInstance, judged: Judged, say: Say) -> list[BatchKey]:
    """Record what verdicts come to in every batch of a lineage that has a run record; returns those that changed.

    A batch that cannot be read, or that a run works on, is told to `say` and passed over: its own run does the same at
    its end.
    """
    root, changed = judged.root, []
    for key in judged.lineage.keys:
        batch = BatchKey.parse(key)
        if not root.batch(batch).run_meta.exists():
            continue
        try:
            with held_batch(instance, root, batch, "qa"):
                recorded = _record(instance, judged, batch)
                evaluated = evaluate_reviewed(instance, root, batch)
        except UserError as error:
            say(f"The record of {batch} is not brought up to date: {error}")
            continue
        if recorded or evaluated:
            changed.append(batch)
    keep_diary(instance, root, changed, say)
    return changed


def keep_up_to_date(instance: dg.DagsterInstance, root: DataRoot, folder: LineageDir, say: Say) -> None:
    """Do so for a lineage of which anything was said; what stops it is told to `say` and stops nothing else."""
    if not folder.verdicts.exists():
        return
    try:
        judged = Judged.open(root, folder.name)
        if judged is not None:
            bring_up_to_date(instance, judged, say)
    except UserError as error:
        say(f"Run records do not follow the verdicts: {error}")


def _record(instance: dg.DagsterInstance, judged: Judged, batch: BatchKey) -> bool:
    """Put a batch's conclusion into its run record; returns whether it said something else before."""
    root = judged.root
    path = root.batch(batch).run_meta
    record, qa = RunMeta.load(path), judged.conclusion(batch)
    nothing_said = not qa.counts or not qa.counts["reviewed"] + qa.counts["askedAgain"]
    if nothing_said:
        # A verdict that a person wrote into the record stays.
        qa = record.qa if record.qa.counts is None else QaVerdict()
    if record.qa == qa or is_marked(record):
        return False
    new = record.model_copy(update={"qa": qa})
    _materialize(instance, root, batch, new)
    new.save(path)
    return True


def _materialize(instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey, new: RunMeta) -> None:
    """Report the record that is about to be written, where the one that lies there is accepted.

    Before it is written: when that is cut off, the next import writes the very same file and finds it reported.
    """
    stage = STAGES["run_record"]
    version = _version_of(root, batch, new)
    found = latest_materialization(instance, stage.name, batch.key)
    if found is None or data_version_of(found[1]) == version:
        return
    if stage_state(instance, root, batch, stage.name).problem is not None:
        # It has to be made again anyway, and then takes the verdicts as they are.
        return
    former = found[1]
    event = dg.AssetMaterialization(
        stage.name,
        description="verdicts of the review",
        metadata={**former.metadata, **qa_metadata(new.qa)},
        partition=batch.key,
        tags={**(former.tags or {}), "dagster/data_version": version},
    )
    instance.report_runless_asset_event(event)


def _version_of(root: DataRoot, batch: BatchKey, record: RunMeta) -> str:
    with tempfile.TemporaryDirectory() as folder:
        place = BatchDir(Path(folder))
        record.save(place.run_meta)
        return files_version(root, batch, STAGES["run_record"], place)


def evaluate_reviewed(instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey) -> bool:
    """Evaluate `qa_reviewed` without a run, so that the UI shows the state of now; returns whether it says new."""
    if latest_materialization(instance, "qa_samples", batch.key) is None:
        return False
    finding = reviewed_finding(root, batch)
    description = f"{QA_REVIEWED}: {finding.detail}"
    target = evaluation_target(instance, "qa_samples", batch)
    last = latest_evaluation(instance, "qa_samples", QA_REVIEWED, batch.key)
    if last is not None and (last.target_storage_id, last.passed, last.description) == (
        target.storage_id, finding.passed, description,
    ):  # fmt: skip
        return False
    evaluation = dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("qa_samples"), check_name=QA_REVIEWED, passed=finding.passed,
        metadata={name: dg.MetadataValue.float(float(value)) for name, value in finding.figures.items()},
        target_materialization_data=target, severity=dg.AssetCheckSeverity.WARN, description=description,
        blocking=False, partition=batch.key,
    )  # fmt: skip
    report_evaluation(instance, evaluation, str(uuid.uuid4()))
    return True
