"""A pack that requires others waits until they are accepted, whoever asks for it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from aivj_assets.contracts.lineage import RemovedBatches
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.requires import waiting_for
from aivj_assets_tests.builders import write_manifest
from aivj_assets_tests.house import House

FIRST, SECOND = BatchKey("small", "batch-0001"), BatchKey("small", "batch-0002")


def require(root: DataRoot, pack: str, *names: str) -> None:
    path = root.pack_dir(pack) / "aivj-pack.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"requires": list(names)}), encoding="utf-8")


def remove(root: DataRoot, *batches: BatchKey) -> None:
    gone = {batch.key: {"reason": "taste", "at": "2026-01-31T12:00:00.000Z"} for batch in batches}
    RemovedBatches.model_validate({"batches": gone}).save(root.lineage("main").removed)


def test_a_pack_waits_until_every_batch_of_what_it_requires_is_accepted(house: House) -> None:
    require(house.root, "large", "small", "nowhere")
    assert waiting_for(house.instance, house.root, "large") == [
        "pack 'small', which is not there",
        "pack 'nowhere', which is not there",
    ]
    for batch in (FIRST, SECOND):
        house.add(batch)
    require(house.root, "large", "small")
    house.run(FIRST, "a")
    (told,) = waiting_for(house.instance, house.root, "large")
    assert told.startswith("pack 'small' (1 of 2 batches accepted; small/batch-0002: 'presets': it is not materialised")
    house.run(SECOND, "a")
    assert waiting_for(house.instance, house.root, "large") == []
    house.make(FIRST, "frames", checks=False)
    assert "1 of 2 batches accepted; small/batch-0001: 'frames'" in waiting_for(house.instance, house.root, "large")[0]


def test_batches_that_a_person_removed_hold_nobody_up(house: House) -> None:
    require(house.root, "large", "small")
    for batch in (FIRST, SECOND):
        house.add(batch)
    house.run(FIRST, "a")
    remove(house.root, SECOND)
    assert waiting_for(house.instance, house.root, "large") == []
    remove(house.root, FIRST, SECOND)
    assert waiting_for(house.instance, house.root, "large") == [
        "pack 'small' (all its batches are removed from their lineage)"
    ]


def test_packs_that_wait_for_each_other_are_told_so(house: House) -> None:
    house.add(BatchKey("a"))
    house.add(BatchKey("b"))
    house.add(BatchKey("c"))
    require(house.root, "a", "b")
    require(house.root, "b", "c")
    require(house.root, "c", "b", "a")
    (told,) = waiting_for(house.instance, house.root, "a")
    assert told == "pack 'b', in a circle (a waits for b waits for c waits for a): take one requirement out"
    require(house.root, "a", "a")
    assert "(a waits for a)" in waiting_for(house.instance, house.root, "a")[0]


@pytest.mark.parametrize(("name", "content"), [("../outside", None), ("broken", "{")])
def test_what_cannot_be_read_is_waited_for(house: House, name: str, content: str | None) -> None:
    require(house.root, "large", name)
    if content is not None:
        house.add(BatchKey(name))
        (house.root.pack_dir(name) / "aivj-pack.json").write_text(content, encoding="utf-8")
    (told,) = waiting_for(house.instance, house.root, "large")
    assert told.startswith(f"pack '{name}', which cannot be read: ")


def test_a_run_of_a_waiting_pack_fails_in_its_first_step(house: House) -> None:
    house.add(BatchKey("large"))
    require(house.root, "large", "small")
    result = house.run(BatchKey("large"), "a")
    problems, _, _ = house.told(result)
    assert len(problems) == 1
    assert problems[0].startswith("Pack 'large' waits for pack 'small', which is not there. ")
    assert str(Path("large") / "aivj-pack.json") in problems[0]
    assert result.get_asset_materialization_events() == []


@pytest.mark.parametrize("more", [[], ["--all-batches"], ["--only", "frames"]])
def test_the_command_line_refuses_a_waiting_pack_in_one_line_and_begins_nothing(house: House, more: list[str]) -> None:
    write_manifest(house.root, "large", ["p0"])
    require(house.root, "large", "small")
    command = [sys.executable, "-m", "aivj_assets.cli", "run", "large", *more, "--root", str(house.root.path)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: Pack 'large' waits for pack 'small', which is not there.")
    assert done.stderr.count("\n") == 1
    assert house.instance.get_runs_count() == 0
    assert house.instance.get_dynamic_partitions("batches") == []
