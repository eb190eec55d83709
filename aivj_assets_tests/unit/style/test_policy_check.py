from __future__ import annotations

import json
from typing import Any

import pytest

from aivj_assets.contracts.pack_settings import PolicySettings
from aivj_assets.contracts.style import ENERGIES, Selection, StyleEntry, StyleIndex
from aivj_assets.style.policy import build_policy
from aivj_assets.style.policy_check import check_policy, tier_evidence
from aivj_assets_tests.selector_builders import index_of, python_lines, random_index

DWELL_S = {"calm": 24, "groove": 16, "peak": 8}


def sized(presets: int, clusters: int, energies: tuple[str, ...] = ENERGIES) -> list[StyleEntry]:
    names = [(f"{energy}{n}", f"c{n % clusters:02d}", energy) for energy in energies for n in range(presets)]
    return StyleIndex.model_validate(index_of(names)).entries


def derived(entries: list[StyleEntry], **selection: Any) -> Selection:
    settings = PolicySettings.model_validate({"selection": selection})
    return build_policy("pack", "now", entries, settings).policy.selection


def relaxed_fraction(entries: list[StyleEntry], selection: Selection) -> float:
    """Return the share of relaxed picks in shows of two hours in one tier each, whose presets leave at once."""
    picks = []
    for energy, dwell in DWELL_S.items():
        rows = [{"timeS": float(time_s), "tier": energy, "tempoConfidence": 0} for time_s in range(0, 7200, dwell)]
        case = {
            "index": json.loads(StyleIndex(version="v1", generated_at="now", pack="p", entries=entries).model_dump_json(
                by_alias=True)),
            "selection": selection.to_json(), "seed": 3, "script": [["step", row] for row in rows],
        }  # fmt: skip
        picks += [made["line"] for made in python_lines(case) if made["line"]["kind"] == "pick"]
    return sum(bool(pick["relaxed"]) for pick in picks) / len(picks)


@pytest.mark.parametrize(("presets", "clusters"), [(60, 6), (300, 12), (1000, 30)])
def test_a_derived_policy_fits_its_index_and_then_no_pick_relaxes_a_rule(presets: int, clusters: int) -> None:
    entries = StyleIndex.model_validate(random_index(presets, clusters)).entries
    selection = derived(entries)
    assert check_policy(selection, entries).passed
    assert relaxed_fraction(entries, selection) == 0


def test_a_cooldown_that_a_tier_cannot_hold_is_named_with_what_it_can() -> None:
    entries = sized(60, 6)
    asked = derived(entries, presetCooldownSeconds=1800)
    finding = check_policy(asked, entries)
    assert not finding.passed
    assert finding.detail == (
        "calm: 76 picks in a row are to differ, of 60 presets in 6 clusters; "
        "groove: 114 picks in a row are to differ, of 60 presets in 6 clusters; "
        "peak: 226 picks in a row are to differ, of 60 presets in 6 clusters. "
        "Set presetCooldownSeconds 370 in aivj-pack.json (policy.selection), or publish more"
    )
    each = {tier.energy: dict(tier.to_relax) for tier in tier_evidence(asked, entries)}
    assert each["groove"] == {"presetCooldownSeconds": 750}
    assert relaxed_fraction(entries, asked) > 0.1
    # Whoever follows the advice has a policy that fits, and a show that relaxes next to nothing.
    followed = derived(entries, presetCooldownSeconds=370)
    assert check_policy(followed, entries).passed
    assert relaxed_fraction(entries, followed) <= 0.01


def test_a_tier_of_too_few_clusters_is_told_how_many_switches_it_can_hold() -> None:
    entries = sized(400, 3)
    finding = check_policy(derived(entries, clusterCooldownSwitches=5), entries)
    assert not finding.passed
    assert "calm, groove, peak: 400 presets in 3 clusters, where 6 clusters are to take turns. " in finding.detail
    assert "Set clusterCooldownSwitches 2 in aivj-pack.json" in finding.detail
    assert check_policy(derived(entries, clusterCooldownSwitches=2), entries).passed


def test_an_empty_tier_and_a_tier_of_one_preset_are_told() -> None:
    finding = check_policy(Selection(), sized(500, 8, ("groove",)))
    assert finding.detail == "calm, peak: no presets, its neighbours' are shown. Publish more of that energy"
    assert "1 preset, its neighbours' are shown" in check_policy(Selection(), sized(1, 1)).detail
    assert not check_policy(Selection(), []).passed


def test_a_show_of_two_hours_needs_no_more_presets_than_it_has_picks() -> None:
    entries = sized(500, 10)
    week = Selection.model_validate({"presetCooldownSeconds": 604800, "minDwellSeconds": {"peak": 24, "groove": 24}})
    assert check_policy(week, entries).passed
    assert {tier.presets_needed for tier in tier_evidence(week, entries)} == {300}
    assert not check_policy(week, sized(320, 10)).passed


def test_a_dwell_of_0_is_no_endless_show() -> None:
    asked = Selection.model_validate({"minDwellSeconds": {"calm": 0, "groove": 0, "peak": 0}})
    assert not check_policy(asked, sized(300, 6)).passed
    assert 0 < derived(sized(300, 6), minDwellSeconds={"calm": 0, "groove": 0, "peak": 0}).preset_cooldown_seconds < 200
