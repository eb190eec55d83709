"""Taking an earlier tool's artifacts into a pack as the baseline of its lineage; nothing is rendered or embedded.

Presets, frames, embeddings and clusters are recorded as materialisations without a run, each judged by its own checks;
what follows is made by the main job. Order of what is written: `adoption.json`, frames, index, embeddings, the
lineage's version, the batch's clusters, and last the lineage's head. Killed anywhere before it, the lineage has no
version, and the same command goes on.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np

from aivj_assets.cluster.lineage import Act, BatchRows, found
from aivj_assets.cluster.state import LineageParameters, Retired
from aivj_assets.cluster.version import shas_of
from aivj_assets.contracts.adoption import Adoption, cluster_number, is_undeclared
from aivj_assets.contracts.base import utc_now
from aivj_assets.contracts.cluster_labels import ClusterLabels, with_person_label
from aivj_assets.contracts.clusters import Clusters
from aivj_assets.contracts.embeddings import Embeddings, EmbeddingsMeta, load_embeddings, save_embeddings
from aivj_assets.contracts.findings import examples
from aivj_assets.contracts.lineage import LineageBatch, LineageMembers
from aivj_assets.contracts.pack_settings import PackSettings
from aivj_assets.embed.embed import FrameSource
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir, BatchKey, DataRoot, LineageDir, sha256_file, write_bytes_atomic
from aivj_assets.orchestration.adopt.model import NamedModel, with_model_of_rows
from aivj_assets.orchestration.assets.frames_facts import frames_facts
from aivj_assets.orchestration.embedding_facts import embedding_facts
from aivj_assets.orchestration.file_lock import held_lock
from aivj_assets.orchestration.guard import (
    acceptance_problem,
)
from aivj_assets.orchestration.lineage.join import (
    LINEAGE_TIMEOUT_S,
    batch_clusters,
    preset_shas,
    write_batch_clusters,
)
from aivj_assets.orchestration.lineage.labels import update_labels
from aivj_assets.orchestration.lineage.store import (
    Lineage,
    NextVersion,
    card_digest,
    lineage_of,
    put_in_force,
    require_not_removed,
    stage,
)
from aivj_assets.orchestration.partitions import BATCHES, PACKS
from aivj_assets.orchestration.pictures import markdown_table
from aivj_assets.orchestration.runless import RunlessRecords, held_batch
from aivj_assets.packs.adopt import AdoptedFolder, Tell, look_through
from aivj_assets.packs.adopt_frames import copy_frames

ADOPTED_STAGES = ("presets", "frames", "embeddings", "clusters")
ADOPTED = "adopted"
"""Strategy of the version that an adoption makes."""
_NO_PRESET = "no preset had it when it was adopted"
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dataclass(frozen=True)
class AdoptOptions:
    """The folder to adopt and why; the model of its rows, or a file with its card, where the folder tells none."""

    folder: Path
    card: Path | None = None
    model: NamedModel | None = None
    reason: str | None = None


@dataclass
class AdoptOutcome:
    """What an adoption brought. `rejected` are the checks that did not pass, `warnings` those that only warn."""

    folder: AdoptedFolder
    lineage: str
    in_force: bool = False
    is_new: bool = False
    copied: int = 0
    rejected: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """What was said of the labelling of clusters."""


def adopt_pack(
    instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey, options: AdoptOptions, tell: Tell
) -> AdoptOutcome:
    """Adopt a folder as a batch, up to its clusters, and put the lineage's first version in force.

    Adopted again, it goes on where it was stopped, or finds nothing to do. Raises `UserError`, with nothing written,
    when the folder or the pack does not allow it. An adoption that a check rejects is recorded, and not in force.
    """
    folder, place = options.folder.expanduser().resolve(), root.batch(batch)
    if folder.is_relative_to(place.path.resolve()):
        raise UserError(f"--from {options.folder} lies in the pack's own artifact folder: move it elsewhere first.")
    _require_no_run(instance, batch)
    lineage = lineage_of(root, batch.pack)
    former, earlier = Lineage.open(lineage), Adoption.of(place)
    _require_fresh(batch, place, former, earlier)
    require_not_removed(lineage, batch)
    looked = look_through(root, batch, folder, options.card, tell)
    if options.model is not None:
        looked = with_model_of_rows(looked, options.model.load(os.environ), tell)
    _require_same(batch, former, earlier, looked)
    work = _Adopting(instance, root, batch, lineage, looked, options, tell)
    return work.adopt(earlier)


def _require_no_run(instance: dg.DagsterInstance, batch: BatchKey) -> None:
    runs = instance.get_runs(
        dg.RunsFilter(tags={"dagster/partition": batch.key}, statuses=_UNFINISHED), limit=1
    )  # fmt: skip
    if runs:
        raise UserError(f"Batch {batch} is being worked on by run {runs[0].run_id}: wait for it or terminate it.")


def _began_with(former: Lineage, batch: BatchKey) -> bool:
    """Whether a lineage was begun by the adoption of this batch, and still has it."""
    first = list(former.history())[-1]
    return (first.strategy, first.batch) == (ADOPTED, batch.key) and former.batch(batch.key) is not None


def _require_fresh(batch: BatchKey, place: BatchDir, former: Lineage | None, earlier: Adoption | None) -> None:
    """Raise `UserError` when the lineage or the batch's folder has something else already."""
    if former is not None and (earlier is None or not _began_with(former, batch)):
        raise UserError(
            f"Lineage '{former.name}' has version {former.facts.number} already ({examples(former.keys)}), and an "
            f"adoption begins one: give pack '{batch.pack}' a lineage of its own (\"lineage\" in aivj-pack.json)."
        )
    logs = sorted(place.shard_logs_dir.glob("*.jsonl"))
    if logs:
        raise UserError(
            f"Batch {batch} is half rendered ({logs[0].parent}): finish it (aivj run {batch}), or move {place.path} "
            "away."
        )
    if earlier is not None:
        index = place.frames_index
        if index.exists() and sha256_file(index) != earlier.index_sha256:
            raise UserError(
                f"Batch {batch} has been rendered since it was adopted from {earlier.adopted_from}: move {place.path} "
                "away to adopt it anew."
            )
        return
    own = [path.name for path in (place.frames_index, place.embeddings, place.clusters) if path.exists()]
    if own:
        raise UserError(
            f"Batch {batch} has artifacts of its own ({', '.join(own)} in {place.path}): move that folder away, or "
            "adopt under the name of another pack."
        )


def _require_same(
    batch: BatchKey, former: Lineage | None, earlier: Adoption | None, looked: AdoptedFolder
) -> None:  # fmt: skip
    """Raise `UserError` when the batch is in force from another folder, or with another declared model."""
    if former is None or earlier is None:
        return
    if earlier.source_sha256 != looked.source_sha256:
        differ = sorted(
            name for name, digest in looked.source_sha256.items() if earlier.source_sha256.get(name) != digest
        )
        raise UserError(
            f"Batch {batch} is adopted from {earlier.adopted_from} already, and {', '.join(differ)} of "
            f"{looked.folder} is another: later presets come as batches or packs of their own."
        )
    card = looked.rows.meta.card
    if former.facts.card != card and not is_undeclared(former.facts.card):
        raise UserError(
            f"Batch {batch} is adopted with the card of {former.facts.card.name} already, not {card.name}: leave "
            "--embedder and --card away."
        )
    if former.facts.card != card and former.facts.number > 1:
        raise UserError(
            f"Lineage '{former.name}' has gone on to version {former.facts.number}: the model of its rows can no "
            "longer be named."
        )


@dataclass
class _Adopting:
    """One adoption under way."""

    instance: dg.DagsterInstance
    root: DataRoot
    batch: BatchKey
    lineage: LineageDir
    looked: AdoptedFolder
    options: AdoptOptions
    tell: Tell

    def __post_init__(self) -> None:
        self.place = self.root.batch(self.batch)
        self.outcome = AdoptOutcome(self.looked, self.lineage.name)
        self.records = RunlessRecords(
            self.instance, self.root, self.batch, self.looked.folder.name, self.outcome.rejected, self.outcome.warnings
        )

    def adopt(self, earlier: Adoption | None) -> AdoptOutcome:
        former = Lineage.open(self.lineage)
        same_card = former is None or former.facts.card == self.looked.rows.meta.card
        if former is not None and same_card and self._accepted("clusters"):
            self.outcome.in_force = True
            self.outcome.notes = list(earlier.notes if earlier is not None else self.looked.remarks)
            return self.outcome
        self.instance.add_dynamic_partitions(str(BATCHES.name), [self.batch.key])
        self.instance.add_dynamic_partitions(str(PACKS.name), [self.batch.pack])
        with held_batch(self.instance, self.root, self.batch):
            self.outcome.is_new = True
            self._begin(earlier)
            steps = (self._presets, self._frames, self._embeddings, self._clusters)
            for number, step in enumerate(steps):
                self.tell("Recording and judging", number, len(steps))
                step()
                if self.outcome.rejected:
                    break
            self.outcome.notes = list(self.looked.remarks)
        return self.outcome

    def _accepted(self, stage_name: str) -> bool:
        return acceptance_problem(self.instance, self.root, self.batch, stage_name) is None

    def _begin(self, earlier: Adoption | None) -> None:
        looked = self.looked
        index_sha256 = looked.frames_meta.index_sha256
        if earlier is not None and earlier.index_sha256 != index_sha256:
            # First the index, then the record: killed between them, no index seems to be of a rendering.
            self.place.frames_index.unlink(missing_ok=True)
        if earlier is not None and earlier.source_sha256 != looked.source_sha256:
            # Labels of clusters that never came in force.
            self.lineage.labels.unlink(missing_ok=True)
        record = Adoption(
            batch=self.batch.key, adopted_from=looked.folder.name,
            adopted_at=earlier.adopted_at if earlier is not None else utc_now(), reason=self.options.reason,
            source_sha256=looked.source_sha256, index_sha256=index_sha256, fingerprint=looked.fingerprint,
            model=looked.rows.meta.card.name, notes=looked.remarks,
        )  # fmt: skip
        record.save_if_changed(Adoption.path_in(self.place))

    def _presets(self) -> None:
        report = self.looked.report
        report.save_if_changed(self.place.presets_report)
        self.records.record(
            "presets", {"presets": report.total, "usable": report.usable, "left_out": len(report.refusals)}
        )

    def _frames(self) -> None:
        looked = self.looked
        self.outcome.copied = copy_frames(
            looked.copies, self.place.path, lambda done, total: self.tell("Copying frames", done, total)
        )
        index = looked.index_bytes
        if not _holds(self.place.frames_index, index):
            write_bytes_atomic(self.place.frames_index, index)
        looked.frames_meta.save_if_changed(self.place.frames_meta)
        facts = frames_facts(self.place, looked.manifest.presets, looked.frames_meta, rendered=0)
        self.records.record("frames", facts)

    def _embeddings(self) -> None:
        rows, place = self.looked.rows, self.place
        source = FrameSource.of_batch(
            place,
            self.looked.records,
            [preset.id for preset in self.looked.manifest.presets],
            frames_index_sha256=rows.meta.frames_index_sha256,
            max_frames_per_preset=rows.meta.max_frames_per_preset,
        )
        known = _known_rows(place, rows.vectors, rows.preset_ids)
        # A later run with the same model finds the rows current as long as no frame is touched.
        meta = rows.meta.model_copy(update={"frames_state": source.state()})
        if not known:
            save_embeddings(place, Embeddings(rows.vectors, rows.preset_ids, meta))
        else:
            meta.save_if_changed(place.embeddings_meta)
        self.records.record("embeddings", embedding_facts(self.root, self.batch, source, load_embeddings(place)))

    def _clusters(self) -> None:
        with held_lock(self.lineage.lock, timeout_s=LINEAGE_TIMEOUT_S):
            former = Lineage.open(self.lineage)
            if former is not None and not _began_with(former, self.batch):
                raise UserError(f"Lineage '{former.name}' was begun by another batch meanwhile; nothing was changed.")
            meta = EmbeddingsMeta.load(self.place.embeddings_meta)
            if former is not None and former.facts.card != meta.card:
                # The model was named afterwards: as the lineage has this batch alone, it begins once more.
                self.lineage.head.unlink()
                former = None
            lineage = former if former is not None else self._staged(meta)
            if former is None:
                self._keep_labels(lineage)
                update_labels(self.root, lineage, again=False, say=self.outcome.told.append)
            made = batch_clusters(lineage, self.batch, embeddings_sha256=sha256_file(self.place.embeddings))
            if not self._says(made):
                write_batch_clusters(self.place, lineage, made)
            self.records.record("clusters", self._cluster_facts(lineage, made))
            if not self.outcome.rejected:
                if former is None:
                    put_in_force(lineage)
                self.outcome.in_force = True

    def _keep_labels(self, lineage: Lineage) -> None:
        """Take over what the folder calls its clusters, as a person's words; a label that is the id is none."""
        path, now = lineage.folder.labels, utc_now()
        before = ClusterLabels.load(path) if path.exists() else ClusterLabels(generated_at=now, lineage=lineage.name)
        labels, known = before, list(lineage.labels)
        for one in self.looked.clusters.clusters:
            if one.id in known and one.id not in before.labels and one.label and one.label.strip() != one.id:
                try:
                    labels = with_person_label(labels, one.id, one.label, known_ids=known, at=now)
                except UserError as error:
                    self.looked.notes.append(f"{one.id}: {str(error).rstrip('.')}; it is labelled anew")
        if labels != before:
            labels.save(path)

    def _says(self, made: Clusters) -> bool:
        try:
            return Clusters.load(self.place.clusters) == made and self.place.centroids.exists()
        except UserError:
            return False

    def _staged(self, meta: EmbeddingsMeta) -> Lineage:
        """Write the lineage's first version, which is not yet in force."""
        looked, given = self.looked, self.looked.clusters
        settings = PackSettings.of_pack(self.root, self.batch.pack).clusters
        shas = preset_shas(self.root, self.batch, looked.rows.preset_ids)
        rows = BatchRows(self.batch.key, shas_of(shas), looked.rows.vectors)
        k = len(set(looked.numbers))
        requested = settings.k or given.requested_k or k
        seed = settings.seed if settings.seed is not None else given.seed if given.seed is not None else 1
        parameters = LineageParameters(k=k, k_limit=settings.k_limit or max(2 * requested, k), seed=seed)
        act = found(rows, model=card_digest(meta.card), parameters=parameters, labels=np.array(looked.numbers))
        act = self._with_past(act)
        line = LineageBatch(
            key=self.batch.key, joined=act.version.state.version, joined_at=utc_now(), presets=len(shas),
            brought=len(act.brought), fingerprint=looked.fingerprint,
            embeddings_sha256=sha256_file(self.place.embeddings),
        )  # fmt: skip
        members = LineageMembers(
            batch=self.batch.key, preset_ids=looked.rows.preset_ids, preset_sha256=shas, brought=act.brought.tolist()
        )
        why = " ".join(part for part in (f"{k} clusters adopted from {looked.folder.name}.", given.k_reason) if part)
        what = NextVersion(
            strategy=ADOPTED, batches=[line], card=meta.card, requested_k=requested, k_reason=why,
            batch=self.batch.key, reason=self.options.reason, members=members,
            rows=np.asarray(looked.rows.vectors[act.brought]),
        )  # fmt: skip
        return stage(self.lineage, None, act, what)

    def _with_past(self, act: Act) -> Act:
        """Return the act with what the folder tells of its clusters: where they were born, and ids without a preset.

        Copies of a preset by content go where the first of them is; a cluster of such copies alone is retired too.
        """
        state, looked = act.version.state, self.looked
        born = {cluster_number(one.id): one.born_in for one in looked.clusters.clusters if one.born_in}
        declared = {cluster_number(one.id) for one in looked.clusters.clusters} | set(looked.numbers)
        gone = sorted({number for number in declared if number is not None} - set(state.numbers.tolist()))
        state = replace(
            state, born_in=tuple(born.get(int(number)) or self.batch.key for number in state.numbers),
            next_number=max([state.next_number, *(number + 1 for number in gone)]),
            retired=tuple(Retired(number, state.version, _NO_PRESET, None) for number in gone),
        )  # fmt: skip
        moved = int((act.version.numbers[self._places(act)] != np.array(looked.numbers)).sum())
        if moved:
            looked.notes.append(f"{moved} presets are copies of others by content and take the cluster of those")
        return replace(act, version=replace(act.version, state=state), retirements=state.retired)

    def _places(self, act: Act) -> np.ndarray[Any, np.dtype[np.int64]]:
        shas = preset_shas(self.root, self.batch, self.looked.rows.preset_ids)
        return act.version.places_of(shas_of(shas))

    def _cluster_facts(self, lineage: Lineage, made: Clusters) -> dict[str, Any]:
        sizes = [cluster.size for cluster in made.clusters]
        listed = [(one.id, one.label, one.size, one.born_in) for one in made.clusters]
        return {
            "lineage": lineage.name,
            "lineage_version": lineage.facts.number,
            "joined_as": lineage.facts.kind,
            "k": made.k,
            "k_reason": made.k_reason or "",
            "seed": made.seed,
            "strategy": made.strategy,
            "presets": len(made.assignments),
            "largest_cluster": max(sizes),
            "smallest_cluster": min(sizes),
            "sizes": dg.MetadataValue.md(markdown_table(("cluster", "label", "presets", "born in"), listed)),
        }


def _holds(path: Path, data: bytes) -> bool:
    try:
        return sha256_file(path) == hashlib.sha256(data).hexdigest()
    except OSError:
        return False


def _known_rows(place: BatchDir, vectors: np.ndarray[Any, np.dtype[np.float32]], ids: list[str]) -> bool:
    """Whether these very rows lie in the batch's folder already."""
    try:
        made = load_embeddings(place)
    except UserError:
        return False
    return made.preset_ids == ids and np.array_equal(made.vectors, vectors)
