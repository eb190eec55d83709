"""`run_record`: `run-meta.json`, everything that decided a batch."""

from typing import Any

import dagster as dg

from aivj_assets.contracts.embeddings import EmbeddingsMeta
from aivj_assets.contracts.frames_meta import FramesMeta
from aivj_assets.contracts.run_meta import QaVerdict
from aivj_assets.orchestration.diary import keep_diary
from aivj_assets.orchestration.guard import latest_materialization
from aivj_assets.orchestration.partitions import BATCHES
from aivj_assets.orchestration.pictures import markdown_table
from aivj_assets.orchestration.profile import known_pixels, settle_profile
from aivj_assets.orchestration.resources import DataRootResource, GuardResource
from aivj_assets.orchestration.stages import STAGES
from aivj_assets.orchestration.step import batch_step
from aivj_assets.orchestration.verdicts.known import batch_conclusion
from aivj_assets.report.record import build_run_record


@dg.asset(
    partitions_def=BATCHES,
    deps=list(STAGES["run_record"].inputs),
    group_name="batch",
    kinds={"json"},
)
def run_record(
    context: dg.AssetExecutionContext, data_root: DataRootResource, guard: GuardResource
) -> dg.MaterializeResult[Any]:
    """Record parameters and fingerprint, versions, renderer, counts, gates with verdicts, k, durations, open QA."""
    root = data_root.get()
    with batch_step(context, root, "run_record", guard) as step:
        # Every ancestor is accepted: here, and not before, the batch may decide for its lineage.
        card = EmbeddingsMeta.load(step.folder.embeddings_meta).card
        pixels = known_pixels(FramesMeta.load(step.folder.frames_meta))
        if step.unaccepted is None:
            settle_profile(context.instance, root, step.batch, card, pixels)
        record = build_run_record(
            root,
            step.batch,
            run_id=context.run.run_id,
            durations_s=_durations(context.instance, step.batch.key),
            inputs=step.inputs,
            qa=batch_conclusion(root, step.batch),
        )
        record.save(step.folder.run_meta)
        keep_diary(context.instance, root, [step.batch], context.log.warning)
        gates = [
            (
                line.gate,
                "-" if line.value is None else f"{line.value:.4f}",
                f"{line.comparison} {line.threshold:g}",
                _verdict(line.passed),
            )
            for line in record.gates
        ]
        return step.result(
            {
                "fingerprint": record.fingerprint,
                "renderer": str(record.pixel_parameters.get("renderer", "")),
                "gates": dg.MetadataValue.md(markdown_table(("gate", "value", "threshold", "verdict"), gates)),
                "counts": dg.MetadataValue.json(record.counts),
                "pixel_parameters": dg.MetadataValue.json(record.pixel_parameters),
                "operational_parameters": dg.MetadataValue.json(record.operational_parameters),
                "model": card.name,
                "left_out_of_embedding": record.counts["leftOut"],
                "k": record.k,
                **qa_metadata(record.qa),
                "file": dg.MetadataValue.path(str(step.folder.run_meta)),
            }
        )


def qa_metadata(qa: QaVerdict) -> dict[str, Any]:
    """Return what a materialisation's metadata says of the review."""
    return {
        "qa": qa.verdict or qa.state,
        "qa_note": qa.note or "nothing is judged yet",
        "qa_reviewed_fraction": qa.reviewed_fraction or 0.0,
        "qa_good_fraction": qa.good_fraction or 0.0,
    }


def _verdict(passed: bool) -> str:
    return "passed" if passed else "failed"


def _durations(instance: dg.DagsterInstance, partition: str) -> dict[str, float]:
    durations = {}
    for stage in STAGES["run_record"].inputs:
        found = latest_materialization(instance, stage, partition)
        value = found[1].metadata.get("duration_s") if found else None
        if value is not None and isinstance(value.value, int | float):
            durations[stage] = float(value.value)
    return durations
