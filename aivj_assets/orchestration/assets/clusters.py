"""`clusters`: k-means on the unit sphere over the batch's embeddings."""

from typing import Any

import dagster as dg
from pydantic import Field

from aivj_assets.cluster.choose_k import DEFAULT_K, DEFAULT_PRESETS_PER_CLUSTER
from aivj_assets.cluster.spherical import ClusterFit, fit_clusters
from aivj_assets.contracts.clusters import Clusters, save_centroids
from aivj_assets.contracts.embeddings import load_embeddings
from aivj_assets.contracts.pack_settings import ClusterSettings, PackSettings
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot, sha256_file
from aivj_assets.orchestration.instance import CLUSTER_POOL
from aivj_assets.orchestration.partitions import BATCHES
from aivj_assets.orchestration.pictures import counts_table
from aivj_assets.orchestration.resources import DataRootResource
from aivj_assets.orchestration.stages import STAGES
from aivj_assets.orchestration.step import batch_step
from aivj_assets.report.pictures import as_markdown_image, bar_chart, project_2d, scatter

_DEFAULT_SEED = 1


class ClusterConfig(dg.Config):
    """How many clusters, why that many, and the seed."""

    k: int | None = Field(
        default=None,
        description=f"by default the pack's setting, else {DEFAULT_K}, fewer in small packs: about "
        f"{DEFAULT_PRESETS_PER_CLUSTER} presets a cluster. A number given here is taken as it is.",
    )
    reason: str | None = Field(
        default=None, description="why this k was chosen; by default the pack's reason where k is the pack's"
    )
    seed: int | None = Field(default=None, description=f"by default the pack's setting, else {_DEFAULT_SEED}")


@dg.asset(
    partitions_def=BATCHES,
    deps=list(STAGES["clusters"].inputs),
    group_name="batch",
    kinds={"scikitlearn"},
    pool=CLUSTER_POOL,
)
def clusters(
    context: dg.AssetExecutionContext, config: ClusterConfig, data_root: DataRootResource
) -> dg.MaterializeResult[Any]:
    """Cluster every embedded preset; ids are unique within the pack, centroids are kept."""
    root = data_root.get()
    with batch_step(context, root, "clusters") as step:
        embeddings = load_embeddings(step.folder)
        settings = PackSettings.of_pack(root, step.batch.pack).clusters
        k = config.k or settings.k
        seed = next(value for value in (config.seed, settings.seed, _DEFAULT_SEED) if value is not None)
        digest = sha256_file(step.folder.embeddings)
        fit = fit_clusters(
            embeddings.vectors,
            embeddings.preset_ids,
            batch=step.batch.key,
            requested_k=k or DEFAULT_K,
            presets_per_cluster=1 if k else DEFAULT_PRESETS_PER_CLUSTER,
            seed=seed,
            embeddings_sha256=digest,
            first_number=first_number(root, step.batch, (digest, k or DEFAULT_K, seed)),
        )
        fit.clusters.k_reason = with_reason(fit.clusters.k_reason, config, settings)
        save_centroids(step.folder.centroids, fit.centroids)
        fit.clusters.save(step.folder.clusters)
        return step.result(_facts(fit, embeddings.vectors, embeddings.preset_ids))


def with_reason(k_reason: str | None, config: ClusterConfig, settings: ClusterSettings) -> str:
    """Return how k came about with the reason that a person gave for it; one for another k does not count."""
    is_packs = config.k is None or config.k == settings.k
    given = config.reason or (settings.reason if is_packs and settings.k is not None else None)
    why = " ".join((given or "").split())
    return f"{k_reason} Chosen because: {why}" if why else k_reason or ""


def first_number(root: DataRoot, batch: BatchKey, made_from: tuple[str, int, int]) -> int:
    """Return the number from which a batch's cluster ids count.

    The same embeddings, k and seed keep their ids. Anything else gets ids that no batch of the pack has had: an id
    never names two styles of a pack. Batches of a pack are clustered one at a time (pool of limit 1).
    """
    highest = -1
    for other in root.find_batches():
        path = root.batch(other).clusters
        if other.pack != batch.pack or not path.exists():
            continue
        try:
            known = Clusters.load(path)
        except UserError as error:
            raise UserError(f"Cluster ids of batch {other} are not known: {error}") from None
        numbers = [int(cluster.id[1:]) for cluster in known.clusters]
        if other == batch and (known.embeddings_sha256, known.requested_k, known.seed) == made_from:
            return min(numbers)
        highest = max(highest, *numbers)
    return highest + 1


def _facts(fit: ClusterFit, vectors: Any, preset_ids: list[str]) -> dict[str, Any]:
    made = fit.clusters
    sizes = {cluster.id: cluster.size for cluster in made.clusters}
    groups = [made.assignments[preset_id] for preset_id in preset_ids]
    return {
        "k": made.k,
        "k_reason": made.k_reason or "",
        "seed": made.seed,
        "strategy": made.strategy,
        "presets": len(preset_ids),
        "mean_cosine_to_centroid": round(fit.mean_cosine, 4),
        "largest_cluster": max(sizes.values()),
        "smallest_cluster": min(sizes.values()),
        "sizes": dg.MetadataValue.md(counts_table("cluster", sizes)),
        "sizes_picture": dg.MetadataValue.md(
            as_markdown_image(
                bar_chart(list(sizes), list(sizes.values()), "Presets per cluster"), alt="presets per cluster"
            )
        ),
        "projection": dg.MetadataValue.md(
            as_markdown_image(
                scatter(project_2d(vectors), groups, "Embeddings, first two principal components, by cluster"),
                alt="2-D projection of the embeddings by cluster",
            )
        ),
    }
