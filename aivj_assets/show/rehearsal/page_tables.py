"""Words, the comparison table and the distribution plots of the rehearsal page, as values for its template."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from aivj_assets.contracts.rehearsal import PLAY_NAMES, PlayFigures, PlayName, ReactionFigures, Rehearsal
from aivj_assets.contracts.style import ENERGIES, Energy, Selection
from aivj_assets.show.rehearsal.heard import Heard, Shown

NOTHING = "\u2013"
"""Stands in the table where there is no figure: an en dash."""
REASON_WORDS: dict[str, str] = {
    "start": "the show began",
    "phrase": "it was due, and a phrase began",
    "bar": "it was due, and a bar began",
    "beat": "it had waited as long as it may, and a beat came",
    "wait": "it had waited as long as it may",
    "noBeat": "it was due, and there was no beat to wait for",
    "section": "a new section began",
    "tier": "the music came to another tier",
    "skip": "a person skipped",
    "failed": "the preset before could not be shown",
    "timer": "the timer",
}
RELAXED_WORDS: dict[str, str] = {
    "clusterCooldown": "the cluster cooldown",
    "tier": "the tier",
    "presetCooldown": "the preset cooldown",
}


@dataclass(frozen=True)
class ComparisonRow:
    """A row of the comparison table: a figure, what it means, and its value for each way of picking."""

    name: str
    note: str
    values: list[str]


Value = Callable[[PlayFigures], str]


def comparison_rows(rehearsal: Rehearsal) -> list[ComparisonRow]:
    """Return the table of all ways of picking, side by side; rows of what is not known are left out."""
    plays = [rehearsal.figures(name) for name in PLAY_NAMES]
    rows = [ComparisonRow(name, note, [value(play) for play in plays]) for name, note, value in _columns(rehearsal)]
    return [row for row in rows if set(row.values) != {NOTHING}]


def _columns(rehearsal: Rehearsal) -> list[tuple[str, str, Value]]:
    presets, clusters = rehearsal.presets, rehearsal.clusters
    even, share = "entropy of picks / the largest possible", "share of the time"
    until = "median / p95 until the next switch, s"
    cooldown = f"{rehearsal.selection.preset_cooldown_seconds:g} s"
    tiers: list[tuple[str, str, Value]] = [
        (f"time on screen, {tier}", f"min / median / p95 / max, s; at least {least:g}", _dwell_of(tier))
        for tier, least in ((tier, getattr(rehearsal.selection.min_dwell_seconds, tier)) for tier in ENERGIES)
    ]
    return [
        ("rules broken", "by the same judge for all", lambda play: f"{play.violation_count:,}"),
        ("picks", "", lambda play: f"{play.picks:,}"),
        ("presets shown", f"of {presets:,}", lambda play: _of(play.presets_shown, play.preset_coverage_fraction)),
        ("clusters shown", f"of {clusters:,}", lambda play: _of(play.clusters_shown, play.cluster_coverage_fraction)),
        ("evenness over presets", even, lambda play: _ratio(play.preset_evenness_fraction)),
        ("evenness over clusters", even, lambda play: _ratio(play.cluster_evenness_fraction)),
        ("repeats within cooldown", cooldown, lambda play: f"{play.repeats_within_cooldown:,}"),
        ("same cluster twice running", "", lambda play: f"{play.immediate_cluster_repeats:,}"),
        ("energy fits the music", f"{share}, tier as heard", lambda play: _percent(play.tier_match_fraction)),
        ("energy fits the true tier", f"{share}, tier as made", lambda play: _percent(play.true_tier_match_fraction)),
        ("switches on a bar", "within 70 ms, as heard", lambda play: _percent(play.on_bar_fraction)),
        ("switches on a beat", "within 70 ms, as heard", lambda play: _percent(play.on_beat_fraction)),
        ("switches on a true beat", "within 70 ms, as made", lambda play: _percent(play.on_true_beat_fraction)),
        ("after a section", until, lambda play: _reaction(play.reaction)),
        ("after one when a switch was due", until, lambda play: _reaction(play.due_reaction)),
        ("after a true section", until, lambda play: _reaction(play.true_reaction)),
        *tiers,
        ("picks with a relaxed rule", "", lambda play: _of(play.relaxed_picks, play.relaxed_fraction)),
    ]  # fmt: skip


def _dwell_of(tier: Energy) -> Value:
    def value(play: PlayFigures) -> str:
        found = play.dwell.get(tier)
        if found is None:
            return NOTHING
        return f"{found.min_s:.1f} / {found.median_s:.1f} / {found.p95_s:.1f} / {found.max_s:.1f}"

    return value


def _reaction(found: ReactionFigures | None) -> str:
    if found is None or found.median_s is None or found.p95_s is None:
        return NOTHING
    return f"{found.median_s:.1f} / {found.p95_s:.1f}"


def _of(count: int, fraction: float | None) -> str:
    return f"{count:,}" if fraction is None else f"{count:,} ({fraction:.1%})"


def _percent(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1%}"


def _ratio(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"


@dataclass(frozen=True)
class DwellRow:
    """One tier's strip of the dwell plot, s: every dwell of the selector and the span that rules allow."""

    tier: Energy
    dwells: list[float]
    least: float
    longest: float
    scale: float
    """The plot's width, s; the same for all tiers."""


def dwell_rows(shown: Mapping[PlayName, Sequence[Shown]], heard: Heard, selection: Selection) -> list[DwellRow]:
    """Return how long presets of the selector stayed, by the tier of the music when they left."""
    lasted: dict[Energy, list[float]] = {tier: [] for tier in ENERGIES}
    for before, now in pairwise(shown["selector"]):
        tier = heard.tier_at(now.time_s)
        if tier is not None:
            lasted[tier].append(now.time_s - before.time_s)
    spans: list[tuple[Energy, float, float]] = []
    for tier in ENERGIES:
        least = float(getattr(selection.min_dwell_seconds, tier))
        spans.append((tier, least, least + float(getattr(selection.max_wait_seconds, tier))))
    scale = 1.05 * max([longest for _, _, longest in spans] + [value for values in lasted.values() for value in values])
    return [DwellRow(tier, sorted(lasted[tier]), least, longest, scale) for tier, least, longest in spans]


@dataclass(frozen=True)
class ClusterBar:
    """A cluster: how often it was picked, and how often picks spread evenly over presets would have been its."""

    id: str
    label: str
    picks: int
    expected: float
    size: int


def cluster_bars(shown: Sequence[Shown], sizes: Mapping[str, int], labels: Mapping[str, str]) -> list[ClusterBar]:
    """Return a bar for each cluster of the index, most picked first."""
    picks = Counter(one.cluster for one in shown)
    total = sum(sizes.values())
    bars = [
        ClusterBar(name, labels.get(name) or name, picks[name], len(shown) * size / total, size)
        for name, size in sizes.items()
    ]
    return sorted(bars, key=lambda bar: (-bar.picks, bar.id))
