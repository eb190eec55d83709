"""`qa_samples`: a page with samples of every cluster, for a person's eye."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from aivj_assets.contracts.clusters import Clusters, load_centroids
from aivj_assets.contracts.embeddings import load_embeddings
from aivj_assets.contracts.frames_index import read_records
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.qa_duplicates import DEFAULT_MAX_HASH_DISTANCE, DEFAULT_MIN_COSINE
from aivj_assets.contracts.qa_index import QaIndex
from aivj_assets.contracts.style import StyleIndex
from aivj_assets.orchestration.lineage.moves import cluster_moves
from aivj_assets.orchestration.near_duplicates import batch_duplicates, duplicate_facts
from aivj_assets.orchestration.page_server import page_url
from aivj_assets.orchestration.partitions import BATCHES
from aivj_assets.orchestration.resources import DataRootResource, GuardResource
from aivj_assets.orchestration.stages import STAGES
from aivj_assets.orchestration.step import BatchStep, batch_step
from aivj_assets.orchestration.verdicts.known import known_verdicts
from aivj_assets.qa.duplicates import duplicate_thresholds
from aivj_assets.qa.page import PAGE_NAME, write_qa_samples
from aivj_assets.report.pictures import Tile, as_markdown_image, sectioned_sheet

_SHEET_TILES = 128
_SHEET_COLUMNS = 8


class QaConfig(dg.Config):
    """How many samples, which capture, the seed, and what counts as near-duplicate."""

    per_cluster: int = Field(default=12, ge=1, alias="perCluster")
    frame_index: int = Field(default=1, ge=0, alias="frameIndex")
    seed: int = 1
    max_hash_distance: int = Field(
        default=DEFAULT_MAX_HASH_DISTANCE, ge=0, le=64, alias="maxHashDistance",
        description="bits of 64 in which the perceptual hashes of two near-duplicates may differ",
    )  # fmt: skip
    min_cosine: float = Field(
        default=DEFAULT_MIN_COSINE, ge=-1, le=1, alias="minCosine",
        description="cosine that the embeddings of two near-duplicates have at least",
    )  # fmt: skip


@dg.asset(
    partitions_def=BATCHES,
    deps=list(STAGES["qa_samples"].inputs),
    group_name="batch",
    kinds={"html"},
)
def qa_samples(
    context: dg.AssetExecutionContext, config: QaConfig, data_root: DataRootResource, guard: GuardResource
) -> dg.MaterializeResult[Any]:
    """Write the page on which a person judges the clusters: samples drawn at random, seeded; medoids and outliers."""
    root = data_root.get()
    with batch_step(context, root, "qa_samples", guard) as step:
        manifest = Manifest.load(root.manifest(step.batch))
        clusters = Clusters.load(step.folder.clusters)
        records, embeddings = read_records(step.folder.frames_index), load_embeddings(step.folder)
        duplicates = batch_duplicates(
            root, step.batch, clusters, embeddings, records=records,
            manifest_ids=[preset.id for preset in manifest.presets],
            thresholds=duplicate_thresholds(config.max_hash_distance, config.min_cosine),
        )  # fmt: skip
        known = known_verdicts(root, step.batch)
        index = write_qa_samples(
            step.folder,
            step.batch,
            clusters,
            records=records,
            energies={
                entry.preset_id: entry.energy for entry in StyleIndex.load(step.folder.style_index("v1")).entries
            },
            labels={preset.id: preset.label for preset in manifest.presets},
            embeddings=embeddings,
            duplicates=duplicates,
            centroids=load_centroids(step.folder.centroids),
            changes=cluster_moves(root, clusters),
            known=known,
            map_page=_map_page(step),
            per_cluster=config.per_cluster,
            frame_index=config.frame_index,
            seed=config.seed,
            notice=step.unaccepted.sentence if step.unaccepted is not None else None,
        )
        page = step.folder.qa_dir / PAGE_NAME
        return step.result(
            {
                "clusters": len(clusters.clusters),
                "samples": len(index.copied),
                "medoids": len(index.medoids or ()),
                "outliers": len(index.outliers or ()),
                "reviewed": sum(_is_judged(known.get(cluster.id, {})) for cluster in clusters.clusters),
                **duplicate_facts(duplicates),
                "per_cluster": config.per_cluster,
                "frame_index": config.frame_index,
                "seed": config.seed,
                # The UI's own pages may not link to a file: the first is for a click, the second for the address bar.
                "open": dg.MetadataValue.url(page_url(root, page, os.environ)),
                "file": dg.MetadataValue.url(page.resolve().as_uri()),
                "page": dg.MetadataValue.path(str(page)),
                "sheet": dg.MetadataValue.md(_sheet(step, clusters, index)),
            }
        )


def _map_page(step: BatchStep) -> str | None:
    """Return the link from the batch's page to the pack's map; None while there is none."""
    page = step.root.style_map(step.batch.pack).page
    return Path(os.path.relpath(page, step.folder.qa_dir)).as_posix() if page.exists() else None


def _is_judged(known: Mapping[str, Any]) -> bool:
    return known.get("verdict") is not None and known.get("carried") is True


def _sheet(step: BatchStep, clusters: Clusters, index: QaIndex) -> str:
    """Return a sheet of each cluster's medoids side by side, as many of each as there is room for."""
    called = {one.id: one.id if one.label == one.id else f"{one.id} {one.label}" for one in clusters.clusters}
    each = next(count for count in (6, 4, 2, 1) if count == 1 or count * len(called) <= _SHEET_TILES)
    shown: dict[str, list[Tile]] = {name: [] for name in called}
    for copy in index.medoids or index.copied:
        if len(shown[copy.cluster]) < each:
            shown[copy.cluster].append(Tile(called[copy.cluster], copy.dest))
    # A small cluster's places stay empty: each begins where those above it do.
    tiles = [tile for name in called for tile in [*shown[name], *[Tile("")] * (each - len(shown[name]))]]
    sheet = sectioned_sheet(step.folder.qa_dir, [("", tiles)], columns=_SHEET_COLUMNS // each * each)
    return as_markdown_image(sheet, alt="medoids by cluster, the nearest first")
