"""The policy on its way: derived for a batch and for the publication, set by a person, held against the index."""

from __future__ import annotations

import json
from typing import Any

import dagster as dg

from aivj_assets.contracts.style import StylePolicy
from aivj_assets.layout import BatchKey
from aivj_assets_tests.house import House
from aivj_assets_tests.lineage_builders import style_rows

BATCH = BatchKey("big")


def published(house: House) -> tuple[StylePolicy, dg.ExecuteInProcessResult]:
    result = house.publish("big")
    assert result.success
    return StylePolicy.load(house.root.published_files("big")[0]), result


def reasons(result: dg.ExecuteInProcessResult, asset: str, name: str) -> str:
    (made,) = result.asset_materializations_for_node(asset)
    return str(made.metadata[name].value)


def check(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    (found,) = [one for one in result.get_asset_check_evaluations() if one.check_name == "policy_fits_index"]
    return found


def settings(house: House, policy: Any) -> None:
    path = house.root.pack_dir("big") / "aivj-pack.json"
    path.write_text(json.dumps({"policy": policy}), encoding="utf-8")


def test_a_pack_s_policy_is_derived_or_set_and_held_against_its_index(house: House) -> None:
    house.add(BATCH, 36)
    house.rows[BATCH.key] = style_rows([0, 1, 2, 3] * 9, seed=1)
    made = house.run(BATCH, "a")
    assert made.success
    # Of the batch: no half hour from 36 presets.
    of_batch = StylePolicy.load(house.root.batch(BATCH).style_policy).selection
    assert 8 <= of_batch.preset_cooldown_seconds < 100
    assert f"{of_batch.preset_cooldown_seconds:g}: peak, played through" in reasons(made, "style_policy", "reasons")

    policy, result = published(house)
    assert policy.selection == of_batch
    assert f"{of_batch.preset_cooldown_seconds:g}: peak" in reasons(result, "publication", "policy_reasons")
    found = check(result)
    assert (found.passed, found.severity, found.partition) == (True, dg.AssetCheckSeverity.WARN, "big")
    assert "| peak | 12 |" in str(found.metadata["tiers"].value)
    assert house.told(result) == ([], [], [])

    # What a person sets is published with the next publication, and the check says what the index cannot hold.
    settings(house, {"selection": {"presetCooldownSeconds": 900}, "motionThresholds": {"calmMax": 0.3}})
    policy, result = published(house)
    assert (policy.selection.preset_cooldown_seconds, policy.motion_thresholds.calm_max) == (900, 0.3)
    assert "900: set in aivj-pack.json" in reasons(result, "publication", "policy_reasons")
    assert not check(result).passed
    problems, rejected, warnings = house.told(result)
    assert (problems, rejected) == ([], [])
    assert "of 12 presets in" in warnings[0]
    assert "Set presetCooldownSeconds" in warnings[0]

    # Values that contradict each other are one line, and what is published stays.
    before = house.published()
    settings(house, {"preferSameAuthorChance": 1, "selection": {"clusterCooldownSwitches": 3}})
    result = house.publish("big")
    assert not result.success
    (problem,) = house.told(result)[0]
    assert problem.startswith("preferSameAuthorChance 1 keeps the show in one cluster")
    assert house.published() == before
