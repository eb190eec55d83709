"""The reason for a k goes with that k, and with no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from aivj_assets.contracts.pack_settings import PACK_SETTINGS_NAME, ClusterSettings, PackSettings
from aivj_assets.layout import DataRoot
from aivj_assets.orchestration.assets.clusters import ClusterConfig, chosen
from aivj_assets.orchestration.commands.batch import BatchOptions, merged_settings
from aivj_assets.orchestration.lineage.join import ClusterChoice

PACKS = ClusterSettings(k=48, reason="the k report\n suggests it")


@pytest.mark.parametrize(
    ("config", "settings", "told"),
    [
        (ClusterConfig(), ClusterSettings(), (None, None)),
        (ClusterConfig(), PACKS, (48, "the k report\n suggests it")),
        (ClusterConfig(k=48), PACKS, (48, "the k report\n suggests it")),
        (ClusterConfig(k=64), PACKS, (64, None)),
        (ClusterConfig(k=64, reason="finer"), PACKS, (64, "finer")),
        (ClusterConfig(), ClusterSettings(reason="of no k"), (None, None)),
    ],
)
def test_a_reason_goes_with_its_k(
    config: ClusterConfig, settings: ClusterSettings, told: tuple[int | None, str | None]
) -> None:
    choice = chosen(config, settings)
    assert (choice.k, choice.reason) == told


def test_a_run_s_choice_goes_before_the_pack_s() -> None:
    packs = ClusterSettings(k=48, seed=7, k_limit=96, strategy="minor")
    assert chosen(ClusterConfig(), packs) == ClusterChoice(k=48, seed=7, k_limit=96, strategy="minor")
    given = ClusterConfig(k=8, seed=0, k_limit=20, strategy="lineage")
    assert chosen(given, packs) == ClusterChoice(k=8, seed=0, k_limit=20, strategy="lineage")


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
