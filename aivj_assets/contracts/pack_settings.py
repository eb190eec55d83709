"""`aivj-pack.json`: what a person sets for one pack; lies beside the pack's manifest and is optional."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field

from aivj_assets.contracts.base import ContractFile, ContractModel
from aivj_assets.contracts.style import RelaxableRule
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


class _PolicyPart(ContractModel):
    """A part of the policy's settings: a word that is none of its own is refused, it would have no effect."""

    model_config = ConfigDict(extra="forbid")


class ThresholdSettings(_PolicyPart):
    """Cuts of the app's own motion macro (0..1)."""

    calm_max: float | None = Field(None, ge=0, le=1)
    groove_max: float | None = Field(None, ge=0, le=1)


class TierSecondsSettings(_PolicyPart):
    """A time by tier, s."""

    calm: float | None = Field(None, ge=0)
    groove: float | None = Field(None, ge=0)
    peak: float | None = Field(None, ge=0)


class SelectionSettings(_PolicyPart):
    """Selection rules, as `contracts.style.Selection` explains them."""

    preset_cooldown_seconds: float | None = Field(None, ge=0)
    cluster_cooldown_switches: int | None = Field(None, ge=0)
    min_dwell_seconds: TierSecondsSettings = Field(default_factory=TierSecondsSettings)
    max_wait_seconds: TierSecondsSettings = Field(default_factory=TierSecondsSettings)
    min_tempo_confidence: float | None = Field(None, ge=0, le=1)
    relax_order: list[RelaxableRule] | None = None


class PolicySettings(_PolicyPart):
    """What a person sets of the style policy; None leaves a value to the index, or to its default."""

    motion_thresholds: ThresholdSettings = Field(default_factory=ThresholdSettings)
    prefer_same_author_chance: float | None = Field(None, ge=0, le=1)
    selection: SelectionSettings = Field(default_factory=SelectionSettings)


class PackSettings(ContractFile):
    """Settings of a pack: lineage, packs that must be accepted first, rendering, embedder, clusters, QA, policy."""

    lineage: str = DEFAULT_LINEAGE
    requires: list[str] = Field(default_factory=list)
    render: dict[str, Any] = Field(default_factory=dict)
    embedder: EmbedderSettings = Field(default_factory=EmbedderSettings)
    clusters: ClusterSettings = Field(default_factory=ClusterSettings)
    qa: QaSettings = Field(default_factory=QaSettings)
    policy: PolicySettings = Field(default_factory=PolicySettings)

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
