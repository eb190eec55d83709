"""`rehearsal.json`: a track played through the selector, what the judge found, and the same figures of two others.

It lies in the rehearsal's folder beside `picks.jsonl` (`contracts/show_log.py`), `selection.log` and the page.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aivj_assets.contracts.audio_timeline import TrackFacts
from aivj_assets.contracts.base import ContractFile, ContractModel
from aivj_assets.contracts.style import Energy, RelaxableRule, Selection

PlayName = Literal["selector", "listOrder", "random"]
PLAY_NAMES: tuple[PlayName, ...] = ("selector", "listOrder", "random")

ViolatedRule = Literal[
    "presetCooldown", "clusterCooldown", "dwell", "tier", "blacklisted", "stall", "needlessRelax", "log"
]
RULE_NOTES: dict[ViolatedRule, str] = {
    "presetCooldown": "a preset came back before its cooldown was over",
    "clusterCooldown": "a cluster came back before enough others were shown",
    "dwell": "a preset left the screen before its time",
    "tier": "a preset's energy is not what the music asked for",
    "blacklisted": "a blacklisted preset was shown",
    "stall": "a switch that was due came late or never",
    "needlessRelax": "a rule gave way though presets that keep all rules were there",
    "log": "a line does not agree with the index or with the lines before it",
}
"""What each rule of the judge means, in the order in which they are shown."""


class Violation(ContractModel):
    """A rule that was broken at a time of the track."""

    rule: ViolatedRule
    time_s: float
    preset_id: str | None = None
    detail: str


class RehearsalSection(ContractModel):
    """A section of a generated track, as it was made."""

    name: str
    start_s: float = Field(ge=0)
    end_s: float = Field(ge=0)
    tier: Energy


class DwellFigures(ContractModel):
    """How long presets stayed on screen, s, of those that left while the music was of one tier."""

    count: int = Field(ge=0)
    min_s: float
    median_s: float
    p95_s: float
    max_s: float


class ReactionFigures(ContractModel):
    """How soon after new sections another preset came, s; sections that the track's end cut off are left out."""

    sections: int = Field(ge=0)
    median_s: float | None = None
    p95_s: float | None = None
    within_1s_fraction: float | None = Field(None, ge=0, le=1)


class PlayFigures(ContractModel):
    """What came of one way of picking over the whole track. Fractions of nothing are None."""

    play: PlayName
    picks: int = Field(ge=0)
    presets_shown: int = Field(ge=0)
    clusters_shown: int = Field(ge=0)
    preset_coverage_fraction: float | None = Field(None, ge=0, le=1)
    """Presets shown / presets of the index. A short show cannot show a large library: see `presets_shown` / `picks`."""
    cluster_coverage_fraction: float | None = Field(None, ge=0, le=1)
    preset_evenness_fraction: float | None = Field(None, ge=0, le=1)
    """Shannon entropy of picks over presets / the largest that so many picks can have (Pielou's evenness)."""
    cluster_evenness_fraction: float | None = Field(None, ge=0, le=1)
    repeats_within_cooldown: int = Field(ge=0)
    immediate_cluster_repeats: int = Field(ge=0)
    dwell: dict[Energy, DwellFigures] = Field(default_factory=dict)
    """By the tier of the music when the preset left; the last one, which the track's end cut off, is left out."""
    tier_match_fraction: float | None = Field(None, ge=0, le=1)
    """Share of the time in which the energy on screen was the tier that was heard."""
    true_tier_match_fraction: float | None = Field(None, ge=0, le=1)
    """The same against the tiers that a generated track was made with."""
    on_beat_fraction: float | None = Field(None, ge=0, le=1)
    """Switches within 70 ms of a beat that was heard / switches."""
    on_bar_fraction: float | None = Field(None, ge=0, le=1)
    on_true_beat_fraction: float | None = Field(None, ge=0, le=1)
    """Switches within 70 ms of a beat that a generated track was made with / switches."""
    reaction: ReactionFigures
    """To sections that were heard."""
    due_reaction: ReactionFigures
    """To those that were heard when the preset on screen had been there for its least time: it may leave at once."""
    true_reaction: ReactionFigures | None = None
    """To sections that a generated track was made with."""
    relaxed_picks: int = Field(ge=0)
    relaxed_fraction: float = Field(ge=0, le=1)
    relaxed: dict[RelaxableRule, int] = Field(default_factory=dict)
    reasons: dict[str, int] = Field(default_factory=dict)
    violations: dict[ViolatedRule, int] = Field(default_factory=dict)
    """How often each rule was broken; a rule that is not named never was."""

    @property
    def violation_count(self) -> int:
        """How often any rule was broken."""
        return sum(self.violations.values())


class Rehearsal(ContractFile):
    """A rehearsal and its figures."""

    version: Literal["v0"] = "v0"
    generated_at: str
    pack: str
    index_hash: str
    model_hash: str | None = None
    presets: int = Field(ge=1)
    clusters: int = Field(ge=1)
    seed: int
    track: TrackFacts
    generated: bool = Field(description="whether the track was made by this platform, so that its tiers are known")
    sections: list[RehearsalSection] = Field(default_factory=list)
    selection: Selection
    fixed_dwell_s: float = Field(description="time a preset of the two others stays: the selector's mean")
    plays: list[PlayFigures]
    violations: list[Violation] = Field(default_factory=list, description="of the selector")
    without_picture: int = Field(0, ge=0, description="presets shown of which no frame can be read")
    video: str | None = Field(None, description="file name of the preview, or None")
    video_note: str | None = Field(None, description="why there is no preview though it was asked for")
    page_bytes: int = Field(0, ge=0)
    folder_bytes: int = Field(0, ge=0)
    duration_s: float = Field(ge=0)

    def figures(self, name: PlayName) -> PlayFigures:
        """Return the figures of one way of picking; raises `KeyError` where it was not played."""
        for play in self.plays:
            if play.play == name:
                return play
        raise KeyError(name)
