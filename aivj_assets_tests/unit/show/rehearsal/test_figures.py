"""Figures of shows that are small enough to be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from aivj_assets.contracts.rehearsal import PlayFigures, RehearsalSection
from aivj_assets.contracts.style import Selection
from aivj_assets.show.rehearsal.baselines import at_random, next_in_list
from aivj_assets.show.rehearsal.figures import Truth, evenness, figures_of, near_fraction, reaction
from aivj_assets.show.rehearsal.heard import Heard, Shown
from aivj_assets.show.rehearsal.judge import Rules, judge
from aivj_assets_tests.rehearsal_builders import entries_of, timeline_of

ENTRIES = entries_of(12, 2)
RULES = Rules({entry.preset_id: entry for entry in ENTRIES}, Selection.model_validate({}))
SECTIONS = [("calm", 20.0), ("peak", 20.0)]


def shown(*picks: tuple[float, int]) -> list[Shown]:
    return [
        Shown(at_s, ENTRIES[number].preset_id, ENTRIES[number].author_key, ENTRIES[number].energy)
        for at_s, number in picks
    ]


def figures(picks: list[Shown], truth: Truth | None = None) -> PlayFigures:
    heard = Heard.of(timeline_of(SECTIONS))
    return figures_of("random", picks, violations=judge(picks, heard, RULES), heard=heard, rules=RULES, truth=truth)


def test_coverage_repeats_and_dwell_are_counted() -> None:
    # p0000 calm c00, p0002 peak c00, p0005 peak c01; p0002 comes twice.
    found = figures(shown((0.05, 0), (10.05, 2), (24.05, 5), (34.05, 2)))
    assert (found.picks, found.presets_shown, found.clusters_shown) == (4, 3, 2)
    assert found.preset_coverage_fraction == pytest.approx(3 / 12)
    assert found.cluster_coverage_fraction == 1
    assert (found.repeats_within_cooldown, found.immediate_cluster_repeats) == (1, 1)
    # 10 s until the music was still calm, then 14 and 10 s until it was peak.
    assert {tier: (dwell.count, dwell.min_s, dwell.max_s) for tier, dwell in found.dwell.items()} == {
        "calm": (1, 10.0, 10.0),
        "peak": (2, 10.0, 14.0),
    }
    assert found.violations["presetCooldown"] == found.repeats_within_cooldown == 1
    assert found.violation_count == sum(found.violations.values())


def test_energy_that_fits_is_a_share_of_the_time() -> None:
    # Calm on screen for 30 s of which 20 are calm, then peak for 10.
    truth = Truth([RehearsalSection(name="all", start_s=0, end_s=40, tier="calm")], np.arange(0, 40, 0.5))
    found = figures(shown((0.05, 0), (30.05, 2)), truth)
    assert found.tier_match_fraction == pytest.approx(30 / 40)
    assert found.true_tier_match_fraction == pytest.approx(30 / 40, abs=0.01)
    only_half = Truth([RehearsalSection(name="first", start_s=0, end_s=20, tier="calm")], np.zeros(0))
    assert figures(shown((0.05, 0), (30.05, 2)), only_half).true_tier_match_fraction == 1


def test_a_switch_within_70_ms_is_on_the_beat() -> None:
    beats = np.arange(0, 10, 0.5)
    assert near_fraction(np.array([0.5, 1.07, 1.44, 2.1, 2.25]), beats) == pytest.approx(3 / 5)
    assert near_fraction(np.array([11.0]), beats) == 0
    assert near_fraction(np.array([1.0]), np.zeros(0)) == 0
    assert near_fraction(np.zeros(0), beats) is None


def test_reaction_is_the_time_from_a_section_to_the_next_switch() -> None:
    found = reaction(np.array([10.0, 25.0, 30.0]), np.array([4.0, 24.95, 25.05, 31.0]))
    # 6 s, 0.05 s, at once (it came a row before), and one that nothing followed.
    assert (found.sections, found.median_s) == (3, 0.05)
    assert found.within_1s_fraction == pytest.approx(2 / 3)
    assert reaction(np.zeros(0), np.array([1.0])).median_s is None


def test_sections_count_as_due_only_when_the_preset_may_leave() -> None:
    # The music peaks at 20.05 s, which asks for 8 s on screen.
    assert figures(shown((0.05, 0), (20.55, 2))).due_reaction.median_s == pytest.approx(0.5)
    assert figures(shown((0.05, 0), (15.05, 2), (23.05, 5))).due_reaction.sections == 0


def test_evenness_is_1_for_even_picks_and_falls_with_favouring() -> None:
    assert evenness([1, 1, 1, 1], 100) == pytest.approx(1)
    assert evenness([5, 5], 2) == pytest.approx(1)
    lopsided = evenness([9, 1], 2)
    assert lopsided is not None
    assert 0.4 < lopsided < 0.5
    assert evenness([7], 1) is None
    assert evenness([], 5) is None


def test_the_two_that_do_not_listen_change_at_fixed_times() -> None:
    listed = next_in_list(ENTRIES, 10.0, 150.0)
    assert [one.preset_id for one in listed] == [ENTRIES[number % 12].preset_id for number in range(15)]
    assert [one.time_s for one in listed] == [10.0 * number for number in range(15)]
    drawn = at_random(ENTRIES, 0.1, 1200.0, seed=5)
    assert drawn == at_random(ENTRIES, 0.1, 1200.0, seed=5) != at_random(ENTRIES, 0.1, 1200.0, seed=6)
    counts = [sum(one.preset_id == entry.preset_id for one in drawn) for entry in ENTRIES]
    # Uniform: 1000 each, standard deviation 30.
    assert all(880 < count < 1120 for count in counts)
