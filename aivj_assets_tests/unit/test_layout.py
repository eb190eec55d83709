import json
import os
from pathlib import Path

import pytest

from aivj_assets.errors import UserError
from aivj_assets.layout import (
    BatchKey,
    DataRoot,
    check_pack_name,
    project_root,
    replace_file,
    resolve_data_root,
    safe_file_stem,
    sha256_file,
    web_engine_dir,
    write_json_atomic,
    write_text_atomic,
    writing,
)


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    (tmp_path / "public" / "presets").mkdir(parents=True)
    return DataRoot(tmp_path)


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"{}")


def test_data_root_is_the_project_unless_the_variable_names_another(tmp_path: Path) -> None:
    assert resolve_data_root({}).path == project_root()
    assert resolve_data_root({"AIVJ_ROOT": "  "}).path == project_root()
    assert resolve_data_root({"AIVJ_ROOT": str(tmp_path / "a" / ".." / "b")}).path == tmp_path.resolve() / "b"
    assert (project_root() / "aivj_assets" / "layout" / "__init__.py").is_file()


def test_web_engine_is_shared_by_all_data_roots(tmp_path: Path) -> None:
    assert web_engine_dir({"AIVJ_ROOT": str(tmp_path)}) == project_root() / ".aivj" / "web-engine"
    assert web_engine_dir({"AIVJ_WEB_ENGINE_DIR": str(tmp_path)}) == tmp_path.resolve()


@pytest.mark.parametrize(
    ("key", "pack", "part"), [("starter", "starter", None), ("big/batch-0012", "big", "batch-0012")]
)
def test_partition_keys_read_back(key: str, pack: str, part: str | None) -> None:
    batch = BatchKey.parse(key)
    assert (batch.pack, batch.batch, batch.key, str(batch)) == (pack, part, key, key)


@pytest.mark.parametrize(
    "key",
    ["", "/", "big/", "/batch-0001", "big/batch-1", "big/batch-0001/x", "../x", "big/..", "a b", "con", "nul.x", "x."],
)
def test_other_keys_are_refused_in_one_line(key: str) -> None:
    with pytest.raises(UserError) as raised:
        BatchKey.parse(key)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["CON", "com1", "LPT9.txt", "-x", ".hidden", "a" * 101, "päck", "a/b"])
def test_pack_names_that_are_no_folder_on_some_system_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="cannot name a pack"):
        check_pack_name(name)


def test_places_are_those_of_the_contract(root: DataRoot) -> None:
    whole, part = BatchKey("starter"), BatchKey("big", "batch-0001")
    shown = {
        "manifest": root.manifest(whole),
        "part": root.manifest(part),
        "batch": root.batch(whole).frames_index,
        "part batch": root.batch(part).run_meta,
        "published": root.published("big", "aivj-style-index.v1.json"),
        "frame": root.batch(whole).frame_folder("0123456789abcdef"),
    }
    assert {name: path.relative_to(root.path).as_posix() for name, path in shown.items()} == {
        "manifest": "public/presets/starter/library-manifest.json",
        "part": "public/presets/big/batches/batch-0001/library-manifest.json",
        "batch": "artifacts/aivj/starter/frames-index.jsonl",
        "part batch": "artifacts/aivj/big/batch-0001/run-meta.json",
        "published": "public/presets/big/aivj-style-index.v1.json",
        "frame": "artifacts/aivj/starter/frames/01/23/0123456789abcdef",
    }


def test_only_files_of_the_platform_are_published(root: DataRoot) -> None:
    with pytest.raises(ValueError, match="start with"):
        root.published("starter", "library-manifest.json")


def test_batches_are_found_sorted_and_split_packs_have_only_parts(root: DataRoot) -> None:
    assert DataRoot(root.path / "elsewhere").find_batches() == []
    for name in ("zeta", "alpha", "big/batches/batch-0002", "big/batches/batch-0001", "big", "big/batches/notes"):
        touch(root.presets_dir / name / "library-manifest.json")
    (root.presets_dir / "no-manifest").mkdir()
    (root.presets_dir / "empty-split" / "batches").mkdir(parents=True)
    touch(root.presets_dir / "empty-split" / "library-manifest.json")
    assert [batch.key for batch in root.find_batches()] == ["alpha", "big/batch-0001", "big/batch-0002", "zeta"]


@pytest.mark.parametrize("name", ["nul", "x.", "with space", ".hidden"])
def test_folders_that_cannot_be_packs_are_passed_over(root: DataRoot, name: str) -> None:
    touch(root.presets_dir / name / "library-manifest.json")
    touch(root.presets_dir / "good" / "library-manifest.json")
    assert [root.manifest(batch).is_file() for batch in root.find_batches()] == [True]


@pytest.mark.parametrize(
    "rel_path", ["", "/etc/passwd", "../secret", "pack/../../secret", "C:/x", "pack\\x", "pack/\0.milk"]
)
def test_paths_that_leave_the_presets_are_refused(root: DataRoot, rel_path: str) -> None:
    with pytest.raises(UserError, match=r"leaves public/presets"):
        root.preset_file(rel_path)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_links_are_followed_only_inside(root: DataRoot, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    touch(root.presets_dir / "pack" / "real.milk")
    (root.presets_dir / "pack" / "inside.milk").symlink_to(root.presets_dir / "pack" / "real.milk")
    (root.presets_dir / "pack" / "out").symlink_to(tmp_path / "outside")
    assert root.preset_file("pack/inside.milk").read_bytes() == b"{}"
    with pytest.raises(UserError, match="through a link out of"):
        root.preset_file("pack/out/x.milk")


@pytest.mark.parametrize(
    ("text", "stem"),
    [
        ("Geiss - Möbius / Strip?", "Geiss---M-bius-Strip"),
        ("con", "_con"),
        ("aux.txt", "_aux.txt"),
        ("???", "preset"),
        ("..", "preset"),
        ("x" * 200, "x" * 80),
    ],
)
def test_file_stems_are_legal_everywhere(text: str, stem: str) -> None:
    assert safe_file_stem(text) == stem


def test_a_file_that_could_not_be_written_leaves_the_old_one_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deep" / "x.json"
    write_json_atomic(path, {"a": "ü"})
    assert path.read_bytes() == '{\n  "a": "ü"\n}\n'.encode()

    def disk_full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing.os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space left"):
        write_text_atomic(path, "new")
    assert [file.name for file in path.parent.iterdir()] == ["x.json"]
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": "ü"}


def test_no_nan_reaches_a_json_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json_atomic(tmp_path / "x.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_file_held_open_on_windows_is_replaced_when_it_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "new", tmp_path / "old"
    source.write_bytes(b"new")
    target.write_bytes(b"old")
    waits: list[float] = []
    real_replace = Path.replace

    def held_open(path: Path, other: Path) -> Path:
        if len(waits) < 3:
            raise PermissionError(13, "in use")
        return real_replace(path, other)

    monkeypatch.setattr(Path, "replace", held_open)
    monkeypatch.setattr(writing.time, "sleep", waits.append)
    # Elsewhere a refusal is final.
    with pytest.raises(PermissionError):
        replace_file(source, target)
    assert waits == []
    with monkeypatch.context() as windows:
        windows.setattr(writing, "os", type("Windows", (), {"name": "nt"}))
        replace_file(source, target)
    assert target.read_bytes() == b"new"
    assert len(waits) == 3


def test_sha256_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_file(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_root_manifest_of_a_split_pack_is_no_batch(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    (root.pack_dir("big") / "batches").mkdir(parents=True)
    with pytest.raises(UserError, match="'big' is split: run its batches"):
        root.require_own_batch(BatchKey("big"))
    root.require_own_batch(BatchKey("big", "batch-0001"))
    root.require_own_batch(BatchKey("small"))


def test_a_pack_is_split_even_while_one_split_takes_the_place_of_another(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    whole = root.manifest(BatchKey("big"))
    whole.parent.mkdir(parents=True)
    whole.write_text("{}", encoding="utf-8")
    assert [found.key for found in root.find_batches()] == ["big"]
    assert not root.is_split("big")
    root.new_batches_dir("big").mkdir()
    assert [found.key for found in root.find_batches()] == ["big"]
    root.replaced_batches_dir("big").mkdir()
    # No sensor may start a run of the whole meanwhile, and no run may begin.
    assert root.find_batches() == []
    with pytest.raises(UserError, match=r"'big' is split: run its batches \(none has a manifest yet\)"):
        root.require_own_batch(BatchKey("big"))


def test_the_way_to_run_all_batches_is_named(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    for number in range(1, 6):
        path = root.manifest(BatchKey("big", f"batch-000{number}"))
        path.parent.mkdir(parents=True)
        path.write_text("{}", encoding="utf-8")
    with pytest.raises(UserError) as raised:
        root.require_own_batch(BatchKey("big"))
    assert "(big/batch-0001, big/batch-0002, big/batch-0003, ...)" in str(raised.value)
    assert str(raised.value).endswith("all of them with: aivj run big --all-batches")


def test_locks_are_found_in_batch_folders_only(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    assert root.find_locks() == []
    locks = [root.batch(BatchKey("small")).lock, root.batch(BatchKey("big", "batch-0001")).lock]
    for path in [*locks, root.batch(BatchKey("small")).frames_dir / "ab" / ".batch-lock.json"]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"{}")
    assert root.find_locks() == sorted(locks)


def test_batches_are_found_by_their_artifacts_too(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    assert root.find_made_batches() == []
    for key in ("zeta", "big/batch-0002", "big/batch-0001"):
        report = root.batch(BatchKey.parse(key)).presets_report
        report.parent.mkdir(parents=True)
        report.write_bytes(b"{}")
    for folder in ("big/k-report", "big/batch-x", "con"):
        (root.artifacts_dir / folder).mkdir(parents=True)
    for stray in ("big/batch-x/presets-report.json", "con/presets-report.json"):
        (root.artifacts_dir / stray).write_bytes(b"{}")
    assert [batch.key for batch in root.find_made_batches()] == ["big/batch-0001", "big/batch-0002", "zeta"]
    assert root.gate_report(".html") == root.artifacts_dir / "gates.html"
