"""Lineages on disk as the cluster room knows them: opening one, committing its next version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

import numpy as np

from aivj_assets.cluster.lineage import Act, unaccounted
from aivj_assets.cluster.rows import FloatRows
from aivj_assets.cluster.version import OpenRows, Shas, Version, shas_of
from aivj_assets.contracts.base import utc_now
from aivj_assets.contracts.cluster_labels import ClusterLabels
from aivj_assets.contracts.clusters import cluster_id
from aivj_assets.contracts.embeddings import ModelCard
from aivj_assets.contracts.findings import examples
from aivj_assets.contracts.lineage import (
    BirthLine,
    ClusterMigration,
    LineageBatch,
    LineageMembers,
    LineageVersion,
    MigrationTable,
    PresetMigration,
    RemovedBatches,
    RetirementLine,
    commit_head,
    load_facts,
    load_members,
    load_migration,
    load_rows,
    load_version,
    read_head,
    save_version,
)
from aivj_assets.contracts.pack_settings import PackSettings
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot, LineageDir


def card_digest(card: ModelCard) -> str:
    """Return the SHA-256 of a model card as canonical JSON."""
    text = json.dumps(card.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def lineage_of(root: DataRoot, pack: str) -> LineageDir:
    """Return the folder of the lineage that a pack's settings name, by default `main`; raises `UserError`."""
    return root.lineage(PackSettings.of_pack(root, pack).lineage)


@dataclass(frozen=True)
class Lineage:
    """A lineage with its version in force."""

    folder: LineageDir
    facts: LineageVersion
    version: Version

    @classmethod
    def open(cls, folder: LineageDir) -> Lineage | None:
        """Read the version in force; None when there is none yet. Raises `UserError` when its files are broken."""
        number = read_head(folder)
        return None if number is None else cls.at(folder, number)

    @classmethod
    def at(cls, folder: LineageDir, number: int) -> Lineage:
        """Read one version; raises `UserError` when it is missing or broken."""
        facts, arrays = load_version(folder, number)
        try:
            version = Version.from_plain(facts.state, arrays)
        except UserError as error:
            raise UserError(f"Lineage '{folder.name}', {folder.version(number)}: {error}") from None
        return cls(folder, facts, version)

    @property
    def name(self) -> str:
        """The lineage's name."""
        return self.folder.name

    @property
    def keys(self) -> list[str]:
        """Batches in the order in which they came."""
        return [batch.key for batch in self.facts.batches]

    def batch(self, key: str) -> LineageBatch | None:
        """Return what is known of a batch; None when it is not in the lineage."""
        return next((batch for batch in self.facts.batches if batch.key == key), None)

    @property
    def open_rows(self) -> OpenRows:
        """Return the rows that came with a version, memory-mapped."""

        def opened(number: int) -> FloatRows:
            return load_rows(self.folder, number)

        return opened

    @cached_property
    def held(self) -> dict[str, Shas]:
        """The presets of every batch, by key."""
        return {batch.key: shas_of(self.members(batch).preset_sha256) for batch in self.facts.batches}

    @property
    def labels(self) -> dict[str, str]:
        """Return {cluster id: label}; a cluster without one is called by its id."""
        known = ClusterLabels.load(self.folder.labels).labels if self.folder.labels.exists() else {}
        ids = [cluster_id(int(number)) for number in self.version.state.numbers]
        return {name: known[name].label if name in known else name for name in ids}

    def members(self, batch: LineageBatch) -> LineageMembers:
        """Return the presets of a batch as they are in the lineage."""
        return load_members(self.folder, batch.joined)

    def ids_of(self, batch: LineageBatch) -> dict[str, str]:
        """Return {presetId: cluster id} of a batch in this version."""
        members = self.members(batch)
        places = self.version.places_of(shas_of(members.preset_sha256))
        if (places < 0).any():
            raise UserError(
                f"Lineage '{self.name}': presets of batch {batch.key} are missing in version {self.facts.number}; "
                "bring the lineage's folder back from a backup."
            )
        numbers = self.version.numbers[places]
        return {name: cluster_id(int(number)) for name, number in zip(members.preset_ids, numbers, strict=True)}

    def history(self) -> Iterator[LineageVersion]:
        """Yield the facts of the versions up to this one, the latest first; raises `UserError` where one is broken."""
        facts: LineageVersion | None = self.facts
        while facts is not None:
            yield facts
            facts = None if facts.parent is None else load_facts(self.folder, facts.parent)

    def _after(self, number: int) -> Iterator[LineageVersion]:
        return takewhile(lambda facts: facts.number > number, self.history())

    def had_major_after(self, number: int) -> bool:
        """Whether a version later than this one re-fitted the lineage or began it anew."""
        return any(facts.kind in {"major", "anew"} for facts in self._after(number))

    def ids_changed_after(self, number: int) -> bool:
        """Whether a version later than this one changed a published id, or began the lineage anew."""
        return any(facts.changed or facts.kind == "anew" for facts in self._after(number))

    def parent(self) -> Lineage | None:
        """Return the version before."""
        return None if self.facts.parent is None else Lineage.at(self.folder, self.facts.parent)


@dataclass(frozen=True)
class NextVersion:
    """What `commit` writes beside the arithmetic: why and by what a version came about."""

    strategy: str
    batches: list[LineageBatch]
    card: ModelCard
    requested_k: int
    k_reason: str
    batch: str | None = None
    reason: str | None = None
    members: LineageMembers | None = None
    rows: FloatRows | None = None


def describe(folder: LineageDir, former: Lineage | None, act: Act, what: NextVersion) -> LineageVersion:
    """Return the facts of a version that an act makes."""
    version = act.version
    facts, _ = version.to_plain()
    return LineageVersion(
        lineage=folder.name, number=version.state.version, parent=None if former is None else former.facts.number,
        kind=version.state.kind, strategy=what.strategy, at=utc_now(), batch=what.batch, reason=what.reason,
        requested_k=what.requested_k, k_reason=what.k_reason, k=version.state.k, presets=len(version), card=what.card,
        batches=what.batches,
        births=[
            BirthLine(
                id=cluster_id(birth.number), members=birth.members, far_members=birth.far_members,
                mean_cosine=birth.mean_cosine, former_mean_cosine=birth.former_mean_cosine,
                nearest_centroid_cosine=birth.nearest_centroid_cosine,
                nearest_cluster=cluster_id(birth.nearest_cluster),
            )
            for birth in act.births
        ],
        retirements=[
            RetirementLine(
                id=cluster_id(gone.number), reason=gone.reason,
                into=None if gone.into is None else cluster_id(gone.into),
            )
            for gone in act.retirements
        ],
        changed=len(act.changes.shas),
        since_first_changed=int((version.numbers != version.first_numbers).sum()),
        state=facts,
    )  # fmt: skip


def migration_of(folder: LineageDir, former: Lineage | None, act: Act) -> MigrationTable | None:
    """Return the table of every published id that an act changes; None when it changes none."""
    if former is None or not len(act.changes.shas):
        return None
    names = _names_of(former)
    lines = zip(
        act.changes.shas.tolist(), act.changes.old.tolist(), act.changes.new.tolist(), act.changes.gain.tolist(),
        strict=True,
    )  # fmt: skip
    return MigrationTable(
        lineage=folder.name, before=former.facts.number, after=act.version.state.version, kind=act.version.state.kind,
        clusters=[
            ClusterMigration(
                old=cluster_id(line.old), new=cluster_id(line.new), presets=line.presets, mean_gain=line.mean_gain
            )
            for line in act.migration
        ],
        presets=[
            PresetMigration(
                preset_sha256=sha.decode(), preset_id=name, old=cluster_id(old), new=cluster_id(new), gain=gain
            )
            for sha, old, new, gain in lines
            for name in names.get(sha.decode(), [""])
        ],
    )  # fmt: skip


def _names_of(lineage: Lineage) -> dict[str, list[str]]:
    """Return {SHA-256: ids of all presets with that content}, in the order in which their batches came."""
    names: dict[str, list[str]] = {}
    for batch in lineage.facts.batches:
        members = lineage.members(batch)
        for sha, name in zip(members.preset_sha256, members.preset_ids, strict=True):
            known = names.setdefault(sha, [])
            if name not in known:
                known.append(name)
    return names


def stage(folder: LineageDir, former: Lineage | None, act: Act, what: NextVersion) -> Lineage:
    """Write an act's version, which is not yet in force, and return it as it will be.

    Raises `UserError`, and writes nothing, when published ids would change that no declared act accounts for.
    """
    facts = describe(folder, former, act, what)
    table = migration_of(folder, former, act)
    changed = churn_problem(former, act.version, table, facts.kind)
    if changed is not None:
        raise UserError(
            f"Lineage '{folder.name}': strategy '{what.strategy}' {changed}. Published ids change only in a minor or a "
            "major: take strategy lineage or minor, or give the pack a lineage of its own."
        )
    _, arrays = act.version.to_plain()
    save_version(folder, facts, arrays, members=what.members, rows=what.rows, migration=table)
    return Lineage(folder, facts, act.version)


def put_in_force(lineage: Lineage) -> None:
    """Make a staged version the one in force."""
    commit_head(lineage.folder, lineage.facts.number, lineage.facts.at)


def churn_problem(former: Lineage | None, after: Version, table: MigrationTable | None, kind: str) -> str | None:
    """Return how published ids changed without a declared act that accounts for each, or None."""
    listed: Mapping[str, tuple[str, str]] = (
        {} if table is None else {line.preset_sha256: (line.old, line.new) for line in table.presets}
    )
    changed = unaccounted(None if former is None else former.version, after, listed, kind)
    if not changed or former is None:
        return None
    names = _names_of(former)
    share = len(changed) / len(former.version)
    return (
        f"changes the cluster of {len(changed)} published presets ({share:.1%}) that no migration table of a minor or "
        f"major accounts for ({examples([names.get(sha, [sha])[0] for sha in changed])})"
    )


def stored_churn_problem(lineage: Lineage) -> str | None:
    """Hold a stored version against its parent: return the problem of its ids, or None. Raises `UserError`."""
    table = load_migration(lineage.folder, lineage.facts.number)
    return churn_problem(lineage.parent(), lineage.version, table, lineage.facts.kind)


def require_not_removed(folder: LineageDir, batch: BatchKey) -> None:
    """Raise `UserError` when a person took the batch out of the lineage."""
    gone = RemovedBatches.of(folder).batches.get(batch.key)
    if gone is not None:
        raise UserError(
            f"Batch {batch} was removed from lineage '{folder.name}' ({gone.reason}). To take it in again: "
            f"aivj lineage readmit {batch}."
        )


def centroid_drift(before: Version, after: Version) -> dict[str, float]:
    """Return {cluster id: cosine -1..1 of its centroid before and after} of the clusters that both have."""
    common, old, new = np.intersect1d(before.state.numbers, after.state.numbers, return_indices=True)
    cosines = np.einsum("ij,ij->i", before.state.centroids[old], after.state.centroids[new], dtype=np.float64)
    return {cluster_id(int(number)): float(cosine) for number, cosine in zip(common, cosines, strict=True)}
