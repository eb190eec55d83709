"""A lineage's folder: its versions one after the other, a head that names the one in force, energy cut points.

`head.json` is replaced last, so that a version is in force whole or not at all. A version's folder holds the facts
(`lineage.json`), the arrays of its clustering and of its published presets (`state.npz`), the rows and members of the
batch that made it (`rows.npy`, `members.json`) and, where ids changed, `migration.json`.
"""

from __future__ import annotations

import io
import shutil
import uuid
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from aivj_assets.contracts.base import ContractFile, ContractModel
from aivj_assets.contracts.embeddings import ModelCard
from aivj_assets.errors import UserError
from aivj_assets.layout import LineageDir, replace_folder, sha256_file, write_bytes_atomic

Arrays = Mapping[str, npt.NDArray[Any]]


class LineageHead(ContractFile):
    """`head.json`: the version in force."""

    version: Literal["v0"] = "v0"
    lineage: str
    head: int = Field(ge=1)
    at: str


class LineageBatch(ContractModel):
    """A batch of a lineage, in the order in which batches came."""

    key: str
    joined: int = Field(ge=1, description="version with which it came, or came again with other presets")
    joined_at: str
    presets: int = Field(ge=1)
    brought: int = Field(ge=0, description="presets that no earlier batch had")
    fingerprint: str = Field(description="of the pixel parameters of its frames")
    embeddings_sha256: str


class BirthLine(ContractModel):
    """A cluster that a batch founded, with the evidence. Cosines are -1..1."""

    id: str
    members: int
    far_members: int
    mean_cosine: float
    former_mean_cosine: float
    nearest_centroid_cosine: float
    nearest_cluster: str


class RetirementLine(ContractModel):
    """An id that is never given again; `into` is where most of its presets went."""

    id: str
    reason: str
    into: str | None = None


class ClusterMigration(ContractModel):
    """How many published presets went from one cluster to another, and their mean gain in cosine."""

    old: str
    new: str
    presets: int
    mean_gain: float


class PresetMigration(ContractModel):
    """A published preset whose id changed."""

    preset_sha256: str
    preset_id: str
    old: str
    new: str
    gain: float


class MigrationTable(ContractFile):
    """`migration.json`: every published id that a version changed, by cluster and by preset."""

    version: Literal["v0"] = "v0"
    lineage: str
    before: int = Field(alias="from")
    after: int = Field(alias="to")
    kind: str
    clusters: list[ClusterMigration]
    presets: list[PresetMigration]


class LineageVersion(ContractFile):
    """`lineage.json`: one version. `state` are the facts of the clustering that the arrays do not hold."""

    version: Literal["v0"] = "v0"
    lineage: str
    number: int = Field(ge=1)
    parent: int | None
    kind: str
    strategy: str
    at: str
    batch: str | None = Field(description="the batch that came, or was removed")
    reason: str | None = Field(None, description="of a person, for an act without a batch")
    requested_k: int
    k_reason: str
    k: int = Field(ge=1)
    presets: int = Field(ge=1)
    card: ModelCard
    batches: list[LineageBatch]
    births: list[BirthLine]
    retirements: list[RetirementLine]
    changed: int = Field(0, ge=0, description="published presets whose id this version changed")
    since_first_changed: int = Field(0, ge=0, description="published presets whose id is not that of their first one")
    state: dict[str, Any]
    state_sha256: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object; `parent` and `batch` are written even when there is none."""
        return {**super().to_json(), "parent": self.parent, "batch": self.batch}


class LineageMembers(ContractFile):
    """`members.json`: the presets of the batch that made a version, in the order of its embeddings.

    `brought` are the places among them whose rows are those of `rows.npy`, in that order.
    """

    version: Literal["v0"] = "v0"
    batch: str
    preset_ids: list[str]
    preset_sha256: list[str]
    brought: list[int]


class EnergyCuts(ContractModel):
    """Cut points of motion (0..1): calm up to `calmMax`, groove up to `grooveMax`, else peak; null: all are groove."""

    calm_max: float | None
    groove_max: float | None
    drawn_at: str
    drawn_from: str = Field(description="the pack whose terciles they are")
    lineage_version: int
    presets: int
    reason: str
    flips: int = Field(0, ge=0, description="presets of that pack whose energy the cut points before gave otherwise")


class LineageEnergy(ContractFile):
    """`energy.json`: the cut points in force, and those before, oldest first."""

    version: Literal["v0"] = "v0"
    lineage: str
    cuts: EnergyCuts | None = None
    history: list[EnergyCuts] = Field(default_factory=list)

    @classmethod
    def of(cls, folder: LineageDir) -> LineageEnergy:
        """Read a lineage's cut points; none are drawn yet where there is no file."""
        return cls.load(folder.energy) if folder.energy.exists() else cls(lineage=folder.name)


class RemovedBatch(ContractModel):
    """A batch that a person took out of the lineage."""

    at: str
    reason: str


class RemovedBatches(ContractFile):
    """`removed.json`: batches that a person took out and has not let in again, by key."""

    version: Literal["v0"] = "v0"
    batches: dict[str, RemovedBatch] = Field(default_factory=dict)

    @classmethod
    def of(cls, folder: LineageDir) -> RemovedBatches:
        """Read the file; none is removed where there is none."""
        return cls.load(folder.removed) if folder.removed.exists() else cls()


def read_head(folder: LineageDir) -> int | None:
    """Return the number of the version in force; None when the lineage has none yet. Raises `UserError`."""
    if not folder.head.exists():
        return None
    try:
        head = LineageHead.load(folder.head)
    except UserError as error:
        raise UserError(
            f"{error} It names the version in force: mend it with the number of a folder in versions/ "
            f'({{"version": "v0", "lineage": "{folder.name}", "head": 1, "at": ""}}); nothing was changed.'
        ) from None
    if not folder.version(head.head).is_dir():
        raise UserError(
            f"Lineage '{folder.name}': {folder.version(head.head)} of version {head.head} is missing; bring it back "
            f"from a backup, or set the head in {folder.head.name} to an earlier version. Nothing was changed."
        )
    return head.head


def load_facts(folder: LineageDir, number: int) -> LineageVersion:
    """Read a version's facts alone; raises `UserError`."""
    return LineageVersion.load(folder.version(number) / "lineage.json")


def load_version(folder: LineageDir, number: int) -> tuple[LineageVersion, dict[str, npt.NDArray[Any]]]:
    """Read a version's facts and arrays; raises `UserError` when they are missing, torn or not of each other."""
    place = folder.version(number)
    facts = load_facts(folder, number)
    path = place / "state.npz"
    try:
        if sha256_file(path) != facts.state_sha256:
            raise UserError(f"{path} is not what lineage.json says; bring it back from a backup.")
        with np.load(path, allow_pickle=False) as loaded:
            return facts, {name: loaded[name] for name in loaded.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read ({error}); bring it back from a backup.") from None


def load_rows(folder: LineageDir, number: int) -> npt.NDArray[np.float32]:
    """Return the rows float32 [m, d] that came with a version, memory-mapped; raises `UserError`."""
    path = folder.version(number) / "rows.npy"
    try:
        rows: npt.NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); bring it back from a backup.") from None
    return rows


def load_members(folder: LineageDir, number: int) -> LineageMembers:
    """Return the members of the batch that made a version; raises `UserError`."""
    return LineageMembers.load(folder.version(number) / "members.json")


def load_migration(folder: LineageDir, number: int) -> MigrationTable | None:
    """Return a version's migration table; None when it changed no published id. Raises `UserError`."""
    path = folder.version(number) / "migration.json"
    return MigrationTable.load(path) if path.exists() else None


def save_version(
    folder: LineageDir,
    facts: LineageVersion,
    arrays: Arrays,
    *,
    members: LineageMembers | None = None,
    rows: npt.NDArray[np.float32] | None = None,
    migration: MigrationTable | None = None,
) -> None:
    """Write a version's folder whole; it comes in force with `commit_head`.

    A folder of that number that was never in force (its writer was killed) gives way.
    """
    place = folder.version(facts.number)
    folder.versions_dir.mkdir(parents=True, exist_ok=True)
    for left in folder.versions_dir.glob(f".{place.name}.*"):
        shutil.rmtree(left, ignore_errors=True)
    fresh = folder.versions_dir / f".{place.name}.{uuid.uuid4().hex[:8]}"
    fresh.mkdir()
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **dict(arrays))
    write_bytes_atomic(fresh / "state.npz", buffer.getvalue())
    if rows is not None:
        _save_rows(fresh / "rows.npy", rows)
    if members is not None:
        members.save(fresh / "members.json")
    if migration is not None:
        migration.save(fresh / "migration.json")
    facts.model_copy(update={"state_sha256": sha256_file(fresh / "state.npz")}).save(fresh / "lineage.json")
    replace_folder(fresh, place)


def _save_rows(path: Path, rows: npt.NDArray[np.float32]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(rows, dtype=np.float32), allow_pickle=False)
    write_bytes_atomic(path, buffer.getvalue())


def commit_head(folder: LineageDir, number: int, at: str) -> None:
    """Put a version in force."""
    LineageHead(lineage=folder.name, head=number, at=at).save(folder.head)
