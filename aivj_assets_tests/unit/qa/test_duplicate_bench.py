from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from aivj_assets.cli.app import app
from aivj_assets.contracts.clusters import Cluster, Clusters, cluster_id
from aivj_assets.contracts.embeddings import Embeddings, save_embeddings
from aivj_assets.contracts.frames_index import FailedRecord, OkRecord, write_records
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.qa import duplicate_bench
from aivj_assets.qa.duplicate_bench import BITS, DuplicateBench, bench_duplicates, title_key
from aivj_assets.qa.duplicate_tables import print_duplicate_bench
from aivj_assets.qa.duplicates import duplicate_thresholds
from aivj_assets_tests.builders import embeddings_meta, ok_record, write_manifest
from aivj_assets_tests.picture_builders import drawn, stored

KEY = BatchKey("big")
# Name: title, picture, direction of its embedding in degrees, cluster.
PRESETS = {
    "a": ("Geiss - Tunnel", 1, 0, 0),
    "a-again": ("geiss -  tunnel!", 1, 3, 0),
    "a-remix": ("Geiss - Tunnel (remix)", 1, 8, 0),
    "look": ("Geiss - Other", 2, 5, 0),
    "far": ("Geiss - Far", 3, 90, 0),
    "elsewhere": ("Geiss - Tunnel", 1, 2, 1),
}


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    made = DataRoot(tmp_path / "root")
    folder = made.batch(KEY)
    write_manifest(made, KEY.key, list(PRESETS), labels={name: title for name, (title, *_) in PRESETS.items()})
    records: list[OkRecord | FailedRecord] = []
    for name, (_, seed, _, _) in PRESETS.items():
        record = ok_record(name, KEY.pack)
        for number, frame in enumerate(record.frames):
            stored(drawn(seed, side=64, phase=number), folder.path / frame)
        records.append(record)
    write_records(folder.frames_index, records)
    turned = np.radians([degrees for _, _, degrees, _ in PRESETS.values()])
    rows = np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32)
    save_embeddings(folder, Embeddings(rows, list(PRESETS), embeddings_meta(len(rows), 2)))
    assignments = {name: cluster_id(cluster) for name, (_, _, _, cluster) in PRESETS.items()}
    sizes = {"c00": 5, "c01": 1}
    Clusters(
        k=2, seed=1, strategy="lineage", previous=None, assignments=assignments,
        clusters=[
            Cluster(id=name, size=size, centroid=row, born_in="big", label=name)
            for row, (name, size) in enumerate(sizes.items())
        ],
    ).save(folder.clusters)  # fmt: skip
    return made


def bench(root: DataRoot) -> DuplicateBench:
    from aivj_assets.orchestration.bench.duplicates import bench_batch

    return bench_batch(root, KEY).bench


def test_pairs_of_one_title_and_of_two_are_counted_for_each_pair_of_thresholds(root: DataRoot) -> None:
    found = bench(root)
    assert (found.presets, found.same_title_pairs) == (6, 3)
    assert found.found(0.995, 8) == (1, 1)
    assert found.found(0.99, 8) == (1, 2)
    assert found.found(0.99, BITS) == (1, 5)
    assert found.found(0.9999, BITS) == (0, 0)
    grid = {(line["minCosine"], line["maxHashDistance"]): line for line in found.to_json()["grid"]}
    assert (grid[0.99, 8]["sameTitle"], grid[0.99, 8]["otherTitles"]) == (1, 2)


def test_the_pairs_around_the_thresholds_come_nearest_first(root: DataRoot) -> None:
    inside, outside = bench(root).around(duplicate_thresholds(8, 0.98), 2)
    assert [{pair.one, pair.other} for pair in inside] == [{"a", "a-remix"}, {"a-again", "a-remix"}]
    assert len(outside) == 2
    assert all("look" in (pair.one, pair.other) for pair in outside)


def test_of_too_many_pairs_the_nearest_are_counted_and_it_says_so(
    root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicate_bench, "MOST_PAIRS", 2)
    found = bench(root)
    assert found.is_cut
    assert [round(pair.cosine, 3) for pair in found.pairs] == [0.999, 0.999]
    console = Console(width=100, record=True)
    print_duplicate_bench(console, found, duplicate_thresholds())
    assert "Only the nearest 2 pairs are counted." in console.export_text()


def test_blocks_make_no_difference(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bench(root)
    monkeypatch.setattr(duplicate_bench, "BLOCK_ROWS", 2)
    assert {(pair.one, pair.other) for pair in bench(root).pairs} == {(pair.one, pair.other) for pair in whole.pairs}


def test_titles_are_equal_but_for_case_spaces_and_signs() -> None:
    assert title_key("Geiss - Tunnel_2") == title_key("geiss tunnel 2!")
    assert title_key("Ёлка - Снег") == title_key("ёлка — снег")
    assert title_key("Tunnel") != title_key("Tunnel 2")
    assert title_key("!!!") != title_key("???")


def test_a_batch_of_misfits_alone_cannot_be_compared(root: DataRoot) -> None:
    folder = root.batch(KEY)
    records = {name: ok_record(name, KEY.pack) for name in PRESETS}
    for record in records.values():
        record.metrics.flags = ["black"]
    rows = Embeddings(np.eye(6, dtype=np.float32), list(PRESETS), embeddings_meta(6, 6))
    with pytest.raises(UserError, match="all are misfits"):
        bench_duplicates(folder, Clusters.load(folder.clusters), rows, records=records, labels={})


def test_the_command_prints_writes_figures_and_draws_the_pairs(root: DataRoot, tmp_path: Path) -> None:
    sheet, figures = tmp_path / "out" / "pairs.png", tmp_path / "figures.json"
    result = CliRunner().invoke(
        app,
        ["bench", "duplicates", "big", "--root", str(root.path), "--sheet", str(sheet), "--json", str(figures)],
        env={"COLUMNS": "100"},
    )
    assert result.exit_code == 0, result.output
    assert "cosine from 0.98, up to 8 bits: 1 of the 3 pairs of one title, 2 others" in result.output
    assert Image.open(sheet).width > 600
    assert figures.exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["nothing"], "nothing"), (["big", "--sheet", "pairs.txt"], "no picture's name")],
)
def test_what_cannot_be_measured_is_told(root: DataRoot, arguments: list[str], told: str) -> None:
    result = CliRunner().invoke(app, ["bench", "duplicates", *arguments, "--root", str(root.path)])
    assert result.exit_code != 0
    assert told in f"{result.output}{result.exception}"
