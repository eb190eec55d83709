"""`aivj-style-index.v1.json` (and v0) and `aivj-style-policy.v0.json`: what the browser app fetches."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aivj_assets.contracts.base import ContractFile, ContractModel

Energy = Literal["calm", "groove", "peak"]
ENERGIES: tuple[Energy, ...] = ("calm", "groove", "peak")


class StyleEntry(ContractModel):
    """One preset of the index; the app drops an entry without presetId, authorKey or a legal energy."""

    preset_id: str = Field(min_length=1)
    author_key: str = Field(min_length=1)
    energy: Energy
    tags: list[str]


class StyleIndex(ContractFile):
    """A style index. v1: `authorKey` is the cluster id; v0: the author's slug."""

    version: Literal["v0", "v1"]
    generated_at: str
    pack: str
    entries: list[StyleEntry]


class MotionThresholds(ContractModel):
    """Cuts of the app's own motion macro (0..1), not of a preset's `motion`."""

    calm_max: float = Field(0.42, ge=0, le=1)
    groove_max: float = Field(0.72, ge=0, le=1)


class DwellSeconds(ContractModel):
    """Shortest time a preset stays on screen, by the tier that the music asks for when it is to leave."""

    calm: float = Field(24, ge=0)
    groove: float = Field(16, ge=0)
    peak: float = Field(8, ge=0)


class WaitSeconds(ContractModel):
    """How long a switch that is due waits for the music, by tier."""

    calm: float = Field(8, ge=0)
    groove: float = Field(8, ge=0)
    peak: float = Field(4, ge=0)


RelaxableRule = Literal["clusterCooldown", "tier", "presetCooldown"]
RELAX_ORDER: tuple[RelaxableRule, ...] = ("clusterCooldown", "tier", "presetCooldown")


class Selection(ContractModel):
    """Selection rules of this platform; the app ignores them until it learns them."""

    preset_cooldown_seconds: float = Field(1800, ge=0)
    """A preset does not come back within so many seconds of leaving the screen."""
    cluster_cooldown_switches: int = Field(2, ge=0)
    """A cluster does not come back within so many switches: so many picks of others lie between two of its own."""
    min_dwell_seconds: DwellSeconds = Field(default_factory=DwellSeconds)
    max_wait_seconds: WaitSeconds = Field(default_factory=WaitSeconds)
    min_tempo_confidence: float = Field(0.3, ge=0, le=1)
    """Below it beats are not waited for."""
    relax_order: list[RelaxableRule] = Field(default_factory=lambda: list(RELAX_ORDER))
    """Rules that give way when they leave nothing to pick, first to last; one not listed does so last of all."""


PROFILE_MAP: dict[str, Energy] = {
    "ambient": "calm",
    "drone": "calm",
    "dub": "groove",
    "videoVj": "groove",
    "peakRave": "peak",
}


class StylePolicy(ContractFile):
    """How the app picks from an index."""

    version: Literal["v0"] = "v0"
    generated_at: str
    pack: str
    prefer_same_author_chance: float = Field(ge=0, le=1)
    motion_thresholds: MotionThresholds = Field(default_factory=MotionThresholds)
    profile_map: dict[str, Energy] = Field(default_factory=lambda: dict(PROFILE_MAP))
    selection: Selection = Field(default_factory=Selection)
