import json
from pathlib import Path
from typing import Any

import pytest

from aivj_assets.contracts.pack_settings import PackSettings, set_lineage
from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot


def settings_of(tmp_path: Path, data: Any) -> PackSettings:
    root = DataRoot(tmp_path)
    folder = root.pack_dir("pack")
    folder.mkdir(parents=True)
    (folder / "aivj-pack.json").write_text(json.dumps(data), encoding="utf-8")
    return PackSettings.of_pack(root, "pack")


def test_without_a_file_all_are_defaults(tmp_path: Path) -> None:
    settings = PackSettings.of_pack(DataRoot(tmp_path), "pack")
    assert settings == PackSettings()
    assert (settings.requires, settings.render, settings.clusters.k, settings.embedder.model) == ([], {}, None, None)


def test_what_a_person_sets_is_read(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path,
        {
            "requires": ["pack-15k"],
            "render": {"warmupFrames": 90},
            "embedder": {"model": "ViT-L-14"},
            "clusters": {"k": 8, "seed": 3, "reason": "fills my sheets"},
            "comment": "mine",
        },
    )
    assert settings.requires == ["pack-15k"]
    assert settings.render == {"warmupFrames": 90}
    assert (settings.embedder.model, settings.embedder.pretrained) == ("ViT-L-14", None)
    assert (settings.clusters.k, settings.clusters.seed, settings.clusters.reason) == (8, 3, "fills my sheets")
    assert settings.to_json()["comment"] == "mine"


def test_what_a_person_sets_of_the_policy_is_kept_when_the_file_is_rewritten(tmp_path: Path) -> None:
    told = {
        "policy": {
            "motionThresholds": {"calmMax": 0.3},
            "preferSameAuthorChance": 0.0,
            # Values that are the defaults too: a person who sets them means them.
            "selection": {"clusterCooldownSwitches": 2, "minDwellSeconds": {"calm": 24.0}, "relaxOrder": ["tier"]},
        }
    }
    policy = settings_of(tmp_path, told).policy
    assert (policy.motion_thresholds.calm_max, policy.motion_thresholds.groove_max) == (0.3, None)
    assert (policy.prefer_same_author_chance, policy.selection.preset_cooldown_seconds) == (0.0, None)
    root = DataRoot(tmp_path)
    set_lineage(root, "pack", "shows")
    written = json.loads((root.pack_dir("pack") / "aivj-pack.json").read_bytes())
    assert written == {**told, "lineage": "shows"}


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ({"motionThresholds": {"calmMax": 2}}, "policy.motionThresholds.calmMax"),
        ({"preferSameAuthorChance": -1}, "policy.preferSameAuthorChance"),
        ({"selection": {"presetCooldown": 5}}, "policy.selection.presetCooldown: Extra inputs are not permitted"),
        ({"selection": {"minDwellSeconds": {"loud": 5}}}, "policy.selection.minDwellSeconds.loud"),
        ({"selection": {"relaxOrder": ["mood"]}}, "policy.selection.relaxOrder.0"),
        ({"selection": {"clusterCooldownSwitches": 1.5}}, "policy.selection.clusterCooldownSwitches"),
        ([], "policy"),
    ],
)
def test_a_policy_that_means_nothing_is_one_line_with_the_place(tmp_path: Path, policy: Any, told: str) -> None:
    with pytest.raises(UserError, match=r"aivj-pack\.json is not as agreed") as raised:
        settings_of(tmp_path, {"policy": policy})
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "data", [{"clusters": {"k": 0}}, {"requires": "x"}, {"render": [1]}, [], {"clusters": {"seed": -1}}]
)
def test_a_malformed_file_is_one_line(tmp_path: Path, data: Any) -> None:
    with pytest.raises(UserError, match=r"aivj-pack\.json is not as agreed") as raised:
        settings_of(tmp_path, data)
    assert "\n" not in str(raised.value)


def test_a_pack_joins_a_lineage_and_keeps_its_other_settings(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    assert PackSettings.of_pack(root, "pack").lineage == "main"
    settings_of(tmp_path, {"render": {"warmupFrames": 90}, "comment": "mine"})
    set_lineage(root, "pack", "shows")
    written = json.loads((root.pack_dir("pack") / "aivj-pack.json").read_bytes())
    assert written == {"render": {"warmupFrames": 90}, "comment": "mine", "lineage": "shows"}
    with pytest.raises(UserError, match="cannot name a lineage"):
        set_lineage(root, "pack", "../x")
