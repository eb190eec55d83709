"""`presets`: the batch's manifest, validated; what cannot be rendered is named with its reason."""

from collections import Counter
from collections.abc import Iterable

import dagster as dg

from aivj_assets.layout import DataRoot
from aivj_assets.orchestration.lineage.store import lineage_of, require_not_removed
from aivj_assets.orchestration.partitions import BATCHES
from aivj_assets.orchestration.pictures import counts_table
from aivj_assets.orchestration.requires import require_not_waiting
from aivj_assets.orchestration.resources import DataRootResource
from aivj_assets.orchestration.step import batch_step
from aivj_assets.packs.validate import validate_batch


@dg.asset(partitions_def=BATCHES, group_name="batch", kinds={"json"})
def presets(context: dg.AssetExecutionContext, data_root: DataRootResource) -> dg.MaterializeResult[None]:
    """Validate the submitted manifest of a batch: version, unique ids, preset files that can be read.

    A preset that is left out (missing, empty, binary, too large, outside the pack) keeps its place: it counts as failed
    in the ok rate.
    """
    root: DataRoot = data_root.get()
    with batch_step(context, root, "presets") as step:
        # Before hours are spent on what its lineage will refuse.
        require_not_removed(lineage_of(root, step.batch.pack), step.batch)
        require_not_waiting(context.instance, root, step.batch.pack)
        _, report = validate_batch(root, step.batch)
        report.save_if_changed(step.folder.presets_report)
        copies = sum(len(ids) - 1 for ids in report.duplicates.values())
        return step.result(
            {
                "presets": report.total,
                "usable": report.usable,
                "left_out": len(report.refusals),
                "duplicate_presets": copies,
                "formats": dg.MetadataValue.md(counts_table("format", report.formats)),
                "reasons": dg.MetadataValue.md(
                    counts_table("reason", _count(refusal.reason for refusal in report.refusals))
                ),
                "manifest": dg.MetadataValue.path(str(root.manifest(step.batch))),
                "manifest_sha256": report.manifest_sha256,
            }
        )


def _count(reasons: Iterable[str]) -> dict[str, int]:
    return dict(Counter(reasons).most_common())
