"""Batches of a pack are read one after the other, as often as each file over the pack asks for them: once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from aivj_assets.contracts.quality_blacklist import QualityBlacklist
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.packs.blacklist import unwanted_presets, update_blacklist
from aivj_assets.packs.rendered import RenderedBatch, RenderedBatches
from aivj_assets.packs.run_manifest import build_run_manifest
from aivj_assets_tests.builders import write_index, write_manifest

KEYS = [BatchKey("big", f"batch-000{number}") for number in (1, 2, 3)]


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    made = DataRoot(tmp_path)
    for key in KEYS:
        ids = [f"{key.batch}-p{number}" for number in range(4)]
        write_manifest(made, key.key, ids, files=False)
        write_index(made, key.key, ids, failed={ids[-1]: "preset-load-failed"})
    return made


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    counted: Counter[str] = Counter()
    read = RenderedBatch.read

    def counting(root: DataRoot, batch: BatchKey) -> RenderedBatch:
        counted[batch.key] += 1
        return read(root, batch)

    monkeypatch.setattr(RenderedBatch, "read", counting)
    return counted


def test_each_file_over_a_pack_reads_each_batch_once(root: DataRoot, reads: Counter[str]) -> None:
    whole, once = RenderedBatches(root, KEYS), dict.fromkeys((key.key for key in KEYS), 1)
    run = build_run_manifest(root, "big", whole)
    assert (run.counts.total, run.counts.ok, run.counts.failed, run.counts.unique_presets) == (12, 9, 3, 12)
    assert reads == once
    reads.clear()
    blacklist = update_blacklist(QualityBlacklist(), whole)
    assert sorted(entry.preset_id for entry in blacklist.aivj_entries) == [f"{key.batch}-p3" for key in KEYS]
    assert reads == once
    reads.clear()
    assert unwanted_presets(QualityBlacklist(), whole) == {}
    assert not reads  # Nothing is unwanted: nobody has to look.
    named = QualityBlacklist(bad_ids=["batch-0002-p1"])
    assert unwanted_presets(named, whole) == {"batch-0002-p1": "blacklisted"}


def test_they_say_the_same_as_batches_that_are_held(root: DataRoot) -> None:
    held, whole = [RenderedBatch.read(root, key) for key in KEYS], RenderedBatches(root, KEYS)
    assert list(whole) == held
    assert (len(whole), whole[-1], list(whole[1:])) == (3, held[2], held[1:])
    made = [build_run_manifest(root, "big", batches).to_json() for batches in (held, whole)]
    assert {**made[0], "generatedAt": ""} == {**made[1], "generatedAt": ""}


def test_a_batch_that_cannot_be_read_is_named_when_it_is_its_turn(root: DataRoot) -> None:
    whole = RenderedBatches(root, KEYS)
    root.manifest(KEYS[1]).write_text("{", encoding="utf-8")
    assert whole[0].batch == KEYS[0]
    with pytest.raises(UserError, match=r"batch-0002.*is not JSON"):
        build_run_manifest(root, "big", whole)
