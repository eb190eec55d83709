import json
from pathlib import Path
from typing import Any

import pytest

from aivj_assets.contracts.manifest import Manifest, make_preset_id, preset_slug, split_author_title
from aivj_assets.errors import UserError


def manifest_json(**root: Any) -> dict[str, Any]:
    preset = {
        "id": "p-1",
        "label": "Geiss - Drift",
        "relPath": "pack/files/a.milk",
        "url": "/presets/pack/files/a.milk",
        "pack": "pack",
        "fileName": "a.milk",
        "fileSize": 12,
        "bandClass": {"low": 1},
        "wasmCompat": {"ok": True, "probeTool": "x"},
        "somethingElse": [1, 2],
    }
    return {
        "version": "v2",
        "generatedAt": "2026-01-31T12:00:00.000Z",
        "sourceRoot": "D:/presets",
        "totalFilesScanned": 3,
        "totalPresetsIncluded": 1,
        "presets": [preset],
        "toolVersion": "7",
    } | root


def load(tmp_path: Path, data: Any) -> Manifest:
    path = tmp_path / "library-manifest.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return Manifest.load(path)


@pytest.mark.parametrize("version", ["v0", "v1", "v2", "v3"])
def test_known_versions_are_read_and_rewritten_whole(tmp_path: Path, version: str) -> None:
    data = manifest_json(version=version)
    assert load(tmp_path, data).to_json() == data


@pytest.mark.parametrize("version", ["v4", "V1", "1", None])
def test_unknown_versions_are_refused(tmp_path: Path, version: str | None) -> None:
    with pytest.raises(UserError, match="version: "):
        load(tmp_path, manifest_json(version=version))


def presets(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    return [manifest_json()["presets"][0] | change for change in changes]


def test_an_id_names_one_preset(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"1 preset ids occur more than once, e\.g\. 'p-1'"):
        load(tmp_path, manifest_json(presets=presets({}, {"relPath": "pack/b.milk"}, {"id": "p-2"})))


@pytest.mark.parametrize("preset_id", ["a\nb", "a\x00", "a\u2028b", "\x7f"])
def test_ids_that_would_break_a_list_of_lines_are_refused(tmp_path: Path, preset_id: str) -> None:
    with pytest.raises(UserError, match="control character or a line break"):
        load(tmp_path, manifest_json(presets=presets({"id": preset_id})))


@pytest.mark.parametrize(
    ("change", "field"),
    [({"id": ""}, "id"), ({"relPath": ""}, "relPath"), ({"fileSize": -1}, "fileSize"), ({"label": None}, "label")],
)
def test_a_wrong_field_is_named_with_its_place(tmp_path: Path, change: dict[str, Any], field: str) -> None:
    with pytest.raises(UserError, match=rf"presets\.1\.{field}: "):
        load(tmp_path, manifest_json(presets=presets({}, {"id": "p-2"} | change)))


def test_a_manifest_without_presets_is_read(tmp_path: Path) -> None:
    assert load(tmp_path, manifest_json(presets=[])).presets == []


def test_made_ids_are_stable_and_safe_for_log_parsers() -> None:
    made = make_preset_id("starter", "Flexi + Martin (feat. X) | mix", "sub/Flexi.milk")
    # md5 of "sub/Flexi.milk", so that two files of one name in two folders differ.
    assert made == "starter-flexi-martin-feat-x-mix-ddff54"
    assert made != make_preset_id("starter", "Flexi + Martin (feat. X) | mix", "other/Flexi.milk")
    assert not set(made) & set(" (|")


@pytest.mark.parametrize(("text", "slug"), [("Ünï Cödé!", "n-c-d"), ("---", "preset"), ("", "preset"), ("A  b", "a-b")])
def test_slugs(text: str, slug: str) -> None:
    assert preset_slug(text) == slug


def test_a_long_slug_does_not_end_in_a_dash() -> None:
    assert preset_slug("a" * 59 + " bc") == "a" * 59


@pytest.mark.parametrize(
    ("label", "author", "title"),
    [
        ("Geiss - Drift - mix 2", "Geiss", "Drift - mix 2"),
        ("Drift", None, "Drift"),
        ("$$$ - Drift", None, "$$$ - Drift"),
        ("Geiss - ", None, "Geiss -"),
        ("Geiss-Drift", None, "Geiss-Drift"),
    ],
)
def test_author_and_title(label: str, author: str | None, title: str) -> None:
    assert split_author_title(label) == (author, title)


def test_manifests_say_the_same_whether_or_not_they_tell_paths_in_the_source(tmp_path: Path) -> None:
    plain = load(tmp_path, manifest_json())
    told = load(tmp_path, manifest_json(generatedAt="later", presets=presets({"sourceRelPath": "a.milk"})))
    moved = load(tmp_path, manifest_json(presets=presets({"sourceRelPath": "b.milk"})))
    assert told.says_the_same(plain)
    assert plain.says_the_same(told)
    assert not told.says_the_same(moved)
    for other in (
        manifest_json(presets=presets({"label": "Other"})),
        manifest_json(presets=presets({"somethingElse": 2})),
        manifest_json(presets=[]),
        manifest_json(sourceRoot="E:/"),
        manifest_json(toolVersion="8"),
    ):
        assert not told.says_the_same(load(tmp_path, other))
    assert "sourceRelPath" not in plain.to_json()["presets"][0]
