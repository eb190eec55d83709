from __future__ import annotations

import errno
import json
import os
import re
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from aivj_assets.contracts.import_report import ImportReport
from aivj_assets.contracts.manifest import Manifest, ManifestPreset
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot, sha256_file
from aivj_assets.packs.importer import import_pack


def milk(number: int) -> bytes:
    return f"[preset00]\nfRating=3.0\nzoom={1 + number / 1000}\nper_frame_1=rot = 0.{number};\n".encode()


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def manifest_of(root: DataRoot, pack: str) -> Manifest:
    return Manifest.load(root.manifest(BatchKey(pack)))


def copied(root: DataRoot, preset: ManifestPreset) -> bytes:
    return root.preset_file(preset.rel_path).read_bytes()


def needs_links(folder: Path) -> None:
    try:
        (folder / "probe").symlink_to(folder / "nowhere")
    except OSError:
        pytest.skip("this account may not make links")
    (folder / "probe").unlink()


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    return DataRoot(tmp_path / "data")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    for number in range(12):
        put(folder / f"deep/{number % 3}/Author {number} - Title.milk", milk(number))
    return folder


def test_a_folder_becomes_a_pack_of_exact_copies(root: DataRoot, source: Path) -> None:
    latin1 = "[preset00]\r\nper_frame_1=// d\u00e9j\u00e0 vu\r\n".encode("latin-1")
    put(source / "Zulu.MILK", latin1)
    put(source / "butterchurn.json", json.dumps({"baseVals": {"zoom": 1.0}}).encode())
    put(source / ".DS_Store", b"\0\0")
    put(source / ".hidden" / "a.milk", milk(99))

    report = import_pack(root, source, "mine")

    manifest = manifest_of(root, "mine")
    assert report.counts.model_dump(include={"scanned", "included", "left_out", "not_sampled"}) == {
        "scanned": 14, "included": 14, "left_out": 0, "not_sampled": 0,
    }  # fmt: skip
    assert manifest.version == "v3"
    assert manifest.total_presets_included == len(manifest.presets) == 14
    by_label = {preset.label: preset for preset in manifest.presets}
    zulu = by_label["Zulu"]
    assert copied(root, zulu) == latin1
    assert zulu.file_size == len(latin1)
    assert zulu.url == f"/presets/{zulu.rel_path}"
    assert re.fullmatch(r"mine/files/Zulu-[0-9a-f]{6}\.milk", zulu.rel_path)
    assert re.fullmatch(r"mine-zulu-[0-9a-f]{6}", zulu.id)
    assert manifest.presets[0].label == "butterchurn"
    assert manifest.presets[-1].label == "Zulu"
    assert ImportReport.load(root.import_report("mine")).counts.included == 14


def test_bad_files_are_left_out_with_reasons_and_good_ones_kept(root: DataRoot, source: Path) -> None:
    put(source / "empty.milk", b"")
    put(source / "binary.milk", b"MZ\0\0")
    put(source / "prose.milk", b"hello")
    put(source / "package.json", b'{"name": "something"}')
    with (source / "huge.milk").open("wb") as file:
        file.truncate(50 * 1024 * 1024)

    import_pack(root, source, "mine")

    report = ImportReport.load(root.import_report("mine"))
    assert {item.rel_path: item.reason for item in report.left_out} == {
        "empty.milk": "empty",
        "binary.milk": "binary-nul",
        "prose.milk": "preset-load-failed",
        "package.json": "preset-load-failed",
        "huge.milk": "read-failed",
    }
    assert report.counts.scanned == 17
    assert manifest_of(root, "mine").total_files_scanned == 17
    assert report.counts.included == 12


def test_names_that_windows_refuses_become_safe_unique_files(root: DataRoot, tmp_path: Path) -> None:
    folder = tmp_path / "names"
    names = ["CON", "aux.x", "\U0001f680 rocket \u65e5\u672c", "n" * 240, "caf\u00e9", "cafe\u0301"]
    if sys.platform != "win32":
        names += ['what? a: "b" <c>|*', "trailing...", " spaces ", "new\nline", "back\\slash", "ABC", "abc"]
    for number, name in enumerate(names):
        put(folder / f"{name}.milk", milk(number))

    import_pack(root, folder, "mine")

    manifest = manifest_of(root, "mine")
    files = [preset.file_name for preset in manifest.presets]
    assert len(files) == len(names)
    assert len({name.casefold() for name in files}) == len(names)
    for preset in manifest.presets:
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,80}", preset.file_name)
        assert not re.match(r"(?i)(con|aux)[.]", preset.file_name)
        assert re.fullmatch(r"[A-Za-z0-9._/-]+", preset.id)
        assert root.preset_file(preset.rel_path).is_file()
        assert "\n" not in preset.label
    assert "\U0001f680 rocket \u65e5\u672c" in {preset.label for preset in manifest.presets}
    assert {copied(root, preset) for preset in manifest.presets} == {milk(number) for number in range(len(names))}


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="only Linux file names may be any bytes")
def test_file_names_that_are_no_text_are_read_as_latin1_and_stay_apart(root: DataRoot, tmp_path: Path) -> None:
    folder = tmp_path / "bytes"
    folder.mkdir()
    for number, name in enumerate([b"caf\xe9.milk", "caf\u00e9.milk".encode()]):
        (folder / os.fsdecode(name)).write_bytes(milk(number))
    import_pack(root, folder, "mine")
    presets = manifest_of(root, "mine").presets
    assert [preset.label for preset in presets] == ["caf\u00e9", "caf\u00e9"]
    assert len({preset.id for preset in presets}) == 2
    assert {copied(root, preset) for preset in presets} == {milk(0), milk(1)}


def test_links_do_not_leave_the_source(root: DataRoot, source: Path, tmp_path: Path) -> None:
    needs_links(tmp_path)
    outside = put(tmp_path / "outside/secret.milk", milk(500))
    (source / "leak.milk").symlink_to(outside)
    (source / "leakfolder").symlink_to(outside.parent, target_is_directory=True)
    (source / "loop").symlink_to(source, target_is_directory=True)
    (source / "self.milk").symlink_to(source / "self.milk")

    report = import_pack(root, source, "mine")

    assert {item.rel_path for item in report.left_out} == {"leak.milk", "leakfolder", "self.milk"}
    assert {item.reason for item in report.left_out} == {"read-failed"}
    assert report.counts.included == 12


def test_a_sample_is_seeded_usable_and_nested(root: DataRoot, source: Path) -> None:
    for number in range(30):
        put(source / f"bad{number}.milk", b"")
    drawn = {}
    for pack, limit, seed in [("a", 5, None), ("b", 5, 1), ("c", 5, 2), ("d", 8, 1), ("e", 500, 1)]:
        import_pack(root, source, pack, limit=limit, seed=seed)
        drawn[pack] = [preset.label for preset in manifest_of(root, pack).presets]
    assert len(drawn["a"]) == 5
    assert drawn["a"] == drawn["b"]
    assert drawn["a"] != drawn["c"]
    assert set(drawn["b"]) < set(drawn["d"])
    assert len(drawn["e"]) == 12
    report = ImportReport.load(root.import_report("a"))
    assert (report.counts.scanned, report.counts.left_out, report.counts.not_sampled) == (42, 30, 7)


def test_copies_are_reported_and_dropped_only_on_request(root: DataRoot, source: Path) -> None:
    put(source / "copy.milk", milk(0).replace(b"\n", b"\r\n"))

    kept = import_pack(root, source, "kept")
    assert kept.counts.included == 13
    assert [len(ids) for ids in kept.duplicates.values()] == [2]

    dropped = import_pack(root, source, "dropped", dedupe=True)
    assert dropped.counts.included == 12
    assert dropped.duplicates == {}
    assert [(item.rel_path, item.reason) for item in dropped.left_out] == [
        ("deep/0/Author 0 - Title.milk", "duplicate")
    ]


def test_the_same_import_again_leaves_the_manifest_untouched(root: DataRoot, source: Path) -> None:
    import_pack(root, source, "mine")
    path = root.manifest(BatchKey("mine"))
    before = sha256_file(path), path.stat().st_mtime_ns

    assert import_pack(root, source, "mine").changed is False
    assert (sha256_file(path), path.stat().st_mtime_ns) == before

    put(source / "new.milk", milk(77))
    assert import_pack(root, source, "mine").changed is True
    assert sha256_file(path) != before[0]
    assert len(manifest_of(root, "mine").presets) == 13


def test_a_pack_from_elsewhere_is_only_replaced_on_request(root: DataRoot, source: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    put(other / "other.milk", milk(900))
    import_pack(root, source, "mine")
    before = sha256_file(root.manifest(BatchKey("mine")))

    with pytest.raises(UserError, match="--replace"):
        import_pack(root, other, "mine")
    with pytest.raises(UserError, match=r"other options.*--replace"):
        import_pack(root, source, "mine", limit=3)
    assert sha256_file(root.manifest(BatchKey("mine"))) == before

    import_pack(root, other, "mine", replace=True)
    assert [preset.label for preset in manifest_of(root, "mine").presets] == ["other"]
    assert len(list(root.imported_files_dir("mine").iterdir())) == 1


def test_replacing_keeps_files_that_the_old_manifest_only_claims(root: DataRoot, source: Path) -> None:
    import_pack(root, source, "mine")
    precious = put(root.presets_dir / "neighbour/files/precious.milk", milk(1))
    path = root.manifest(BatchKey("mine"))
    value = json.loads(path.read_text(encoding="utf-8"))
    value["presets"][0] |= {
        "relPath": "neighbour/files/precious.milk",
        "fileName": "../../neighbour/files/precious.milk",
    }
    value["presets"][1] |= {
        "relPath": "mine/files/../../neighbour/files/precious.milk",
        "fileName": "../../neighbour/files/precious.milk",
    }
    path.write_text(json.dumps(value), encoding="utf-8")
    import_pack(root, source, "mine", limit=2, replace=True)
    assert precious.is_file()


def test_the_npm_package_is_recognised_and_known_again_after_a_move(root: DataRoot, tmp_path: Path) -> None:
    def install(folder: Path) -> Path:
        put(folder / "package.json", b'{"name": "butterchurn-presets", "version": "2.4.7"}')
        put(folder / "presets/converted/one.json", b'{"baseVals": {"zoom": 1}}')
        put(folder / "presets/converted/.DS_Store", b"\0")
        put(folder / "presets/milkdrop/one.milk", milk(1))
        return folder

    report = import_pack(root, install(tmp_path / "a/butterchurn-presets"), "starter")
    assert report.source == "npm:butterchurn-presets@2.4.7"
    assert report.counts.scanned == report.counts.included == 1
    assert import_pack(root, install(tmp_path / "b/butterchurn-presets"), "starter").changed is False
    with pytest.raises(UserError, match="butterchurn-presets"):
        import_pack(root, tmp_path, "other", kind="npm")


def test_ids_stay_unique_when_digests_collide(root: DataRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class SameStart:
        def __init__(self, data: bytes) -> None:
            self.data = data

        def hexdigest(self) -> str:
            return "abcdef" + self.data.hex().ljust(26, "0")[-26:]

    monkeypatch.setattr("hashlib.md5", lambda data, usedforsecurity=True: SameStart(data))
    for number in range(5):
        put(tmp_path / f"source/{number}/same.milk", milk(number))
    import_pack(root, tmp_path / "source", "mine")
    presets = manifest_of(root, "mine").presets
    assert presets[0].id == "mine-same-abcdef"
    assert len({preset.id for preset in presets}) == 5
    assert len({copied(root, preset) for preset in presets}) == 5


def test_the_users_mistakes_are_told_in_one_line(root: DataRoot, source: Path, tmp_path: Path) -> None:
    (tmp_path / "void").mkdir()
    put(tmp_path / "bad/one.milk", b"")
    attempts = [
        (tmp_path / "missing", "mine", "does not exist"),
        (source / "deep/0/Author 0 - Title.milk", "mine", "not a folder"),
        (tmp_path / "void", "mine", "no preset files"),
        (tmp_path / "bad", "mine", "empty 1"),
        (source, "no/slash", "cannot name a pack"),
        (source, "CON", "cannot name a pack"),
    ]
    for folder, pack, words in attempts:
        with pytest.raises(UserError, match=words) as caught:
            import_pack(root, folder, pack)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="--limit"):
        import_pack(root, source, "mine", limit=0)
    assert not root.pack_dir("mine").exists()


def test_a_split_pack_and_the_packs_own_folder_are_refused(root: DataRoot, source: Path) -> None:
    (root.pack_dir("split") / "batches").mkdir(parents=True)
    with pytest.raises(UserError, match="split into batches"):
        import_pack(root, source, "split")
    import_pack(root, source, "mine")
    with pytest.raises(UserError, match="pack 'mine' itself"):
        import_pack(root, root.imported_files_dir("mine"), "mine", replace=True)


def test_importing_a_folder_that_holds_the_data_root_does_not_feed_on_itself(source: Path) -> None:
    root = DataRoot(source / "project")
    assert import_pack(root, source, "mine").counts.included == 12
    assert import_pack(root, source, "mine").changed is False


def test_two_imports_into_one_pack_do_not_mix(root: DataRoot, source: Path) -> None:
    import_pack(root, source, "mine")
    with FileLock(root.import_lock("mine")), pytest.raises(UserError, match="Another import"):
        import_pack(root, source, "mine")


def test_a_full_disk_is_told_and_leaves_no_manifest(
    root: DataRoot, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.write_bytes
    written: list[Path] = []

    def write_bytes(self: Path, data: bytes) -> int:
        if len(written) == 4:
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        written.append(self)
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(UserError, match="disk is full"):
        import_pack(root, source, "mine")
    assert len(written) == 4
    assert not root.manifest(BatchKey("mine")).exists()

    monkeypatch.undo()
    assert import_pack(root, source, "mine").counts.included == 12


def test_progress_reaches_the_number_of_files(root: DataRoot, source: Path) -> None:
    seen: list[tuple[int, int]] = []
    import_pack(root, source, "mine", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (12, 12)
