"""The figures of a play: coverage, repeats, dwell, how it follows the music. The same for all ways of picking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from aivj_assets.contracts.rehearsal import (
    DwellFigures,
    PlayFigures,
    PlayName,
    ReactionFigures,
    RehearsalSection,
    Violation,
)
from aivj_assets.contracts.style import ENERGIES, Energy
from aivj_assets.show.rehearsal.heard import Heard, Shown, Times
from aivj_assets.show.rehearsal.judge import Rules

ON_EVENT_S = 0.07
"""A switch so near to a beat counts as on it, s."""


@dataclass(frozen=True)
class Truth:
    """What a generated track was made with; `beats_s` float64 [m] rising."""

    sections: Sequence[RehearsalSection]
    beats_s: Times

    def tiers_at(self, times_s: Times) -> npt.NDArray[np.int8]:
        """Return the true tier at each time as places in `ENERGIES`, -1 outside every section."""
        tiers = np.full(times_s.shape, -1, dtype=np.int8)
        for section in self.sections:
            tiers[(times_s >= section.start_s) & (times_s < section.end_s)] = ENERGIES.index(section.tier)
        return tiers


def figures_of(
    name: PlayName,
    shown: Sequence[Shown],
    *,
    violations: Sequence[Violation],
    heard: Heard,
    rules: Rules,
    truth: Truth | None = None,
) -> PlayFigures:
    """Return the figures of one play over a whole track."""
    library = rules.library
    clusters = {entry.author_key for entry in library.values()}
    presets_shown, clusters_shown = (Counter(getattr(one, key) for one in shown) for key in ("preset_id", "cluster"))
    switches = np.array([one.time_s for one in shown[1:]])
    energies = on_screen(shown, heard.times_s)
    relaxed = [one for one in shown if one.relaxed]
    return PlayFigures(
        play=name,
        picks=len(shown),
        presets_shown=len(presets_shown),
        clusters_shown=len(clusters_shown),
        preset_coverage_fraction=_fraction(len(presets_shown), len(library)),
        cluster_coverage_fraction=_fraction(len(clusters_shown), len(clusters)),
        preset_evenness_fraction=evenness(presets_shown.values(), len(library)),
        cluster_evenness_fraction=evenness(clusters_shown.values(), len(clusters)),
        repeats_within_cooldown=_repeats(shown, rules.selection.preset_cooldown_seconds),
        immediate_cluster_repeats=sum(one.cluster == other.cluster for one, other in pairwise(shown)),
        dwell=_dwell(shown, heard),
        tier_match_fraction=_mean(energies == heard.tiers),
        true_tier_match_fraction=None if truth is None else _true_match(energies, truth, heard.times_s),
        on_beat_fraction=near_fraction(switches, heard.beats_s),
        on_bar_fraction=near_fraction(switches, heard.bars_s),
        on_true_beat_fraction=None if truth is None else near_fraction(switches, truth.beats_s),
        reaction=reaction(switches, heard.sections_s),
        due_reaction=_reaction_of(_delays_when_due(shown, heard, rules)),
        true_reaction=None if truth is None else reaction(switches, _starts(truth)),
        relaxed_picks=len(relaxed),
        relaxed_fraction=len(relaxed) / len(shown) if shown else 0.0,
        relaxed=dict(Counter(rule for one in relaxed for rule in one.relaxed)),
        reasons=dict(Counter(one.reason for one in shown)),
        violations=dict(Counter(one.rule for one in violations)),
    )


def on_screen(shown: Sequence[Shown], times_s: Times) -> npt.NDArray[np.int8]:
    """Return the energy on screen at each time as places in `ENERGIES`, -1 before the first pick."""
    begins = np.array([one.time_s for one in shown])
    energies = np.array([-1, *(ENERGIES.index(one.energy) for one in shown)], dtype=np.int8)
    found: npt.NDArray[np.int8] = energies[np.searchsorted(begins, times_s + 1e-6, side="right")]
    return found


def evenness(counts: Iterable[int], kinds: int) -> float | None:
    """Return Pielou's evenness of counts: Shannon entropy / the largest possible, 0..1.

    So many picks over so many kinds cannot have more entropy than the logarithm of the smaller number. None where that
    is 0 (E. C. Pielou 1966, "The measurement of diversity in different types of biological collections").
    """
    values = np.array([count for count in counts if count], dtype=np.float64)
    total = values.sum()
    most = min(total, kinds)
    if most < 2:
        return None
    shares = values / total
    return float(min(1.0, max(0.0, -(shares * np.log(shares)).sum() / np.log(most))))


def near_fraction(times_s: Times, events_s: Times) -> float | None:
    """Return the fraction of times that lie within `ON_EVENT_S` of an event; None without times."""
    if not times_s.size:
        return None
    if not events_s.size:
        return 0.0
    after = np.searchsorted(events_s, times_s)
    before_s = np.abs(times_s - events_s[np.maximum(after - 1, 0)])
    after_s = np.abs(times_s - events_s[np.minimum(after, events_s.size - 1)])
    return _mean(np.minimum(before_s, after_s) <= ON_EVENT_S + 1e-6)


def reaction(switches_s: Times, sections_s: Times) -> ReactionFigures:
    """Return how soon a switch follows each section; one that falls on it within `ON_EVENT_S` follows at once."""
    next_one = np.searchsorted(switches_s, sections_s - ON_EVENT_S)
    followed = next_one < switches_s.size
    return _reaction_of(np.maximum(0.0, switches_s[next_one[followed]] - sections_s[followed]))


def _delays_when_due(shown: Sequence[Shown], heard: Heard, rules: Rules) -> Times:
    """Return s until the next switch after each section that found a preset whose least time was over."""
    begins = np.array([one.time_s for one in shown])
    delays: list[float] = []
    for section_s in heard.sections_s.tolist():
        on_screen_now = int(np.searchsorted(begins, section_s - 1e-6)) - 1
        tier = heard.tier_at(section_s)
        if not 0 <= on_screen_now < len(shown) - 1 or tier is None:
            continue
        if section_s - begins[on_screen_now] >= getattr(rules.selection.min_dwell_seconds, tier) - 1e-6:
            delays.append(float(begins[on_screen_now + 1]) - section_s)
    return np.array(delays)


def _reaction_of(delays: Times) -> ReactionFigures:
    if not delays.size:
        return ReactionFigures(sections=0)
    return ReactionFigures(
        sections=int(delays.size),
        median_s=round(float(np.median(delays)), 3),
        p95_s=round(float(np.percentile(delays, 95)), 3),
        within_1s_fraction=_mean(delays <= 1.0),
    )


def _starts(truth: Truth) -> Times:
    """Return when sections begin, without the track's own beginning."""
    return np.array([section.start_s for section in truth.sections if section.start_s > 0])


def _true_match(energies: npt.NDArray[np.int8], truth: Truth, times_s: Times) -> float | None:
    tiers = truth.tiers_at(times_s)
    return _mean((energies == tiers)[tiers >= 0])


def _repeats(shown: Sequence[Shown], cooldown_s: float) -> int:
    left_s: dict[str, float] = {}
    repeats = 0
    for before, now in pairwise(shown):
        left_s[before.preset_id] = now.time_s
        repeats += now.time_s - left_s.get(now.preset_id, -np.inf) < cooldown_s - 1e-6
    return repeats


def _dwell(shown: Sequence[Shown], heard: Heard) -> dict[Energy, DwellFigures]:
    lasted: dict[Energy, list[float]] = {}
    for before, now in pairwise(shown):
        tier = heard.tier_at(now.time_s)
        if tier is not None:
            lasted.setdefault(tier, []).append(now.time_s - before.time_s)
    return {
        tier: DwellFigures(
            count=len(lasted[tier]),
            min_s=round(min(lasted[tier]), 3),
            median_s=round(float(np.median(lasted[tier])), 3),
            p95_s=round(float(np.percentile(lasted[tier], 95)), 3),
            max_s=round(max(lasted[tier]), 3),
        )
        for tier in ENERGIES
        if tier in lasted
    }


def _fraction(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(holds: npt.NDArray[np.bool_]) -> float | None:
    return float(holds.mean()) if holds.size else None
