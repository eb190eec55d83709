"""`style_index` and `style_policy` of a batch, in its artifact folder. Only publication writes under `public/`."""

from typing import Any

import dagster as dg

from aivj_assets.contracts.base import utc_now
from aivj_assets.contracts.clusters import Clusters
from aivj_assets.contracts.frames_index import OkRecord, read_records
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.pack_settings import PackSettings
from aivj_assets.contracts.style import StyleIndex
from aivj_assets.orchestration.partitions import BATCHES
from aivj_assets.orchestration.pictures import counts_table, markdown_table
from aivj_assets.orchestration.resources import DataRootResource, GuardResource
from aivj_assets.orchestration.stages import STAGES
from aivj_assets.orchestration.step import batch_step
from aivj_assets.style.energy import energy_by_motion
from aivj_assets.style.index import build_style_index_v0, build_style_index_v1
from aivj_assets.style.policy import build_policy


@dg.asset(
    partitions_def=BATCHES,
    deps=list(STAGES["style_index"].inputs),
    group_name="batch",
    kinds={"json"},
)
def style_index(
    context: dg.AssetExecutionContext, data_root: DataRootResource, guard: GuardResource
) -> dg.MaterializeResult[Any]:
    """Index every clustered preset: v1 by cluster and motion tier, v0 by author and title for the app's fallback."""
    root = data_root.get()
    with batch_step(context, root, "style_index", guard) as step:
        manifest = Manifest.load(root.manifest(step.batch))
        made = Clusters.load(step.folder.clusters)
        records = read_records(step.folder.frames_index)
        motion = {
            preset_id: record.metrics.motion
            for preset_id, record in records.items()
            if isinstance(record, OkRecord) and preset_id in made.assignments
        }
        tiers = energy_by_motion(motion)
        now = utc_now()
        v1 = build_style_index_v1(
            step.batch.pack, made, records=records, manifest=manifest, energies=tiers.energies, generated_at=now
        )
        v1.save_if_changed(step.folder.style_index("v1"))
        v0 = build_style_index_v0(step.batch.pack, made, manifest=manifest, generated_at=now)
        v0.save_if_changed(step.folder.style_index("v0"))
        authors = {entry.author_key for entry in v0.entries}
        return step.result(
            {
                "entries": len(v1.entries),
                "clusters": made.k,
                "authors": len(authors),
                "energies": dg.MetadataValue.md(counts_table("energy", tiers.counts)),
                "calm_max_motion": tiers.calm_max if tiers.calm_max is not None else dg.MetadataValue.null(),
                "groove_max_motion": tiers.groove_max if tiers.groove_max is not None else dg.MetadataValue.null(),
            }
        )


@dg.asset(
    partitions_def=BATCHES,
    deps=list(STAGES["style_policy"].inputs),
    group_name="batch",
    kinds={"json"},
)
def style_policy(
    context: dg.AssetExecutionContext, data_root: DataRootResource, guard: GuardResource
) -> dg.MaterializeResult[Any]:
    """Write the policy by which the app picks from the index: what a person set, what the index holds, defaults."""
    root = data_root.get()
    with batch_step(context, root, "style_policy", guard) as step:
        entries = StyleIndex.load(step.folder.style_index("v1")).entries
        made = build_policy(step.batch.pack, utc_now(), entries, PackSettings.of_pack(root, step.batch.pack).policy)
        made.policy.save_if_changed(step.folder.style_policy)
        return step.result(
            {
                "policy": dg.MetadataValue.json(made.policy.to_json()),
                "reasons": dg.MetadataValue.md(markdown_table(("value", "why"), list(made.reasons.items()))),
            }
        )
