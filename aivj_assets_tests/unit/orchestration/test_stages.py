from pathlib import Path

import dagster as dg
import pytest

from aivj_assets.definitions import build_definitions
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.partitions import BATCHES, PACKS
from aivj_assets.orchestration.stages import PUBLISHED_STAGE, STAGES, ancestors, content_version
from aivj_assets_tests.builders import write_batch

BATCH = BatchKey("pack")


def test_the_stages_are_the_asset_graph() -> None:
    graph = build_definitions().resolve_asset_graph()
    keys = {key.to_user_string(): key for key in graph.get_all_asset_keys()}
    of_packs = {"publication", "k_report", "style_map", "rehearsal", "reactivity", "audio_style_model"}
    assert set(keys) == {*STAGES, *of_packs, "audio_style_publication", "gate_report"}
    for name, stage in STAGES.items():
        node = graph.get(keys[name])
        assert {key.to_user_string() for key in node.parent_keys} == set(stage.inputs), name
        assert node.partitions_def == BATCHES, name
    publication = graph.get(keys["publication"])
    assert {key.to_user_string() for key in publication.parent_keys} == {PUBLISHED_STAGE}
    assert publication.partitions_def == PACKS


def test_the_checks_that_block_are_those_declared() -> None:
    graph = build_definitions().resolve_asset_graph()
    found: dict[str, dict[str, bool]] = {name: {} for name in STAGES}
    for key in graph.asset_check_keys:
        node = graph.get(key)
        stage = key.asset_key.to_user_string()
        assert node.partitions_def == (BATCHES if stage in STAGES else PACKS), key
        if stage in STAGES:
            found[stage][key.name] = node.blocking
    assert found == {
        name: dict.fromkeys(stage.blocking_checks, True) | dict.fromkeys(stage.warning_checks, False)
        for name, stage in STAGES.items()
    }
    assert not graph.get(dg.AssetCheckKey(dg.AssetKey("publication"), "policy_fits_index")).blocking
    assert set(found["frames"]) == {"ok_rate", "top_same", "luma_range", "motion_range", "parameters_frozen"}


def test_stages_come_after_what_they_need() -> None:
    order = list(STAGES)
    for name, stage in STAGES.items():
        assert all(order.index(above) < order.index(name) for above in stage.inputs), name


@pytest.mark.parametrize(
    ("stage", "above"),
    [
        ("presets", []),
        ("frames", ["presets"]),
        ("clusters", ["presets", "frames", "embeddings"]),
        ("style_policy", ["presets", "frames", "embeddings", "clusters", "style_index"]),
        ("run_record", [name for name in STAGES if name != "run_record"]),
    ],
)
def test_ancestors_however_far_up(stage: str, above: list[str]) -> None:
    assert ancestors(stage) == above


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    made = DataRoot(tmp_path)
    write_batch(made, "pack", 4)
    return made


@pytest.mark.parametrize("stage", ["frames", "embeddings", "clusters", "style_index"])
def test_a_version_follows_the_content_of_every_file(root: DataRoot, stage: str) -> None:
    first = content_version(root, BATCH, STAGES[stage])
    assert content_version(root, BATCH, STAGES[stage]) == first
    for path in STAGES[stage].files(root, BATCH, root.batch(BATCH)):
        before = path.read_bytes()
        path.write_bytes(before + b"\n")
        assert content_version(root, BATCH, STAGES[stage]) != first, path.name
        path.write_bytes(before)
    # Times of files do not matter, only what they hold.
    assert content_version(root, BATCH, STAGES[stage]) == first


def test_swapped_files_are_another_version(root: DataRoot) -> None:
    stage = STAGES["style_index"]
    first = content_version(root, BATCH, stage)
    v1, v0 = stage.files(root, BATCH, root.batch(BATCH))
    old_v1, old_v0 = v1.read_bytes(), v0.read_bytes()
    v1.write_bytes(old_v0)
    v0.write_bytes(old_v1)
    assert content_version(root, BATCH, stage) != first


def test_a_missing_file_says_what_to_do(root: DataRoot) -> None:
    root.batch(BATCH).centroids.unlink()
    with pytest.raises(UserError, match=r"Batch pack: .*centroids\.npy .* materialise clusters again"):
        content_version(root, BATCH, STAGES["clusters"])


def test_no_two_stages_write_one_file(root: DataRoot) -> None:
    files = [path for stage in STAGES.values() for path in stage.files(root, BATCH, root.batch(BATCH))]
    assert len(files) == len(set(files))
