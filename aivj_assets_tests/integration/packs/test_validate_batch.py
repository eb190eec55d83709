from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot, sha256_file
from aivj_assets.packs.validate import validate_batch

BATCH = BatchKey("pack")


def preset(rel_path: str, preset_id: str | None = None) -> dict[str, Any]:
    return {
        "id": preset_id or f"id-{rel_path}",
        "label": rel_path,
        "relPath": rel_path,
        "url": f"/presets/{rel_path}",
        "pack": "pack",
        "fileName": rel_path.rpartition("/")[2],
        "fileSize": 1,
    }


def submit(root: DataRoot, presets: list[dict[str, Any]], **fields: Any) -> Path:
    path = root.manifest(BATCH)
    path.parent.mkdir(parents=True, exist_ok=True)
    value = {
        "version": "v3",
        "generatedAt": "2026-01-01T00:00:00Z",
        "sourceRoot": "somewhere",
        "totalFilesScanned": len(presets),
        "totalPresetsIncluded": len(presets),
        "presets": presets,
        **fields,
    }
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    folder = tmp_path / "data" / "public" / "presets" / "pack"
    folder.mkdir(parents=True)
    (folder / "a.milk").write_bytes(b"[preset00]\r\nzoom=1\r\n")
    (folder / "b.milk").write_bytes(b"[preset00]\nzoom=1\n")
    (folder / "c.json").write_bytes(b'{"baseVals": {}}')
    (folder / "empty.milk").write_bytes(b"")
    (folder / "nul.milk").write_bytes(b"\0")
    with (folder / "huge.milk").open("wb") as file:
        file.truncate(50 * 1024 * 1024)
    return DataRoot(tmp_path / "data")


def test_refusals_keep_their_place_and_their_reason(root: DataRoot) -> None:
    rel_paths = [
        "pack/a.milk", "pack/empty.milk", "pack/b.milk", "pack/nul.milk", "pack/c.json", "pack/huge.milk",
        "pack/missing.milk", "../outside.milk", "/etc/passwd", "C:/x.milk",
    ]  # fmt: skip
    path = submit(root, [preset(rel_path) for rel_path in rel_paths])

    manifest, report = validate_batch(root, BATCH)

    assert [entry.rel_path for entry in manifest.presets] == rel_paths
    assert (report.total, report.usable) == (10, 3)
    assert {refusal.rel_path: refusal.reason for refusal in report.refusals} == {
        "pack/empty.milk": "empty",
        "pack/nul.milk": "binary-nul",
        "pack/huge.milk": "read-failed",
        "pack/missing.milk": "read-failed",
        "../outside.milk": "read-failed",
        "/etc/passwd": "read-failed",
        "C:/x.milk": "read-failed",
    }
    assert set(report.content_sha256) == {"id-pack/a.milk", "id-pack/b.milk", "id-pack/c.json"}
    assert list(report.duplicates.values()) == [["id-pack/a.milk", "id-pack/b.milk"]]
    assert report.formats == {".json": 1, ".milk": 8, "none": 1}
    assert report.manifest_sha256 == sha256_file(path)


def test_a_link_out_of_the_pack_is_refused(root: DataRoot, tmp_path: Path) -> None:
    secret = tmp_path / "secret.milk"
    secret.write_bytes(b"[preset00]\n")
    try:
        (root.pack_dir("pack") / "leak.milk").symlink_to(secret)
    except OSError:
        pytest.skip("this account may not make links")
    submit(root, [preset("pack/leak.milk")])
    _, report = validate_batch(root, BATCH)
    assert report.usable == 0
    assert "link" in report.refusals[0].detail


@pytest.mark.parametrize(
    ("presets", "fields", "words"),
    [
        ([], {}, "names no preset"),
        ([preset("pack/a.milk", "x"), preset("pack/b.milk", "x")], {}, "more than once"),
        ([preset("pack/a.milk")], {"version": "v9"}, "version"),
        ([{"id": "x"}], {}, "label"),
        ([preset("pack/a.milk", "line\nbreak")], {}, "line break"),
    ],
)
def test_a_bad_manifest_is_one_clear_line(
    root: DataRoot, presets: list[dict[str, Any]], fields: dict[str, Any], words: str
) -> None:
    path = submit(root, presets, **fields)
    with pytest.raises(UserError, match=words) as caught:
        validate_batch(root, BATCH)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_torn_manifest_and_a_missing_one_are_told(root: DataRoot) -> None:
    with pytest.raises(UserError, match=r"no batch 'pack'.*aivj pack import"):
        validate_batch(root, BATCH)
    path = submit(root, [preset("pack/a.milk")])
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="not JSON"):
        validate_batch(root, BATCH)


def test_unknown_fields_survive(root: DataRoot) -> None:
    submit(root, [preset("pack/a.milk") | {"bandClass": "A", "later": 1}], extraRoot=[1])
    manifest, _ = validate_batch(root, BATCH)
    assert manifest.to_json()["extraRoot"] == [1]
    assert manifest.to_json()["presets"][0]["later"] == 1
