"""The reason for a k goes with that k, and with no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from aivj_assets.contracts.pack_settings import PACK_SETTINGS_NAME, ClusterSettings, PackSettings
from aivj_assets.layout import DataRoot
from aivj_assets.orchestration.assets.clusters import ClusterConfig, with_reason
from aivj_assets.orchestration.commands import BatchOptions, merged_settings

PACKS = ClusterSettings(k=48, reason="the k report\n suggests it")


@pytest.mark.parametrize(
    ("config", "settings", "told"),
    [
        (ClusterConfig(), ClusterSettings(), "k 8 as requested."),
        (ClusterConfig(), PACKS, "k 8 as requested. Chosen because: the k report suggests it"),
        (ClusterConfig(k=48), PACKS, "k 8 as requested. Chosen because: the k report suggests it"),
        (ClusterConfig(k=64), PACKS, "k 8 as requested."),
        (ClusterConfig(k=64, reason="finer"), PACKS, "k 8 as requested. Chosen because: finer"),
        (ClusterConfig(), ClusterSettings(reason="of no k"), "k 8 as requested."),
        (ClusterConfig(k=64, reason=" \n"), ClusterSettings(), "k 8 as requested."),
    ],
)
def test_a_reason_stands_in_the_record_with_its_k(config: ClusterConfig, settings: ClusterSettings, told: str) -> None:
    assert with_reason("k 8 as requested.", config, settings) == told


@pytest.mark.parametrize(
    ("options", "clusters"),
    [
        (BatchOptions(), PACKS),
        (BatchOptions(k=48), PACKS),
        (BatchOptions(k=64), ClusterSettings(k=64)),
        (BatchOptions(k=64, k_reason="finer"), ClusterSettings(k=64, reason="finer")),
        (BatchOptions(k=48, k_reason="mine"), ClusterSettings(k=48, reason="mine")),
    ],
)
def test_the_command_line_s_k_takes_the_pack_s_reason_only_where_k_is_the_pack_s(
    tmp_path: Path, options: BatchOptions, clusters: ClusterSettings
) -> None:
    root = DataRoot(tmp_path)
    PackSettings(clusters=PACKS).save(root.pack_dir("pack") / PACK_SETTINGS_NAME)
    assert merged_settings(root, "pack", options).clusters == clusters
