import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from aivj_assets.contracts.pack_settings import PolicySettings
from aivj_assets.contracts.style import ENERGIES, StyleEntry, StyleIndex
from aivj_assets.errors import UserError
from aivj_assets.style.policy import ReasonedPolicy, build_policy
from aivj_assets_tests.selector_builders import random_index


def entries(sizes: Mapping[str, list[int]]) -> list[StyleEntry]:
    """Return presets of each energy in clusters of these sizes."""
    return [
        StyleEntry(preset_id=f"{energy}-{cluster}-{number}", author_key=f"c{cluster:02d}", energy=energy, tags=[])  # type: ignore[arg-type]
        for energy, counts in sizes.items()
        for cluster, count in enumerate(counts)
        for number in range(count)
    ]


def alike(presets: int, clusters: int) -> list[StyleEntry]:
    """Return as many presets in as many equal clusters in each energy."""
    return entries({energy: [presets // clusters] * clusters for energy in ENERGIES})


def policy_of(listed: list[StyleEntry], **settings: Any) -> ReasonedPolicy:
    return build_policy("starter", "2026-01-31T12:00:00.000Z", listed, PolicySettings.model_validate(settings))


def test_the_policy_of_a_large_library_has_the_defaults_and_no_preference_for_one_cluster(tmp_path: Path) -> None:
    policy_of(alike(400, 10)).policy.save(tmp_path / "policy.json")
    assert json.loads((tmp_path / "policy.json").read_text(encoding="utf-8")) == {
        "version": "v0",
        "generatedAt": "2026-01-31T12:00:00.000Z",
        "pack": "starter",
        "preferSameAuthorChance": 0.0,
        "motionThresholds": {"calmMax": 0.42, "grooveMax": 0.72},
        "profileMap": {
            "ambient": "calm",
            "drone": "calm",
            "dub": "groove",
            "videoVj": "groove",
            "peakRave": "peak",
        },
        "selection": {
            "presetCooldownSeconds": 1800.0,
            "clusterCooldownSwitches": 2,
            "minDwellSeconds": {"calm": 24.0, "groove": 16.0, "peak": 8.0},
            "maxWaitSeconds": {"calm": 8.0, "groove": 8.0, "peak": 4.0},
            "minTempoConfidence": 0.3,
            "relaxOrder": ["clusterCooldown", "tier", "presetCooldown"],
        },
    }


SIZES = [(0, 1), (1, 1), (2, 1), (2, 2), (3, 2), (12, 3), (24, 4), (60, 6), (300, 12), (5000, 40)]


@pytest.mark.parametrize(("presets", "clusters"), SIZES)
def test_every_value_has_its_reason_and_the_reason_names_the_value(presets: int, clusters: int) -> None:
    made = policy_of(StyleIndex.model_validate(random_index(presets, clusters)).entries)
    written = made.policy.to_json()
    values: dict[str, Any] = {key: written[key] for key in ("preferSameAuthorChance", "motionThresholds", "profileMap")}
    values |= {f"selection.{key}": value for key, value in written["selection"].items()}
    assert made.reasons.keys() == values.keys()
    for key in (
        "preferSameAuthorChance", "selection.presetCooldownSeconds", "selection.clusterCooldownSwitches",
        "selection.minTempoConfidence",
    ):  # fmt: skip
        assert made.reasons[key].startswith(f"{values[key]:g}:")
    for key in ("selection.minDwellSeconds", "selection.maxWaitSeconds", "motionThresholds"):
        for name, value in values[key].items():
            assert f"{name} {value:g}" in made.reasons[key]
    assert made.reasons["selection.relaxOrder"].startswith("clusterCooldown, tier, presetCooldown:")


@pytest.mark.parametrize(("presets", "clusters"), SIZES)
def test_cooldowns_are_never_0_but_for_one_preset_or_one_cluster(presets: int, clusters: int) -> None:
    listed = StyleIndex.model_validate(random_index(presets, clusters)).entries
    selection = policy_of(listed).policy.selection
    assert (selection.preset_cooldown_seconds == 0) == (presets == 1)
    assert selection.preset_cooldown_seconds <= 1800
    real = len({entry.author_key for entry in listed})
    assert (selection.cluster_cooldown_switches == 0) == (real == 1)
    assert selection.cluster_cooldown_switches <= 2


def test_the_preset_cooldown_is_what_the_smallest_tier_holds_with_a_third_to_spare() -> None:
    # Played through at 8 s, 150 peak presets last 1192 s.
    made = policy_of(entries({"calm": [100] * 6, "groove": [100] * 6, "peak": [25] * 6}))
    assert made.policy.selection.preset_cooldown_seconds == 790
    assert (
        "peak, played through at 8 s each, has 150 presets in 6 clusters"
        in made.reasons["selection.presetCooldownSeconds"]
    )
    # A cluster gets every third switch at most: however many presets the largest has, the others run out first.
    lopsided = policy_of(entries({"peak": [1000, 9, 9, 9, 9]}), selection={"clusterCooldownSwitches": 2}).policy
    assert lopsided.selection.preset_cooldown_seconds < 1800 / 6
    # A longer dwell makes the same presets last longer.
    slow = policy_of(entries({"peak": [25] * 6}), selection={"minDwellSeconds": {"peak": 16}}).policy
    assert slow.selection.preset_cooldown_seconds == 1580


def test_clusters_that_a_tier_has_by_name_only_do_not_count() -> None:
    assert policy_of(entries({"calm": [20] * 4})).policy.selection.cluster_cooldown_switches == 2
    uneven = policy_of(entries({"calm": [400, 1, 1, 1, 1, 1], "peak": [20] * 6}))
    assert uneven.policy.selection.cluster_cooldown_switches == 1
    assert re.search(r"calm has 405 presets in 6 clusters, as varied as 1\.0 equal ones", uneven.reasons[
        "selection.clusterCooldownSwitches"
    ])  # fmt: skip


def test_what_a_person_sets_is_kept_and_the_rest_agrees_with_it() -> None:
    made = policy_of(
        alike(60, 6),
        motionThresholds={"calmMax": 0.3},
        selection={
            "presetCooldownSeconds": 3600, "clusterCooldownSwitches": 9, "minDwellSeconds": {"peak": 4},
            "minTempoConfidence": 0.5, "relaxOrder": ["tier"],
        },
    )  # fmt: skip
    selection = made.policy.selection
    assert (selection.preset_cooldown_seconds, selection.cluster_cooldown_switches) == (3600, 9)
    assert (selection.min_dwell_seconds.calm, selection.min_dwell_seconds.peak) == (24, 4)
    assert (selection.min_tempo_confidence, selection.relax_order) == (0.5, ["tier"])
    assert (made.policy.motion_thresholds.calm_max, made.policy.motion_thresholds.groove_max) == (0.3, 0.72)
    assert made.reasons["selection.presetCooldownSeconds"] == "3600: set in aivj-pack.json"
    assert made.reasons["selection.clusterCooldownSwitches"] == "9: set in aivj-pack.json"
    assert made.reasons["selection.minDwellSeconds"].startswith("peak 4: set in aivj-pack.json; calm 24, groove 16: ")
    assert made.reasons["motionThresholds"].startswith("calmMax 0.3: set in aivj-pack.json; grooveMax 0.72: the app's")
    assert made.reasons["selection.relaxOrder"] == "tier: set in aivj-pack.json"
    chance = policy_of(alike(60, 6), preferSameAuthorChance=0.5)
    assert chance.policy.prefer_same_author_chance == 0.5
    assert chance.reasons["preferSameAuthorChance"] == "0.5: set in aivj-pack.json"


def test_a_show_that_is_to_stay_in_one_cluster_has_no_cluster_cooldown() -> None:
    made = policy_of(alike(60, 6), preferSameAuthorChance=1)
    assert (made.policy.prefer_same_author_chance, made.policy.selection.cluster_cooldown_switches) == (1, 0)
    assert "preferSameAuthorChance 1" in made.reasons["selection.clusterCooldownSwitches"]


def test_values_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UserError, match="keeps the show in one cluster"):
        policy_of(alike(60, 6), preferSameAuthorChance=1, selection={"clusterCooldownSwitches": 2})
    with pytest.raises(UserError, match=r"above grooveMax 0\.72"):
        policy_of(alike(60, 6), motionThresholds={"calmMax": 0.8})
