"""`publication`: the only writer of `public/presets/<pack>/aivj-*.json`, from the pack's accepted batches."""

import hashlib
from typing import Any

import dagster as dg

from aivj_assets.contracts.base import utc_now
from aivj_assets.contracts.embeddings import EmbeddingsMeta
from aivj_assets.contracts.frames_index import OkRecord, read_records
from aivj_assets.contracts.frames_meta import FramesMeta
from aivj_assets.contracts.style import StyleIndex
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot, check_pack_name, sha256_file
from aivj_assets.orchestration.guard import acceptance_problem
from aivj_assets.orchestration.partitions import PACKS
from aivj_assets.orchestration.pictures import counts_table, markdown_table
from aivj_assets.orchestration.profile import settle_card
from aivj_assets.orchestration.resources import DataRootResource
from aivj_assets.orchestration.stages import PUBLISHED_STAGE
from aivj_assets.orchestration.step import user_errors
from aivj_assets.style.merge import AcceptedBatch, PackIndex, merge_batches
from aivj_assets.style.policy import build_policy


@dg.asset(
    partitions_def=PACKS,
    # A pack's batches are looked up when it is published: the guard decides which of them count.
    deps=[dg.AssetDep(PUBLISHED_STAGE, partition_mapping=dg.AllPartitionMapping())],
    group_name="pack",
    kinds={"json"},
    pool="publication",
)
def publication(context: dg.AssetExecutionContext, data_root: DataRootResource) -> dg.MaterializeResult[Any]:
    """Publish a pack: style index v1 and v0 and the policy, merged from every accepted batch and no other."""
    root = data_root.get()
    with user_errors():
        pack = check_pack_name(context.partition_key)
        accepted, refused = accepted_batches(context.instance, root, pack)
        for key, problem in refused.items():
            context.log.warning(f"Batch {key} is not published: {problem}")
        if not accepted:
            why = (
                "; ".join(f"{key}: {problem}" for key, problem in refused.items()) or "it has no batch with a manifest"
            )
            raise UserError(
                f"Pack '{pack}' has no accepted batch to publish ({why}). What is published stays as it is."
            )
        loaded = [load_accepted(root, batch) for batch in accepted]
        index = merge_batches(pack, loaded, utc_now())
        # Reading takes a while: a batch that was touched meanwhile is not published half old, half new.
        if accepted_batches(context.instance, root, pack)[0] != accepted:
            raise UserError(f"Pack '{pack}': a batch changed while its index was read; publish again.")
        # All carry one card; nothing is published under another than the pack's.
        settle_card(context.instance, root, accepted[0], loaded[0].card)
        digest = publish(root, pack, index)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(digest),
            metadata={
                "entries": len(index.v1.entries),
                "embedded_by": loaded[0].card.name,
                "batches": dg.MetadataValue.md("\n".join(f"- {batch}" for batch in accepted)),
                "batches_left_out": dg.MetadataValue.md(markdown_table(("batch", "why"), list(refused.items()))),
                "energies": dg.MetadataValue.md(counts_table("energy", index.tiers.counts)),
                "folder": dg.MetadataValue.path(str(root.pack_dir(pack))),
            },
        )


def accepted_batches(instance: dg.DagsterInstance, root: DataRoot, pack: str) -> tuple[list[BatchKey], dict[str, str]]:
    """Return a pack's accepted batches in order, and the others with what is missing."""
    accepted: list[BatchKey] = []
    refused: dict[str, str] = {}
    for batch in root.find_batches():
        if batch.pack != pack:
            continue
        problem = acceptance_problem(instance, root, batch, PUBLISHED_STAGE)
        if problem is None:
            accepted.append(batch)
        else:
            refused[batch.key] = problem
    return accepted, refused


def load_accepted(root: DataRoot, batch: BatchKey) -> AcceptedBatch:
    """Read what publication needs of one batch."""
    folder = root.batch(batch)
    v1 = StyleIndex.load(folder.style_index("v1"))
    records = read_records(folder.frames_index)
    motion: dict[str, float] = {}
    for entry in v1.entries:
        record = records.get(entry.preset_id)
        if not isinstance(record, OkRecord):
            raise UserError(
                f"Batch {batch}: '{entry.preset_id}' is indexed but has no frames; materialise style_index again."
            )
        motion[entry.preset_id] = record.metrics.motion
    return AcceptedBatch(
        batch=batch.key,
        fingerprint=FramesMeta.load(folder.frames_meta).fingerprint,
        card=EmbeddingsMeta.load(folder.embeddings_meta).card,
        v1=v1,
        v0=StyleIndex.load(folder.style_index("v0")),
        motion=motion,
    )


def publish(root: DataRoot, pack: str, index: PackIndex) -> str:
    """Write the three files, v1 last, and return the SHA-256 over them."""
    contents = (build_policy(pack, utc_now()), index.v0, index.v1)
    digest = hashlib.sha256()
    for path, content in zip(root.published_files(pack), contents, strict=True):
        content.save_if_changed(path)
        digest.update(f"{path.name}:{sha256_file(path)}\n".encode())
    return digest.hexdigest()
