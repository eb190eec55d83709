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
