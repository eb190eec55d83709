"""`aivj bench scale` at a tiny size: the real graph, executor and a small model; only the browser stands in."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from aivj_assets.contracts.frames_index import OkRecord, read_records
from aivj_assets.contracts.style import StyleIndex
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.bench.scale.library import PACK
from aivj_assets.orchestration.instance import open_instance
from aivj_assets_tests.integration.orchestration.conftest import Says

# Some 60 s on two quiet cores: two runs of the real executor, each of 16 processes.
pytestmark = pytest.mark.timeout(900)


def test_two_batches_go_through_the_real_graph_and_the_same_call_goes_on(says: Says, tmp_path: Path) -> None:
    place = DataRoot(tmp_path / "library")
    size = ["--batches", "2", "--batch-size", "34", "--root", str(place.path), "--keep", "--no-ui"]
    figures_file = tmp_path / "figures.json"
    status, out, error = says("bench", "scale", *size, "--json", str(figures_file))
    assert status == 0, out + error
    assert "Batches, in seconds of the clock" in out
    figures = json.loads(figures_file.read_text(encoding="utf-8"))

    # One of the 68 presets is made to fail; all others are published, with clusters.
    batches = [BatchKey(PACK, name) for name in ("batch-0001", "batch-0002")]
    records = {name: one for batch in batches for name, one in read_records(place.batch(batch).frames_index).items()}
    ok = {name for name, record in records.items() if isinstance(record, OkRecord)}
    assert (len(records), len(ok)) == (68, 67)
    index = StyleIndex.load(place.published_files(PACK)[-1])
    assert {entry.preset_id for entry in index.entries} == ok
    assert len({entry.author_key for entry in index.entries}) > 1

    assert [batch["libraryPresets"] for batch in figures["batches"]] == [34, 68]
    assert figures["growth"]["clusters s"]["points"] == 2
    for batch in figures["batches"]:
        assert 0 < batch["idleS"] < batch["wallS"]
        assert {"frames.render_shard", "embeddings", "clusters", "publication", "checks"} <= set(batch["stages"])
        assert batch["peaks"]["embeddings"] > batch["peaks"]["presets"] > 50_000_000
        assert batch["sizes"]["frames_files"] == 3 * batch["ok"]
    assert {bound["name"] for bound in figures["bounds"]} >= {"memory of a process"}
    assert {"new_manifest_batches", "publish_accepted_batches"} <= {one["sensor"] for one in figures["sensors"]}

    with open_instance(place, os.environ) as instance:
        runs = instance.get_runs_count()
    assert runs == 4
    status, out, _ = says("bench", "scale", *size)
    assert status == 0
    with open_instance(place, os.environ) as instance:
        assert instance.get_runs_count() == runs
    assert place.path.is_dir()
    status, _, error = says("bench", "scale", "--batches", "3", *size[2:])
    assert status != 0
    assert "holds a benchmark of another size" in error
