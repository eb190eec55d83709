"""run-manifest.json and quality-blacklist.json of a publication, and the import that follows: over real runs."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from aivj_assets.cli import app as cli
from aivj_assets.contracts.frames_index import read_records, write_records
from aivj_assets.contracts.import_report import ImportReport
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.preset_file import PresetText, read_manifest_preset
from aivj_assets.contracts.quality_blacklist import QualityBlacklist
from aivj_assets.contracts.run_manifest import RunManifest
from aivj_assets.layout import BatchKey, DataRoot, sha256_file
from aivj_assets.orchestration.guard import latest_materialization
from aivj_assets.orchestration.partitions import BATCHES, PACKS
from aivj_assets.packs.importer import import_pack
from aivj_assets_tests.builders import write_frames_meta, write_index
from aivj_assets_tests.house import House

PACK = BatchKey("mine")
BAD = "deep/Author 07 - Title.milk"


def milk(number: int) -> bytes:
    return f"[preset00]\nfRating=3.0\nzoom={1 + number / 1000}\n".encode()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "deep").mkdir(parents=True)
    for number in range(20):
        (folder / f"deep/Author {number:02d} - Title.milk").write_bytes(milk(number))
    return folder


def preset_id(root: DataRoot, rel_path: str, pack: str = "mine") -> str:
    presets = Manifest.load(root.manifest(BatchKey(pack))).presets
    return next(preset.id for preset in presets if preset.source_rel_path == rel_path)


def render(house: House, failed: Mapping[str, str]) -> None:
    """Put the pack's frames where its rendering would, and run it to the end and to its publication."""
    root = house.root
    presets = Manifest.load(root.manifest(PACK)).presets
    folder = write_index(root, "mine", [preset.id for preset in presets], failed=failed)
    records = read_records(folder.frames_index)
    for preset in presets:
        text = read_manifest_preset(root, preset.rel_path)
        assert isinstance(text, PresetText)
        records[preset.id] = records[preset.id].model_copy(update={"preset_sha256": text.sha256})
    write_records(folder.frames_index, records.values())
    write_frames_meta(root, "mine")
    house.instance.add_dynamic_partitions(str(BATCHES.name), ["mine"])
    house.instance.add_dynamic_partitions(str(PACKS.name), ["mine"])
    assert house.run(PACK, "a", left_out=failed).success
    assert house.publish("mine").success


def metadata(house: House) -> dict[str, Any]:
    made = latest_materialization(house.instance, "publication", "mine")
    assert made is not None
    return {name: value.value for name, value in made[1].metadata.items()}


def shas(root: DataRoot) -> dict[str, str]:
    folder = root.batch(PACK).path
    return {name: sha256_file(folder / name) for name in ("run-manifest.json", "quality-blacklist.json")}


def test_a_publication_tells_how_presets_came_out_and_the_next_import_leaves_bad_ones_out(
    house: House, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = house.root
    import_pack(root, source, "mine", keep_blacklisted=False)
    bad = preset_id(root, BAD)
    render(house, {bad: "shader-compile-failed"})

    run = RunManifest.load(root.run_manifest("mine"))
    assert (run.counts.total, run.counts.ok, run.counts.failed, run.counts.unique_presets) == (20, 19, 1, 20)
    listed = QualityBlacklist.load(root.quality_blacklist("mine"))
    assert (listed.source_root, listed.bad_source_rel_paths, listed.bad_ids) == (str(source), [BAD], [bad])
    told = metadata(house)
    assert told["blacklisted"] == 1
    assert told["run_failed"] == 1
    assert told["run_manifest"] == str(root.run_manifest("mine"))
    assert told["quality_blacklist"] == str(root.quality_blacklist("mine"))
    # Only publication writes under public/, and only what the app fetches.
    assert {path.name for path in root.pack_dir("mine").glob("*.json")} == {
        "library-manifest.json", "import-report.json", *(path.name for path in root.published_files("mine")),
    }  # fmt: skip
    before = shas(root)
    assert house.publish("mine").success
    assert shas(root) == before

    # A copy in another source is known by its content, whatever it is called.
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(source / BAD, other / "renamed.milk")
    (other / "fine.milk").write_bytes(milk(900))
    monkeypatch.setenv("AIVJ_ROOT", str(root.path))
    monkeypatch.setenv("COLUMNS", "200")

    def said(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["aivj", "pack", "import", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        return capsys.readouterr().out

    shown = said(str(other), "--pack", "second")
    assert "1 presets of 2 scanned, 1 left out (1 blacklisted: --keep-blacklisted takes them)" in shown
    assert "left out: renamed.milk: blacklisted (pack 'mine': shader-compile-failed)" in shown
    (left,) = ImportReport.load(root.import_report("second")).left_out
    assert (left.rel_path, left.reason) == ("renamed.milk", "blacklisted")
    assert "keep_blacklisted" not in root.manifest(BatchKey("second")).read_text(encoding="utf-8")

    kept = said(str(other), "--pack", "third", "--keep-blacklisted")
    assert "2 presets of 2 scanned, 0 left out, " in kept
    settings = json.loads(root.manifest(BatchKey("third")).read_text(encoding="utf-8"))["import"]
    assert settings["keep_blacklisted"] is True
    assert "2 presets" in said(str(other), "--pack", "third", "--keep-blacklisted")

    # The same source again: the pack goes on without it, and it does not come back by the next publication.
    assert "19 presets of 20 scanned" in said(str(source), "--pack", "mine")
    render(house, {})
    assert QualityBlacklist.load(root.quality_blacklist("mine")).bad_ids == [bad]
    before_import = sha256_file(root.manifest(PACK))
    said(str(source), "--pack", "mine")
    assert sha256_file(root.manifest(PACK)) == before_import

    # Mended at its old place, it is another preset.
    (source / BAD).write_bytes(milk(901))
    assert "20 presets of 20 scanned, 0 left out, " in said(str(source), "--pack", "mine")
    render(house, {})
    assert QualityBlacklist.load(root.quality_blacklist("mine")).aivj_entries == []


def test_what_a_person_added_stays_and_a_malformed_file_is_told_and_kept(house: House, source: Path) -> None:
    root = house.root
    import_pack(root, source, "mine")
    path = root.quality_blacklist("mine")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"badIds": ["ugly"], "note": "mine"}), encoding="utf-8")
    render(house, {})
    value = json.loads(path.read_text(encoding="utf-8"))
    assert (value["badIds"], value["note"]) == (["ugly"], "mine")
    assert metadata(house)["blacklisted"] == 0
    assert metadata(house)["blacklisted_by_others"] == 1

    path.write_text("{", encoding="utf-8")
    result = house.publish("mine")
    assert result.success
    assert path.read_text(encoding="utf-8") == "{"
    assert "malformed" in metadata(house)["blacklisted"]
    warned = [
        entry.user_message for entry in house.instance.all_logs(result.run_id) if "blacklist" in entry.user_message
    ]
    assert len(warned) == 1
    assert "is not JSON" in warned[0]
