"""`qa_samples`: a page with samples of every cluster, for a person's eye."""

from typing import Any

import dagster as dg
from pydantic import Field

from aivj_assets.contracts.clusters import Clusters
from aivj_assets.contracts.frames_index import read_records
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.qa_index import QaIndex
from aivj_assets.contracts.style import StyleIndex
from aivj_assets.orchestration.partitions import BATCHES
from aivj_assets.orchestration.resources import DataRootResource, GuardResource
from aivj_assets.orchestration.stages import STAGES
from aivj_assets.orchestration.step import BatchStep, batch_step
from aivj_assets.qa.page import write_qa_samples
from aivj_assets.report.pictures import as_markdown_image, contact_sheet

_SHEET_SAMPLES = 48


class QaConfig(dg.Config):
    """How many samples, which capture, and the seed."""

    per_cluster: int = Field(default=12, ge=1, alias="perCluster")
    frame_index: int = Field(default=1, ge=0, alias="frameIndex")
    seed: int = 1


@dg.asset(
    partitions_def=BATCHES,
    deps=list(STAGES["qa_samples"].inputs),
    group_name="batch",
    kinds={"html"},
)
def qa_samples(
    context: dg.AssetExecutionContext, config: QaConfig, data_root: DataRootResource, guard: GuardResource
) -> dg.MaterializeResult[Any]:
    """Draw up to `perCluster` presets a cluster at random, seeded, and write the page that shows them."""
    root = data_root.get()
    with batch_step(context, root, "qa_samples", guard) as step:
        manifest = Manifest.load(root.manifest(step.batch))
        index = write_qa_samples(
            step.folder,
            step.batch,
            Clusters.load(step.folder.clusters),
            records=read_records(step.folder.frames_index),
            energies={
                entry.preset_id: entry.energy for entry in StyleIndex.load(step.folder.style_index("v1")).entries
            },
            labels={preset.id: preset.label for preset in manifest.presets},
            per_cluster=config.per_cluster,
            frame_index=config.frame_index,
            seed=config.seed,
            notice=step.unaccepted.sentence if step.unaccepted is not None else None,
        )
        page = step.folder.qa_dir / "index.html"
        return step.result(
            {
                "samples": len(index.copied),
                "per_cluster": config.per_cluster,
                "frame_index": config.frame_index,
                "seed": config.seed,
                "page": dg.MetadataValue.path(str(page)),
                "sheet": dg.MetadataValue.md(_sheet(step, index)),
            }
        )


def _sheet(step: BatchStep, index: QaIndex) -> str:
    """Return a sheet of samples, taking turns between the clusters so that each is seen."""
    turns: dict[str, int] = {}
    ordered = []
    for copy in index.copied:
        turns[copy.cluster] = turns.get(copy.cluster, 0) + 1
        ordered.append((turns[copy.cluster], copy.cluster, copy))
    shown = sorted(ordered, key=lambda item: item[:2])[:_SHEET_SAMPLES]
    tiles = [(copy.dest, copy.cluster) for _, _, copy in sorted(shown, key=lambda item: item[1])]
    return as_markdown_image(contact_sheet(step.folder.qa_dir, tiles), alt="samples by cluster")
