import json
from pathlib import Path
from typing import Any

import pytest

from aivj_assets.contracts.style import StyleIndex, StylePolicy
from aivj_assets.errors import UserError
from aivj_assets_tests.builders import NOW, style_index


def test_the_index_has_the_fields_that_the_app_reads(tmp_path: Path) -> None:
    path = tmp_path / "aivj-style-index.v1.json"
    style_index("pack", {"a": "calm"}).save(path)
    assert json.loads(path.read_bytes()) == {
        "version": "v1",
        "generatedAt": NOW,
        "pack": "pack",
        "entries": [{"presetId": "a", "authorKey": "c00", "energy": "calm", "tags": ["cluster:c00", "energy:calm"]}],
    }


@pytest.mark.parametrize("change", [{"presetId": ""}, {"authorKey": ""}, {"energy": "wild"}, {"energy": None}])
def test_entries_that_the_app_would_drop_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    data = style_index("pack", {"a": "calm"}).to_json()
    data["entries"][0] |= change
    path = tmp_path / "x.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(UserError, match=r"entries\.0\."):
        StyleIndex.load(path)


def test_the_policy_has_the_app_s_defaults_and_our_selection_apart() -> None:
    policy = StylePolicy(generated_at=NOW, pack="pack", prefer_same_author_chance=0.25).to_json()
    assert policy["motionThresholds"] == {"calmMax": 0.42, "grooveMax": 0.72}
    assert policy["profileMap"] == {
        "ambient": "calm", "drone": "calm", "dub": "groove", "videoVj": "groove", "peakRave": "peak",
    }  # fmt: skip
    assert set(policy["selection"]) == {
        "presetCooldownSeconds", "clusterCooldownSwitches", "minDwellSeconds", "maxWaitSeconds", "minTempoConfidence",
        "relaxOrder",
    }  # fmt: skip
    for times in ("minDwellSeconds", "maxWaitSeconds"):
        assert set(policy["selection"][times]) == {"calm", "groove", "peak"}


@pytest.mark.parametrize("chance", [-0.1, 1.1, float("nan")])
def test_a_chance_is_a_fraction(chance: float) -> None:
    with pytest.raises(ValueError, match="prefer_same_author_chance"):
        StylePolicy(generated_at=NOW, pack="pack", prefer_same_author_chance=chance)
