"""`run-manifest.json` from records, manifests and the frames on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from aivj_assets.contracts.frames_index import OkRecord, frame_paths, id_hash, read_records, write_records
from aivj_assets.contracts.run_manifest import RunManifest
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.packs.rendered import RenderedBatch
from aivj_assets.packs.run_manifest import build_run_manifest
from aivj_assets_tests.builders import NOW, write_index, write_manifest

IDS = ["p0", "p1", "p2", "p3"]


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    return DataRoot(tmp_path)


def write(root: DataRoot, key: str, ids: list[str], **index: object) -> RenderedBatch:
    write_manifest(root, key, ids)
    write_index(root, key, ids, **index)  # type: ignore[arg-type]
    return RenderedBatch.read(root, BatchKey.parse(key))


def made(root: DataRoot, *keys: str) -> RunManifest:
    return build_run_manifest(root, "big", [RenderedBatch.read(root, BatchKey.parse(key)) for key in keys])


def change(root: DataRoot, key: str, preset_id: str, **fields: object) -> None:
    path = root.batch(BatchKey.parse(key)).frames_index
    records = read_records(path)
    records[preset_id] = records[preset_id].model_copy(update=fields)
    write_records(path, records.values())


def test_a_pack_of_one_batch_in_the_form_that_the_app_reads(root: DataRoot) -> None:
    folder = write(root, "big", IDS, failed={"p1": "shader-compile-failed"}, luma=[0.5, 0.1, 0.2], motion=[0.1] * 3)
    frames = frame_paths(id_hash("p0"), 3, "webp")
    big = folder.folder.path / frames[1]
    big.write_bytes(big.read_bytes() + b"\0" * 5000)
    change(root, "big", "p0", at="2026-01-31T11:00:00.000Z")
    records = read_records(folder.folder.frames_index)
    dark = records["p2"]
    assert isinstance(dark, OkRecord)
    change(root, "big", "p2", metrics=dark.metrics.model_copy(update={"flags": ["static", "black"]}))

    run = made(root, "big")
    value = run.to_json()
    assert value["counts"] == {
        "total": 4, "ok": 3, "failed": 1, "skipped": 0, "tier1Ok": 2, "tier2Ok": 1, "uniquePresets": 4,
    }  # fmt: skip
    assert value["time"] == {"earliest": "2026-01-31T11:00:00.000Z", "latest": NOW}
    assert (value["version"], value["runName"], value["outDir"]) == ("v0", "big", "artifacts/aivj/big")
    assert value["indexPath"] == "artifacts/aivj/big/frames-index.jsonl"
    assert [preset["presetId"] for preset in value["presets"]] == IDS
    first, failed, flagged, _ = value["presets"]
    assert first == {
        "presetId": "p0", "relPath": "big/files/p0.json", "filePath": "public/presets/big/files/p0.json",
        "status": "ok", "tier": "strict", "idHash": id_hash("p0"),
        "frames": frames, "bestFrame": frames[1], "metrics": {"avgLuma": 0.5, "motion": 0.1},
        "reasons": [], "at": "2026-01-31T11:00:00.000Z", "score": 0.26,
    }  # fmt: skip
    assert (failed["status"], failed["reasons"], failed["frames"]) == ("failed", ["shader-compile-failed"], [])
    assert not {"tier", "score", "bestFrame"} & failed.keys()
    assert flagged["tier"] == "dark"


def test_batches_of_a_split_pack_lie_in_one_file_with_paths_below_the_pack(root: DataRoot) -> None:
    write(root, "big/batch-0001", ["a0", "a1"])
    write(root, "big/batch-0002", ["b0"], luma=[0.5], motion=[0.1])
    run = made(root, "big/batch-0001", "big/batch-0002")
    assert [preset.preset_id for preset in run.presets] == ["a0", "a1", "b0"]
    assert run.index_path == "artifacts/aivj/big/batch-*/frames-index.jsonl"
    assert [batch.index_path for batch in run.batches] == [
        "artifacts/aivj/big/batch-0001/frames-index.jsonl", "artifacts/aivj/big/batch-0002/frames-index.jsonl",
    ]  # fmt: skip
    for preset in run.presets:
        for frame in preset.frames:
            assert (root.path / run.out_dir / frame).is_file()
        assert preset.best_frame in preset.frames


def test_presets_without_a_record_are_skipped_and_copies_count_once(root: DataRoot) -> None:
    write(root, "big", IDS)
    for preset_id in ("p0", "p1"):
        change(root, "big", preset_id, preset_sha256="7" * 64)
    path = root.batch(BatchKey("big")).frames_index
    records = read_records(path)
    del records["p3"]
    write_records(path, records.values())
    counts = made(root, "big").counts
    assert (counts.total, counts.ok, counts.skipped, counts.unique_presets) == (4, 3, 1, 2)


def test_an_ok_preset_whose_first_frame_is_gone_counts_as_failed(root: DataRoot) -> None:
    folder = write(root, "big", IDS).folder
    records = read_records(folder.frames_index)
    for preset_id, number in (("p0", 0), ("p1", 2)):
        record = records[preset_id]
        assert isinstance(record, OkRecord)
        (folder.path / record.frames[number]).unlink()
    run = made(root, "big")
    gone, shorter = run.presets[:2]
    assert (gone.status, gone.reasons, gone.frames) == ("failed", ["frame-missing"], [])
    assert (shorter.status, len(shorter.frames)) == ("ok", 2)
    assert (run.counts.ok, run.counts.failed) == (3, 1)
