import json
from pathlib import Path
from typing import Any

import pytest

from aivj_assets.contracts.style import MotionThresholds, Selection
from aivj_assets.errors import UserError
from aivj_assets.style.policy import REASONS, build_policy


def test_the_written_policy_has_the_apps_values_and_no_preference_for_one_cluster(tmp_path: Path) -> None:
    build_policy("starter", "2026-01-31T12:00:00.000Z").save(tmp_path / "policy.json")
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
        },
    }


def test_every_value_has_its_reason_and_the_reason_names_the_value() -> None:
    written = build_policy("starter", "now").to_json()
    values: dict[str, Any] = {key: written[key] for key in ("preferSameAuthorChance", "motionThresholds", "profileMap")}
    values |= {f"selection.{key}": value for key, value in written["selection"].items()}
    assert REASONS.keys() == values.keys()
    for key in ("preferSameAuthorChance", "selection.presetCooldownSeconds", "selection.clusterCooldownSwitches"):
        assert REASONS[key].startswith(f"{values[key]:g}:")
    for energy, seconds in values["selection.minDwellSeconds"].items():
        assert f"{energy} {seconds:g}" in REASONS["selection.minDwellSeconds"]


def test_values_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UserError, match="keeps the show in one cluster"):
        build_policy("starter", "now", prefer_same_author_chance=1)
    alone = Selection(cluster_cooldown_switches=0)
    assert build_policy("starter", "now", prefer_same_author_chance=1, selection=alone).prefer_same_author_chance == 1
    with pytest.raises(UserError, match=r"lies in 0\.\.1"):
        build_policy("starter", "now", prefer_same_author_chance=1.5)
    with pytest.raises(UserError, match="above grooveMax"):
        build_policy("starter", "now", motion_thresholds=MotionThresholds(calm_max=0.8, groove_max=0.7))
