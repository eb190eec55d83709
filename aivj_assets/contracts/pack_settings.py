"""`aivj-pack.json`: what a person sets for one pack; lies beside the pack's manifest and is optional."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field

from aivj_assets.contracts.base import ContractFile, ContractModel
from aivj_assets.layout import DataRoot, write_json_atomic

PACK_SETTINGS_NAME = "aivj-pack.json"
DEFAULT_LINEAGE = "main"


class EmbedderSettings(ContractModel):
    """Which embedding model, and where it runs in which precision; None takes the default of the machine."""

    model: str | None = None
    pretrained: str | None = None
    note: str | None = None
    device: str | None = None
    precision: str | None = None


class ClusterSettings(ContractModel):
    """How many clusters, why that many (for the run record), the seed, how far births may go, and how batches join."""

    k: int | None = Field(None, ge=1)
    reason: str | None = None
    seed: int | None = Field(None, ge=0)
    k_limit: int | None = Field(None, ge=1)
    strategy: str | None = None


class QaSettings(ContractModel):
    """What becomes of clusters that a person judged bad, and how many clusters a batch's review is to cover."""

    bad: Literal["exclude", "mark"] = "exclude"
    reviewed_fraction: float = Field(0.9, gt=0, le=1)
    """A batch joins with a few clusters of its own: the last tenth does not turn its conclusion."""


class PackSettings(ContractFile):
    """Settings of a pack: lineage, packs that must be accepted first, rendering, embedder, clusters, QA."""

    lineage: str = DEFAULT_LINEAGE
    requires: list[str] = Field(default_factory=list)
    render: dict[str, Any] = Field(default_factory=dict)
    embedder: EmbedderSettings = Field(default_factory=EmbedderSettings)
    clusters: ClusterSettings = Field(default_factory=ClusterSettings)
    qa: QaSettings = Field(default_factory=QaSettings)

    def save_sparse(self, path: Path) -> None:
        """Write what differs from the defaults, and all fields that are not known here."""
        write_json_atomic(path, self.model_dump(mode="json", by_alias=True, exclude_defaults=True))

    @classmethod
    def of_pack(cls, root: DataRoot, pack: str) -> Self:
        """Read a pack's settings; without a file all are defaults. Raises `UserError` when the file is malformed."""
        path = root.pack_dir(pack) / PACK_SETTINGS_NAME
        return cls.load(path) if path.exists() else cls()


def set_lineage(root: DataRoot, pack: str, lineage: str) -> None:
    """Let a pack's batches join a lineage; what else its settings say is kept. Raises `UserError`."""
    root.lineage(lineage)
    settings = PackSettings.of_pack(root, pack)
    if settings.lineage != lineage:
        settings.model_copy(update={"lineage": lineage}).save_sparse(root.pack_dir(pack) / PACK_SETTINGS_NAME)
