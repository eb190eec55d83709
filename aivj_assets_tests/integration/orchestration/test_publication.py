"""What the app fetches of a pack: one version of its lineage in four files, whatever happens on the way."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from aivj_assets.contracts.lineage import LineageEnergy
from aivj_assets.contracts.run_meta import RunMeta
from aivj_assets.layout import BatchKey
from aivj_assets.orchestration.assets.publication import gather, keep_cuts, load_accepted, publish
from aivj_assets.orchestration.lineage.acts import LineageActConfig, perform
from aivj_assets_tests.house import House
from aivj_assets_tests.lineage_builders import style_rows

ONE, TWO = BatchKey("big", "batch-0001"), BatchKey("big", "batch-0002")


@pytest.fixture
def house(house: House) -> House:
    """Two batches of a pack, accepted, in the order two, one."""
    for number, batch in enumerate((TWO, ONE)):
        house.add(batch, 12)
        house.rows[batch.key] = style_rows([0, 1] * 6, seed=number)
        assert house.run(batch, "a").success
    return house


def content(house: House) -> dict[str, Any]:
    return {name: json.loads(data) for name, data in house.published().items()}


def without_time(files: dict[str, Any]) -> dict[str, Any]:
    return {name: {**file, "generatedAt": None} for name, file in files.items()}


def test_four_files_of_one_version_with_the_lineage_s_ids_and_kept_cut_points(house: House) -> None:
    assert house.publish("big").success
    files = content(house)
    assert set(files) == {
        "aivj-style-policy.v0.json", "aivj-clusters.v0.json", "aivj-style-index.v0.json", "aivj-style-index.v1.json",
    }  # fmt: skip
    assert len({file["publication"] for file in files.values()}) == 1
    index, clusters = files["aivj-style-index.v1.json"], files["aivj-clusters.v0.json"]
    assert (
        [line["batch"] for line in index["batches"]]
        == [ONE.key, TWO.key]
        == [line["batch"] for line in clusters["batches"]]
    )
    assert {entry["presetId"]: entry["authorKey"] for entry in index["entries"]} == clusters["assignments"]
    assert clusters["lineage"] == {"name": "main", "version": 2, "k": len(clusters["clusters"]), "presets": 24}
    # Two styles; a cluster of each holds presets of both batches, whichever came first.
    ids = {
        style: {
            clusters["assignments"][f"batch-000{one}-p{place:03d}"] for one in (1, 2) for place in range(style, 12, 2)
        }
        for style in (0, 1)
    }
    assert not ids[0] & ids[1]
    assert all(line["label"] != line["id"] for line in clusters["clusters"])
    record = RunMeta.load(house.root.batch(ONE).run_meta).lineage
    assert record is not None
    assert (record.name, record.version, record.presets) == ("main", 2, 24)
    cuts = LineageEnergy.of(house.root.lineage("main")).cuts
    assert cuts is not None
    assert (cuts.drawn_from, cuts.presets) == ("big", 24)

    # Nothing new: not a byte changes.
    before = house.published()
    assert house.publish("big").success
    assert house.published() == before

    # A batch less: its presets are gone, the others' ids and energies are what they were.
    perform(house.root, LineageActConfig(act="remove", batch=TWO.key, reason="taste"))
    assert house.publish("big").success
    fewer = content(house)["aivj-style-index.v1.json"]["entries"]
    assert [entry["presetId"][:10] for entry in fewer] == ["batch-0001"] * 12
    was = {entry["presetId"]: entry for entry in index["entries"]}
    assert all(entry == was[entry["presetId"]] for entry in fewer)
    refused = house.run(TWO, "a")
    assert not refused.success
    assert "was removed from lineage 'main' (taste)" in house.told(refused)[0][0]
    # A label of a person's is published and outlasts all that is computed.
    perform(house.root, LineageActConfig(act="readmit", batch=TWO.key, reason="taste"))
    assert house.run(TWO, "a").success
    assert house.publish("big").success
    again = {entry["presetId"]: entry["authorKey"] for entry in content(house)["aivj-style-index.v1.json"]["entries"]}
    assert {name: again[name] for name in was if name.startswith("batch-0001")} == {
        name: entry["authorKey"] for name, entry in was.items() if name.startswith("batch-0001")
    }


def test_a_published_batch_that_is_being_made_again_holds_its_place(house: House) -> None:
    assert house.publish("big").success
    before = house.published()
    # Cut off between its rows and their checks.
    house.rows[ONE.key] = style_rows([0, 1] * 6, seed=7)
    house.make(ONE, "embeddings", checks=False)
    waits = house.publish("big")
    assert not waits.success
    (said,) = house.told(waits)[0]
    assert "batch big/batch-0001, which is published, is being made again" in said
    assert "aivj run big/batch-0001" in said
    assert house.published() == before
    # Done, it is published with its new rows and its old ids.
    assert house.run(ONE, "a").success
    assert house.publish("big").success
    ids = [
        {entry["presetId"]: entry["authorKey"] for entry in json.loads(files["aivj-style-index.v1.json"])["entries"]}
        for files in (before, house.published())
    ]
    assert ids[0] == ids[1]
    # Rejected is another matter: it leaves the index and holds up nobody.
    gone = dict.fromkeys([f"batch-0001-p{place:03d}" for place in range(2)], "frame-000.webp: missing on disk")
    assert not house.run(ONE, "a", left_out=gone).success
    assert house.publish("big").success
    assert [line["batch"] for line in content(house)["aivj-style-index.v1.json"]["batches"]] == [TWO.key]


def test_a_batch_that_the_lineage_does_not_know_is_named(house: House) -> None:
    shutil.rmtree(house.root.lineage("main").path)
    nothing = house.publish("big")
    assert "lineage 'main' has no version" in house.told(nothing)[0][0]
    assert house.run(ONE, "a").success
    lacking = house.publish("big")
    assert "big/batch-0002 is accepted but not in lineage 'main'" in house.told(lacking)[0][0]
    assert house.published() == {}


@pytest.mark.skipif(os.name == "nt", reason="needs fork")
def test_killed_between_any_two_writes_the_next_publication_is_whole(house: House) -> None:
    write(house)
    whole = without_time(content(house))
    cuts = house.root.lineage("main").energy
    for number in range(1, 12):
        for path in (*house.root.published_files("big"), cuts):
            path.unlink()
        if not killed_after_rename(house, number):
            break
        # What is there is of one publication: readers can tell.
        assert len({file["publication"] for file in content(house).values()}) <= 1
        write(house)
        assert without_time(content(house)) == whole
        assert LineageEnergy.load(cuts).history == []
    # Cut points and four files, at the least.
    assert number == 6


def write(house: House) -> None:
    """Write the pack's publication as its asset does."""
    batches = [ONE, TWO]
    made = gather(house.root, "big", batches, [load_accepted(house.root, batch) for batch in batches])
    keep_cuts(made)
    publish(house.root, made)


def killed_after_rename(house: House, number: int) -> bool:
    """Publish in a process that ends, as by kill -9, after its n-th rename; False when it came to its end."""
    pid = os.fork()
    if pid == 0:
        calls = 0
        replace = Path.replace

        def counted(self: Path, target: Any) -> Path:
            nonlocal calls
            made = replace(self, target)
            calls += 1
            if calls == number:
                os._exit(9)
            return made

        Path.replace = counted  # type: ignore[method-assign]
        try:
            write(house)
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) == 9
