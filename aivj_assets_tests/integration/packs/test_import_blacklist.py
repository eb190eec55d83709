"""Presets that a pack's blacklist names stay out of an import; paths in the source are told without a new batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.preset_file import preset_sha256
from aivj_assets.contracts.quality_blacklist import QualityBlacklist
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot, sha256_file
from aivj_assets.packs.importer import import_pack
from aivj_assets.packs.split import split_pack


def milk(number: int) -> str:
    return f"[preset00]\nzoom={1 + number / 1000}\n"


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    return DataRoot(tmp_path / "data")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "deep").mkdir(parents=True)
    for number in range(12):
        (folder / f"deep/{number:02d}.milk").write_text(milk(number), encoding="utf-8", newline="\n")
    return folder


def blacklist(root: DataRoot, *numbers: int, pack: str = "old") -> None:
    shas = [preset_sha256(milk(number)) for number in numbers]
    QualityBlacklist(bad_content_sha256=shas).save(root.quality_blacklist(pack))


def labels(root: DataRoot, pack: str) -> list[str]:
    return [preset.label for preset in Manifest.load(root.manifest(BatchKey(pack))).presets]


def test_the_manifest_tells_each_preset_s_path_in_its_source(root: DataRoot, source: Path) -> None:
    import_pack(root, source, "mine")
    presets = Manifest.load(root.manifest(BatchKey("mine"))).presets
    assert [preset.source_rel_path for preset in presets] == [f"deep/{number:02d}.milk" for number in range(12)]
    assert all((source / str(preset.source_rel_path)).is_file() for preset in presets)


def test_no_blacklist_is_asked_unless_an_import_says_so(root: DataRoot, source: Path) -> None:
    import_pack(root, source, "before")
    blacklist(root, 3)
    root.quality_blacklist("torn").parent.mkdir(parents=True)
    root.quality_blacklist("torn").write_text("{", encoding="utf-8")
    assert import_pack(root, source, "before").changed is False
    assert len(labels(root, "before")) == 12
    with pytest.raises(UserError, match=r"torn.*quality-blacklist\.json is not JSON.*--keep-blacklisted"):
        import_pack(root, source, "after", keep_blacklisted=False)
    assert not root.pack_dir("after").exists()
    assert import_pack(root, source, "after", keep_blacklisted=True).counts.included == 12


def test_a_path_that_a_person_lists_counts_in_its_own_source(root: DataRoot, source: Path) -> None:
    path = root.quality_blacklist("old")
    path.parent.mkdir(parents=True)
    listed = {"sourceRoot": str(source), "badSourceRelPaths": ["deep/05.milk"], "badReasonsByRelPath": {}}
    path.write_text(json.dumps(listed), encoding="utf-8")
    report = import_pack(root, source, "mine", keep_blacklisted=False)
    assert [(left.rel_path, left.reason, left.detail) for left in report.left_out] == [
        ("deep/05.milk", "blacklisted", "pack 'old': no reason given")
    ]
    assert import_pack(root, source / "deep", "part", keep_blacklisted=False).left_out == []


def test_a_sample_is_drawn_from_what_is_not_blacklisted(root: DataRoot, source: Path) -> None:
    import_pack(root, source, "all", limit=6)
    drawn = labels(root, "all")
    blacklist(root, int(drawn[0]), int(drawn[1]))
    report = import_pack(root, source, "mine", limit=6, keep_blacklisted=False)
    now = labels(root, "mine")
    assert set(drawn[2:]) < set(now)
    assert len(now) == 6
    assert (report.counts.scanned, report.counts.left_out, report.counts.not_sampled) == (12, 2, 4)


def test_a_source_of_blacklisted_presets_alone_makes_no_pack(root: DataRoot, source: Path) -> None:
    blacklist(root, *range(12))
    with pytest.raises(UserError, match=r"\(blacklisted 12; .*--keep-blacklisted") as raised:
        import_pack(root, source, "mine", keep_blacklisted=False)
    assert "\n" not in str(raised.value)
    assert not root.pack_dir("mine").exists()


def test_taking_blacklisted_presets_is_an_option_of_the_pack(root: DataRoot, source: Path) -> None:
    import_pack(root, source, "mine", keep_blacklisted=True)
    assert import_pack(root, source, "mine", keep_blacklisted=True).changed is False
    with pytest.raises(UserError, match=r"other options \(kind auto, keep_blacklisted True\)"):
        import_pack(root, source, "mine", keep_blacklisted=False)


def forget_source_paths(root: DataRoot, batch: BatchKey) -> str:
    """Make a manifest one of those that do not tell paths in the source; returns its SHA-256."""
    path = root.manifest(batch)
    value = json.loads(path.read_text(encoding="utf-8"))
    for preset in value["presets"]:
        del preset["sourceRelPath"]
    Manifest.model_validate(value).save(path)
    return sha256_file(path)


def test_an_old_manifest_is_not_written_anew_for_the_paths_alone(root: DataRoot, source: Path) -> None:
    import_pack(root, source, "mine")
    old = forget_source_paths(root, BatchKey("mine"))
    assert import_pack(root, source, "mine").changed is False
    assert sha256_file(root.manifest(BatchKey("mine"))) == old
    # With a preset more it changes anyway.
    (source / "new.milk").write_text(milk(99), encoding="utf-8")
    assert import_pack(root, source, "mine").changed is True
    presets = Manifest.load(root.manifest(BatchKey("mine"))).presets
    assert len(presets) == 13
    assert all(preset.source_rel_path for preset in presets)


def test_batches_of_an_old_split_are_not_told_to_differ(root: DataRoot, source: Path) -> None:
    import_pack(root, source, "big")
    forget_source_paths(root, BatchKey("big"))
    made = split_pack(root, "big", batch_size=6).made
    (source / "new.milk").write_text(milk(99), encoding="utf-8")
    import_pack(root, source, "big")
    grown = split_pack(root, "big")
    assert (len(made), len(grown.made), grown.changed, grown.vanished) == (2, 1, [], [])
