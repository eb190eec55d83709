"""The review page out of Dagster: what came and left with the lineage's version, metadata that a person looks at."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import dagster as dg
import pytest
from PIL import Image

from aivj_assets.contracts.clusters import Clusters
from aivj_assets.contracts.qa_index import QaIndex
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.lineage.moves import cluster_moves
from aivj_assets_tests.house import House
from aivj_assets_tests.integration.orchestration.test_lineage import COUNT, Library, five


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(DataRoot(tmp_path / "root"))


def test_a_batch_is_told_what_it_brought_and_what_its_clusters_had_before(library: Library) -> None:
    first, *_, last = five(library)
    library.join(first, k=4, k_limit=9)
    folder = library.root.batch(first)
    assert cluster_moves(library.root, Clusters.load(folder.clusters)) == {}
    library.join(last)
    clusters = Clusters.load(library.root.batch(last).clusters)
    moves = cluster_moves(library.root, clusters)
    assert set(moves) == {cluster.id for cluster in clusters.clusters}
    for cluster in clusters.clusters:
        change = moves[cluster.id]
        # Published presets keep their cluster: all that is new came with this batch, nothing left.
        assert (change.since, change.left_count, list(change.left)) == (1, 0, [])
        assert change.came_count == cluster.size
        assert len(change.came) == 8
        assert {clusters.assignments[moved.preset_id] for moved in change.came} == {cluster.id}
        assert {moved.cluster for moved in change.came} == {None}
    born = next(cluster for cluster in clusters.clusters if cluster.library_size == cluster.size)
    assert moves[born.id].came_count == 2 * COUNT


def test_presets_of_a_removed_batch_are_told_as_gone(library: Library) -> None:
    first, second, *_ = five(library)
    library.join(first, k=4)
    library.join(second)
    library.act("remove", batch=second.key)
    library.join(first)
    clusters = Clusters.load(library.root.batch(first).clusters)
    assert clusters.lineage is not None
    head = clusters.model_copy(
        update={"lineage": clusters.lineage.model_copy(update={"version": library.lineage().facts.number})}
    )
    moves = cluster_moves(library.root, head)
    assert sum(change.left_count for change in moves.values()) == 4 * COUNT
    assert sum(change.came_count for change in moves.values()) == 0
    for change in moves.values():
        assert all(moved.preset_id.startswith("b2-") and moved.cluster is None for moved in change.left)


def test_metadata_shows_medoids_by_cluster_counts_and_where_the_page_is(house: House) -> None:
    batch = BatchKey("pack")
    house.add(batch, 40)
    result = house.run(batch, "a")
    assert result.success
    folder = house.root.batch(batch)
    event = house.instance.get_latest_materialization_event(dg.AssetKey("qa_samples"))
    assert event is not None
    materialization = event.asset_materialization
    assert materialization is not None
    facts = materialization.metadata
    index = QaIndex.load(folder.qa_dir / "index.json")
    clusters = Clusters.load(folder.clusters)
    assert facts["clusters"].value == len(clusters.clusters)
    assert facts["samples"].value == len(index.copied)
    assert facts["medoids"].value == len(index.medoids or ()) > 0
    assert facts["outliers"].value == len(index.outliers or ())
    assert facts["reviewed"].value == 0
    page = folder.qa_dir / "index.html"
    assert facts["page"].value == str(page)
    assert facts["file"].value == page.resolve().as_uri()
    assert facts["open"].value == "http://127.0.0.1:3001/pack/qa-samples/index.html"
    sheet = re.fullmatch(r"!\[medoids by cluster, .*\]\(data:image/webp;base64,(.*)\)", str(facts["sheet"].value))
    assert sheet
    with Image.open(io.BytesIO(base64.b64decode(sheet[1]))) as picture:
        assert picture.width > 500
