"""`publication`: the only writer of `public/presets/<pack>/aivj-*.json`, from the pack's accepted batches."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from aivj_assets.contracts.base import ContractFile, utc_now
from aivj_assets.contracts.clusters import BatchLineage, Cluster, Clusters
from aivj_assets.contracts.embeddings import EmbeddingsMeta
from aivj_assets.contracts.frames_index import OkRecord, read_records
from aivj_assets.contracts.frames_meta import FramesMeta
from aivj_assets.contracts.lineage import EnergyCuts, LineageEnergy, RemovedBatches
from aivj_assets.contracts.pack_settings import PackSettings
from aivj_assets.contracts.style import StyleIndex
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot, check_pack_name, sha256_file, write_json_files
from aivj_assets.orchestration.file_lock import held_lock
from aivj_assets.orchestration.guard import acceptance_problem, is_unfinished
from aivj_assets.orchestration.lineage.join import LINEAGE_TIMEOUT_S
from aivj_assets.orchestration.lineage.store import Lineage, lineage_of
from aivj_assets.orchestration.pack_files import write_pack_files
from aivj_assets.orchestration.partitions import PACKS
from aivj_assets.orchestration.pictures import counts_table, markdown_table
from aivj_assets.orchestration.profile import batch_pixels, settle_profile
from aivj_assets.orchestration.resources import DataRootResource
from aivj_assets.orchestration.stages import PUBLISHED_STAGE
from aivj_assets.orchestration.step import user_errors
from aivj_assets.orchestration.verdicts.published import QA_FIELD, judgement_of, qa_facts, told_of_qa
from aivj_assets.orchestration.verdicts.record import keep_up_to_date
from aivj_assets.packs.rendered import RenderedBatches
from aivj_assets.style.energy import EnergyTiers, energy_by_cuts
from aivj_assets.style.judged import Judgement
from aivj_assets.style.merge import AcceptedBatch, PackIndex, merge_batches, require_mergeable, settle_cuts
from aivj_assets.style.policy import ReasonedPolicy, build_policy


@dg.asset(
    partitions_def=PACKS,
    # A pack's batches are looked up when it is published: the guard decides which of them count.
    deps=[dg.AssetDep(PUBLISHED_STAGE, partition_mapping=dg.AllPartitionMapping())],
    group_name="pack",
    kinds={"json"},
    pool="publication",
)
def publication(context: dg.AssetExecutionContext, data_root: DataRootResource) -> dg.MaterializeResult[Any]:
    """Publish a pack: style index v1 and v0, clusters and policy, from every accepted batch and no other."""
    root = data_root.get()
    with user_errors():
        pack = check_pack_name(context.partition_key)
        require_finished(context.instance, root, pack)
        accepted, refused = publishable_batches(context.instance, root, pack)
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
        rendered = RenderedBatches(root, accepted)
        require_mergeable(pack, loaded)
        folder = lineage_of(root, pack)
        with held_lock(folder.lock, timeout_s=LINEAGE_TIMEOUT_S):
            made = gather(root, pack, accepted, loaded, judgement_of(root, pack, rendered))
            # Reading takes a while: a batch that was touched meanwhile is not published half old, half new.
            if publishable_batches(context.instance, root, pack)[0] != accepted:
                raise UserError(f"Pack '{pack}': a batch changed while its index was read; publish again.")
            # All carry one card and one fingerprint; nothing is published under others than the lineage's.
            settle_profile(context.instance, root, accepted[0], loaded[0].card, batch_pixels(root, accepted[0]))
            keep_cuts(made)
            digest = publish(root, made)
            facts = _facts(root, made, refused, loaded[0].card.name)
            # Entries of 130,000 presets, which what follows has no use for.
            del made, loaded
            side = write_pack_files(root, pack, rendered, context.log.warning)
        # Clusters that grew much are asked for again in every batch, not only in the one that came.
        keep_up_to_date(context.instance, root, folder, context.log.warning)
        return dg.MaterializeResult(data_version=dg.DataVersion(digest), metadata={**facts, **side})


@dataclass(frozen=True)
class Publication:
    """What is about to be published of a pack. `cuts` are those that hold, `new_cuts` whether they are new."""

    pack: str
    lineage: Lineage
    batches: list[BatchKey]
    index: PackIndex
    clusters: Clusters
    tiers: EnergyTiers
    energy: LineageEnergy
    cuts: EnergyCuts
    judgement: Judgement
    left_out: dict[str, str]
    """{presetId: why} of accepted presets that are not published because of what a person said."""
    policy: ReasonedPolicy

    @property
    def new_cuts(self) -> bool:
        """Whether the cut points were drawn just now."""
        return self.energy.cuts != self.cuts


def require_finished(instance: dg.DagsterInstance, root: DataRoot, pack: str) -> None:
    """Raise `UserError` when a batch that is published is being made again, or that was cut off.

    A re-run of one of five batches once took its presets out of the index for two minutes, a killed one for good. A
    rejected batch is another matter: it leaves the index, and a person may remove any.
    """
    removed = RemovedBatches.of(lineage_of(root, pack)).batches
    for batch in unfinished_batches(instance, root, pack):
        if batch.key not in removed:
            raise UserError(
                f"Pack '{pack}': batch {batch}, which is published, is being made again or that was cut off; what is "
                f"published stays as it is until it is done: aivj run {batch} (or aivj lineage remove {batch})."
            )


def unfinished_batches(instance: dg.DagsterInstance, root: DataRoot, pack: str) -> list[BatchKey]:
    """Return the batches of a pack's publication that are neither accepted nor rejected now."""
    path = root.published_files(pack)[-1]
    if not path.exists():
        return []
    listed = (StyleIndex.load(path).model_extra or {}).get("batches")
    names = {line.get("batch") for line in listed if isinstance(line, dict)} if isinstance(listed, list) else set()
    batches = [batch for batch in root.find_batches() if batch.pack == pack and batch.key in names]
    return [batch for batch in batches if is_unfinished(instance, root, batch, PUBLISHED_STAGE)]


def publishable_batches(
    instance: dg.DagsterInstance, root: DataRoot, pack: str
) -> tuple[list[BatchKey], dict[str, str]]:
    """Return a pack's accepted batches that no person removed, in order, and the others with what is missing."""
    accepted: list[BatchKey] = []
    refused: dict[str, str] = {}
    removed = RemovedBatches.of(lineage_of(root, pack)).batches
    for batch in root.find_batches():
        if batch.pack != pack:
            continue
        problem = acceptance_problem(instance, root, batch, PUBLISHED_STAGE)
        if batch.key in removed:
            problem = f"it was removed from its lineage ({removed[batch.key].reason})"
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


def gather(
    root: DataRoot,
    pack: str,
    accepted: list[BatchKey],
    loaded: list[AcceptedBatch],
    judgement: Judgement | None = None,
) -> Publication:
    """Return the pack as its lineage's version in force and what persons said have it; raises `UserError`."""
    folder = lineage_of(root, pack)
    lineage = Lineage.open(folder)
    if lineage is None:
        raise UserError(f"Pack '{pack}': lineage '{folder.name}' has no version; materialise clusters of its batches.")
    ids: dict[str, str] = {}
    for batch in accepted:
        known = lineage.batch(batch.key)
        if known is None:
            raise UserError(
                f"Batch {batch} is accepted but not in lineage '{lineage.name}', which began anew in version "
                f"{lineage.facts.number}: aivj run {batch}, or remove the batch (aivj lineage remove {batch})."
            )
        ids |= lineage.ids_of(known)
    motion = {name: value for batch in loaded for name, value in batch.motion.items()}
    now, energy = utc_now(), LineageEnergy.of(folder)
    major_since = energy.cuts is not None and lineage.had_major_after(energy.cuts.lineage_version)
    cuts = settle_cuts(
        pack, motion, energy.cuts, major_since=major_since, lineage_version=lineage.facts.number, at=now
    )  # fmt: skip
    tiers = energy_by_cuts(motion, cuts.calm_max, cuts.groove_max)
    judgement = judgement or Judgement(labels=lineage.labels)
    left_out = judgement.left_out(pack, {name: ids[name] for name in motion})
    index = merge_batches(pack, loaded, now, clusters=ids, tiers=tiers, left_out=left_out, tags=judgement.tags())
    clusters = _pack_clusters(lineage, ids, index, loaded, judgement)
    told = {QA_FIELD: told_of_qa(judgement, left_out, ids)}
    clusters = clusters.model_copy(update=told)
    policy = build_policy(pack, now, index.v1.entries, PackSettings.of_pack(root, pack).policy)
    return Publication(pack, lineage, accepted, index, clusters, tiers, energy, cuts, judgement, left_out, policy)


def _pack_clusters(
    lineage: Lineage, ids: dict[str, str], index: PackIndex, loaded: list[AcceptedBatch], judgement: Judgement
) -> Clusters:
    """Return the pack's clusters in the lineage's version in force; centroid rows are the lineage's places."""
    assignments = {entry.preset_id: ids[entry.preset_id] for entry in index.v1.entries}
    sizes, state, labels = Counter(assignments.values()), lineage.version.state, lineage.labels
    listed = [(place, f"c{number:02d}") for place, number in enumerate(state.numbers.tolist())]
    return Clusters.model_validate(
        {
            "k": len(sizes),
            "seed": state.parameters.seed,
            "strategy": lineage.facts.strategy,
            "previous": None,
            "clusters": [
                Cluster(
                    id=name, size=sizes[name], centroid=place, born_in=state.born_in[place],
                    label=labels[name], library_size=int(state.sizes[place]), verdict=judgement.verdicts.get(name),
                )
                for place, name in listed
                if name in sizes
            ],
            "assignments": assignments,
            "requested_k": lineage.facts.requested_k,
            "k_reason": lineage.facts.k_reason,
            "lineage": BatchLineage(
                name=lineage.name, version=lineage.facts.number, k=state.k, presets=len(lineage.version)
            ),
            "batches": [{"batch": batch.batch, "fingerprint": batch.fingerprint} for batch in loaded],
        }
    )  # fmt: skip


def keep_cuts(made: Publication) -> None:
    """Store cut points that were drawn just now; a publication that is cut off after this finds and uses them."""
    if not made.new_cuts:
        return
    history = [*made.energy.history, *([made.energy.cuts] if made.energy.cuts is not None else [])]
    made.energy.model_copy(update={"cuts": made.cuts, "history": history}).save(made.lineage.folder.energy)


def publish(root: DataRoot, made: Publication) -> str:
    """Write the four files, v1 last, and return the SHA-256 over them.

    Each carries the same `publication`, a digest of what all say: a reader that meets two different ones has come
    between two renames and fetches again.
    """
    contents: tuple[ContractFile, ...] = (
        made.policy.policy, made.clusters, made.index.v0, made.index.v1,
    )  # fmt: skip
    plain = [content.to_json() for content in contents]
    digest = hashlib.sha256()
    for content in plain:
        timeless = {name: value for name, value in content.items() if name != "generatedAt"}
        digest.update(json.dumps(timeless, sort_keys=True, separators=(",", ":")).encode())
    told = digest.hexdigest()
    files = {
        path: {**content, "publication": told}
        for path, content in zip(root.published_files(made.pack), plain, strict=True)
    }
    if not all(_says(path, told) for path in files):
        write_json_files(files)
    total = hashlib.sha256()
    for path in files:
        total.update(f"{path.name}:{sha256_file(path)}\n".encode())
    return total.hexdigest()


def _says(path: Path, publication_digest: str) -> bool:
    """Whether a published file is of this very publication."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("publication") == publication_digest


def _facts(root: DataRoot, made: Publication, refused: dict[str, str], card: str) -> dict[str, Any]:
    cuts = made.cuts
    return {
        "entries": len(made.index.v1.entries),
        "embedded_by": card,
        "batches": dg.MetadataValue.md("\n".join(f"- {batch}" for batch in made.batches)),
        "batches_left_out": dg.MetadataValue.md(
            markdown_table(("batch", "why"), list(refused.items())) if refused else "none"
        ),
        "lineage": made.lineage.name,
        "lineage_version": made.lineage.facts.number,
        "clusters": len(made.clusters.clusters),
        "changed_since_first_publication": made.lineage.facts.since_first_changed,
        **qa_facts(made.judgement, made.left_out),
        "energies": dg.MetadataValue.md(counts_table("energy", made.tiers.counts)),
        "energy_cuts": dg.MetadataValue.md(
            markdown_table(
                ("calm up to", "groove up to", "drawn from", "because", "energies flipped"),
                [
                    (
                        cuts.calm_max,
                        cuts.groove_max,
                        f"{cuts.presets} presets of {cuts.drawn_from}",
                        cuts.reason,
                        cuts.flips,
                    )
                ],
            )
        ),
        "energy_flips": cuts.flips if made.new_cuts else 0,
        "policy_reasons": dg.MetadataValue.md(markdown_table(("value", "why"), list(made.policy.reasons.items()))),
        "folder": dg.MetadataValue.path(str(root.pack_dir(made.pack))),
    }
