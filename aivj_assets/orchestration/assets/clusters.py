"""`clusters`: the batch joins its lineage; ids mean the same in every batch and pack of it."""

from typing import Any

import dagster as dg
import numpy as np
from pydantic import Field

from aivj_assets.cluster.choose_k import DEFAULT_K, DEFAULT_PRESETS_PER_CLUSTER
from aivj_assets.cluster.lloyd import own_cosines
from aivj_assets.cluster.rows import RowParts
from aivj_assets.cluster.strategies import DEFAULT_STRATEGY, STRATEGIES
from aivj_assets.contracts.embeddings import Embeddings, load_embeddings
from aivj_assets.contracts.pack_settings import ClusterSettings, PackSettings
from aivj_assets.orchestration.instance import CLUSTER_POOL
from aivj_assets.orchestration.lineage.join import ClusterChoice, JoinedBatch, Joining
from aivj_assets.orchestration.lineage.store import centroid_drift, lineage_of
from aivj_assets.orchestration.partitions import BATCHES
from aivj_assets.orchestration.pictures import markdown_table
from aivj_assets.orchestration.resources import DataRootResource, GuardResource
from aivj_assets.orchestration.stages import STAGES
from aivj_assets.orchestration.step import batch_step
from aivj_assets.report.pictures import as_markdown_image, bar_chart, project_2d, scatter

_SHOWN_POINTS = 5000
_SHOWN_BARS = 20


class ClusterConfig(dg.Config):
    """How many clusters, why that many, how a batch joins its lineage, and the seed."""

    k: int | None = Field(
        default=None,
        description=f"of the lineage's first batch; by default the pack's setting, else {DEFAULT_K}, fewer in small "
        f"packs: about {DEFAULT_PRESETS_PER_CLUSTER} presets a cluster. A number given here is taken as it is.",
    )
    reason: str | None = Field(
        default=None, description="why this k was chosen; by default the pack's reason where k is the pack's"
    )
    seed: int | None = Field(default=None, description="by default the pack's setting, else 1")
    k_limit: int | None = Field(
        default=None, description="births stop there; by default the pack's setting, else twice the k asked for"
    )
    strategy: str | None = Field(
        default=None,
        description=f"{', '.join(name for name in STRATEGIES if name != 'major')}; by default the pack's setting, else "
        f"{DEFAULT_STRATEGY}. Published ids change only in a minor (at most 2%, each in the migration table).",
    )


@dg.asset(
    partitions_def=BATCHES,
    deps=list(STAGES["clusters"].inputs),
    group_name="batch",
    kinds={"scikitlearn"},
    # Each batch extends the version that is in force at that moment: one at a time, in whatever order they come.
    pool=CLUSTER_POOL,
)
def clusters(
    context: dg.AssetExecutionContext, config: ClusterConfig, data_root: DataRootResource, guard: GuardResource
) -> dg.MaterializeResult[Any]:
    """Let the batch join its pack's lineage: known presets keep their cluster, new ones join one or found one."""
    root = data_root.get()
    with batch_step(context, root, "clusters", guard) as step:
        embeddings = load_embeddings(step.folder)
        settings = PackSettings.of_pack(root, step.batch.pack)
        joining = Joining(
            root, lineage_of(root, step.batch.pack), step.batch, embeddings, chosen(config, settings.clusters),
            context.log.info,
        )  # fmt: skip
        if step.unaccepted is not None:
            made = joining.preview()
            return step.result({"k": made.k, "presets": len(made.assignments), "lineage": "none: made past the gates"})
        joined = joining.join()
        facts = joined.lineage.facts
        known = " as it was: the batch is in it with these presets and rows" if joined.act is None else ""
        context.log.info(f"Lineage '{joined.lineage.name}', version {facts.number}{known}")
        return step.result(_facts(joined, embeddings))


def chosen(config: ClusterConfig, settings: ClusterSettings) -> ClusterChoice:
    """Return a run's choice over the pack's settings; the pack's reason is for the pack's k."""
    is_packs = config.k is None or config.k == settings.k
    return ClusterChoice(
        k=config.k or settings.k,
        reason=config.reason or (settings.reason if is_packs and settings.k is not None else None),
        seed=settings.seed if config.seed is None else config.seed,
        k_limit=config.k_limit or settings.k_limit,
        strategy=config.strategy or settings.strategy,
    )


def _facts(joined: JoinedBatch, embeddings: Embeddings) -> dict[str, Any]:
    made, facts, act = joined.clusters, joined.lineage.facts, joined.act
    state = joined.lineage.version.state
    sizes = {cluster.id: cluster.size for cluster in made.clusters}
    groups = [made.assignments[preset_id] for preset_id in embeddings.preset_ids]
    places = state.places(np.array([int(group[1:]) for group in groups], dtype=np.int64))
    cosines = own_cosines(RowParts.of(np.asarray(embeddings.vectors)), state.centroids, places)
    births, retirements = (facts.births, facts.retirements) if act is not None else ([], [])
    return {
        "lineage": joined.lineage.name,
        "lineage_version": facts.number,
        "joined_as": facts.kind if act is not None else "known already",
        "previous": made.previous or dg.MetadataValue.null(),
        "k": made.k,
        "lineage_k": state.k,
        "lineage_presets": len(joined.lineage.version),
        "k_reason": made.k_reason or "",
        "seed": made.seed,
        "strategy": made.strategy,
        "presets": len(groups),
        "brought": 0 if act is None else len(act.brought),
        "changed_ids": facts.changed if act is not None else 0,
        "changed_since_first_publication": facts.since_first_changed,
        "mean_cosine_to_centroid": round(float(cosines.mean()), 4),
        "largest_cluster": max(sizes.values()),
        "smallest_cluster": min(sizes.values()),
        "libraries": dg.MetadataValue.json(dict(state.libraries)),
        "births": dg.MetadataValue.md(
            markdown_table(
                ("id", "presets", "of them far before", "mean cosine", "before", "nearest", "cosine with it"),
                [
                    (
                        line.id, line.members, line.far_members, f"{line.mean_cosine:.3f}",
                        f"{line.former_mean_cosine:.3f}", line.nearest_cluster, f"{line.nearest_centroid_cosine:.3f}",
                    )
                    for line in births
                ],
            )
            if births
            else "none"
        ),
        "retirements": dg.MetadataValue.md(
            markdown_table(("id", "why", "into"), [(line.id, line.reason, line.into or "-") for line in retirements])
            if retirements
            else "none"
        ),
        "sizes": dg.MetadataValue.md(
            markdown_table(
                ("cluster", "label", "presets", "in the lineage", "born in"),
                [(one.id, one.label, one.size, one.library_size, one.born_in) for one in made.clusters],
            )
        ),
        "sizes_picture": dg.MetadataValue.md(
            as_markdown_image(
                bar_chart(list(sizes), list(sizes.values()), "Presets per cluster"), alt="presets per cluster"
            )
        ),
        "drift_picture": dg.MetadataValue.md(_drift_picture(joined)),
        "projection": dg.MetadataValue.md(_projection(embeddings, groups)),
    }  # fmt: skip


def _drift_picture(joined: JoinedBatch) -> str:
    """Return how far centroids turned with the batch, the farthest first, as a picture in Markdown."""
    former = joined.former
    if joined.act is None or former is None or joined.lineage.facts.kind == "anew":
        return "no earlier version to drift from" if joined.act is not None else "no new version"
    drift = centroid_drift(former.version, joined.lineage.version)
    turned = sorted(((1 - cosine, name) for name, cosine in drift.items()), reverse=True)[:_SHOWN_BARS]
    chart = bar_chart(
        [name for _, name in turned], [max(0.0, distance) for distance, _ in turned],
        "Turn of centroids with this batch (1 - cosine)",
        note=f"the farthest {len(turned)} of {len(drift)}; 0 is no turn",
    )  # fmt: skip
    return as_markdown_image(chart, alt="drift of centroids")


def _projection(embeddings: Embeddings, groups: list[str]) -> str:
    """Return the batch's presets in two dimensions with cluster ids, as a picture in Markdown."""
    shown = np.arange(len(groups))
    if len(groups) > _SHOWN_POINTS:
        shown = np.sort(np.random.default_rng(1).choice(len(groups), _SHOWN_POINTS, replace=False))
    picture = scatter(
        project_2d(np.asarray(embeddings.vectors[shown])), [groups[row] for row in shown],
        "Embeddings, first two principal components, by cluster",
    )  # fmt: skip
    return as_markdown_image(picture, alt="2-D projection of the embeddings by cluster")
