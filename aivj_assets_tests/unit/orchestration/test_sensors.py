"""`discover_batches`: what a look at the data root finds, compared with what was seen before."""

import os
from pathlib import Path
from typing import Any

import pytest

from aivj_assets.layout import BatchKey, DataRoot, sha256_file
from aivj_assets.orchestration.sensors import discover_batches, parse_cursor
from aivj_assets_tests.builders import write_manifest


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    return DataRoot(tmp_path)


def new(root: DataRoot, seen: dict[str, str]) -> list[str]:
    return [batch.key for batch, _ in discover_batches(root, seen).new]


def test_an_empty_root_has_nothing(root: DataRoot) -> None:
    found = discover_batches(root, {})
    assert (found.new, found.unreadable, found.deleted, found.seen) == ([], {}, [], {})


def test_new_manifests_come_sorted_with_their_content_s_hash(root: DataRoot) -> None:
    for key in ("zeta", "alpha", "big/batch-0002", "big/batch-0001"):
        write_manifest(root, key, ["a"], files=False)
    # The root manifest of a split pack is no batch.
    write_manifest(root, "big", ["a"], files=False)
    found = discover_batches(root, {})
    assert [batch.key for batch, _ in found.new] == ["alpha", "big/batch-0001", "big/batch-0002", "zeta"]
    assert all(digest == sha256_file(root.manifest(batch)) for batch, digest in found.new)
    assert found.seen == {batch.key: digest for batch, digest in found.new}


def test_what_was_seen_is_not_new_until_its_bytes_change(root: DataRoot) -> None:
    for key in ("alpha", "beta"):
        write_manifest(root, key, ["a"], files=False)
    seen = discover_batches(root, {}).seen
    assert new(root, seen) == []
    os.utime(root.manifest(BatchKey("alpha")), (1, 1))
    assert new(root, seen) == []
    write_manifest(root, "beta", ["a", "b"], files=False)
    later = discover_batches(root, seen)
    assert [batch.key for batch, _ in later.new] == ["beta"]
    assert later.seen["alpha"] == seen["alpha"]
    assert later.seen["beta"] != seen["beta"]
    # Put back as it was: the old bytes are another manifest than the last.
    write_manifest(root, "beta", ["a"], files=False)
    assert new(root, later.seen) == ["beta"]


def test_a_deleted_manifest_is_reported_once(root: DataRoot) -> None:
    write_manifest(root, "alpha", ["a"], files=False)
    write_manifest(root, "beta", ["a"], files=False)
    seen = discover_batches(root, {}).seen
    root.manifest(BatchKey("beta")).unlink()
    found = discover_batches(root, seen)
    assert found.deleted == ["beta"]
    assert list(found.seen) == ["alpha"]
    assert discover_batches(root, found.seen).deleted == []


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{torn", b"\xff\xfe\x00", b"[]", b"{}", b'{"version": "v9"}', b"[" * 100_000,
        b'{"version": ' + b"9" * 5000 + b"}", b'{"x": "\\ud800"}',
    ],
    ids=["empty", "torn", "not-utf8", "list", "object", "version", "deep", "huge-number", "half-surrogate"],
)  # fmt: skip
def test_a_malformed_manifest_is_reported_and_not_remembered(root: DataRoot, content: bytes) -> None:
    write_manifest(root, "good", ["a"], files=False)
    path = root.manifest(BatchKey("bad"))
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    for _ in range(2):
        found = discover_batches(root, {})
        assert [batch.key for batch, _ in found.new] == ["good"]
        assert list(found.unreadable) == ["bad"]
        assert str(path) in found.unreadable["bad"]
        assert "\n" not in found.unreadable["bad"]
        assert "bad" not in found.seen
    # A manifest that was being copied in is whole at a later look.
    write_manifest(root, "bad", ["a"], files=False)
    assert new(root, found.seen) == ["bad"]


def test_a_manifest_that_became_malformed_is_not_deleted(root: DataRoot) -> None:
    write_manifest(root, "pack", ["a"], files=False)
    seen = discover_batches(root, {}).seen
    root.manifest(BatchKey("pack")).write_bytes(b"{")
    found = discover_batches(root, seen)
    assert (found.deleted, list(found.unreadable)) == ([], ["pack"])


@pytest.mark.parametrize("name", ["nul", "x.", "a b"])
def test_folders_that_cannot_be_packs_do_no_harm(root: DataRoot, name: str) -> None:
    write_manifest(root, "good", ["a"], files=False)
    folder = root.presets_dir / name
    folder.mkdir()
    (folder / "library-manifest.json").write_bytes(b"{}")
    assert new(root, {}) == ["good"]


def test_a_folder_that_may_not_be_entered_is_reported(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("closed", "good"):
        write_manifest(root, key, ["a"], files=False)
    # The administrator may enter everything, so the refusal is made here.
    closed, is_dir, is_open = root.pack_dir("closed"), Path.is_dir, Path.open

    def refused(path: Path) -> None:
        if closed in path.parents:
            raise PermissionError(13, "Permission denied", str(path))

    def guarded_is_dir(path: Path) -> bool:
        refused(path)
        return is_dir(path)

    def guarded_open(path: Path, *arguments: Any, **options: Any) -> Any:
        refused(path)
        return is_open(path, *arguments, **options)

    monkeypatch.setattr(Path, "is_dir", guarded_is_dir)
    monkeypatch.setattr(Path, "open", guarded_open)
    found = discover_batches(root, {})
    assert [batch.key for batch, _ in found.new] == ["good"]
    assert "Permission denied" in found.unreadable["closed"]


@pytest.mark.parametrize("cursor", [None, "", "[]", "{torn", "7", '"x"'])
def test_a_cursor_of_another_form_is_empty(cursor: str | None) -> None:
    assert parse_cursor(cursor) == {}
    assert parse_cursor('{"a": "b"}') == {"a": "b"}
