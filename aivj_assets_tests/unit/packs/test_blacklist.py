"""A pack's blacklist from its records, over several renderings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from aivj_assets.contracts.adoption import NOT_ADOPTED
from aivj_assets.contracts.frames_index import FailedRecord, OkRecord
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.quality_blacklist import QualityBlacklist
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.packs.blacklist import Blacklists, failed_for_good, update_blacklist
from aivj_assets.packs.rendered import RenderedBatch
from aivj_assets.packs.source import open_source
from aivj_assets_tests.builders import NOW, failed_record, ok_record, preset_entry

Records = Mapping[str, OkRecord | FailedRecord]


def sha(letter: str) -> str:
    return letter * 64


def batch(records: Records, *, ids: str = "abc", source_root: str = "D:/presets", told: bool = True) -> RenderedBatch:
    """Return a batch of presets `a`, `b`, … that lie in the source's folder `deep`."""
    presets = [
        preset_entry(name, "big").model_copy(update={"source_rel_path": f"deep/{name}.milk"} if told else {})
        for name in ids
    ]
    manifest = Manifest(
        version="v0", generated_at=NOW, source_root=source_root, total_files_scanned=len(ids),
        total_presets_included=len(ids), presets=presets,
    )  # fmt: skip
    root = DataRoot(Path("/nowhere"))
    return RenderedBatch(BatchKey("big"), manifest, records, root.batch(BatchKey("big")))


def bad(name: str, reason: str = "shader-compile-failed", **more: Any) -> FailedRecord:
    return failed_record(name, "big", reason, **{"preset_sha256": sha(name), **more})


def good(name: str, **more: Any) -> OkRecord:
    return ok_record(name, "big", **{"preset_sha256": sha(name), **more})


@pytest.mark.parametrize(
    ("record", "verdict"),
    [
        (bad("a"), True),
        (bad("a", "render-failed"), True),
        (bad("a", "a reason of another tool"), True),
        (bad("a", "probe-timeout"), False),
        (bad("a", "watchdog"), False),
        (bad("a", "watchdog", quarantined=True), True),
        # The pack's copy is gone; the source may be well.
        (bad("a", "read-failed", preset_sha256=None), False),
        (bad("a", NOT_ADOPTED, preset_sha256=None), False),
        (good("a"), False),
    ],
)
def test_only_what_trying_again_does_not_cure_is_for_good(record: OkRecord | FailedRecord, verdict: bool) -> None:
    assert failed_for_good(record) is verdict


def test_a_bad_preset_is_listed_in_every_form_that_the_app_reads() -> None:
    made = update_blacklist(QualityBlacklist(), [batch({"a": good("a"), "b": bad("b"), "c": bad("c", "watchdog")})])
    value = made.to_json()
    assert value.pop("generatedAt")
    assert value == {
        "version": "v0",
        "sourceRoot": "D:/presets",
        "badSourceRelPaths": ["deep/b.milk"],
        "badReasonsByRelPath": {"deep/b.milk": ["shader-compile-failed"]},
        "badIds": ["b"],
        "badUrls": ["/presets/big/files/b.json"],
        "badContentSha256": [sha("b")],
        "aivjEntries": [
            {
                "presetId": "b", "batch": "big", "sourceRoot": "D:/presets", "sourceRelPath": "deep/b.milk",
                "relPath": "big/files/b.json", "url": "/presets/big/files/b.json", "sha256": sha("b"),
                "reasons": ["shader-compile-failed"], "at": NOW,
            }
        ],
    }  # fmt: skip


def test_where_the_manifest_tells_no_source_path_the_pack_s_own_stands_for_it() -> None:
    made = update_blacklist(QualityBlacklist(), [batch({"b": bad("b")}, told=False)])
    assert made.bad_source_rel_paths == ["big/files/b.json"]
    assert "sourceRelPath" not in made.to_json()["aivjEntries"][0]


def test_an_entry_of_ours_leaves_when_the_preset_works_and_others_stay() -> None:
    by_hand = QualityBlacklist.model_validate(
        {
            "sourceRoot": "D:/presets",
            "badSourceRelPaths": ["mine.milk"],
            "badReasonsByRelPath": {"mine.milk": "ugly"},
            "badIds": ["mine"],
            "badContentSha256": [sha("f")],
            "toolVersion": 7,
        }
    )
    listed = update_blacklist(by_hand, [batch({"a": good("a"), "b": bad("b")})])
    assert listed.bad_source_rel_paths == ["mine.milk", "deep/b.milk"]
    assert listed.bad_ids == ["mine", "b"]
    again = update_blacklist(listed, [batch({"a": good("a"), "b": bad("b")})])
    assert again.model_copy(update={"generated_at": ""}) == listed.model_copy(update={"generated_at": ""})

    cured = update_blacklist(again, [batch({"a": good("a"), "b": good("b")})])
    assert cured.to_json() == by_hand.to_json() | {"generatedAt": cured.generated_at}


@pytest.mark.parametrize(
    ("records", "stays"),
    [
        ({"a": good("a")}, True),
        ({"a": good("a"), "b": bad("b", "probe-timeout")}, True),
        ({"a": good("a"), "b": bad("b", "probe-timeout", preset_sha256=sha("9"))}, False),
        ({"a": good("a"), "b": good("b", preset_sha256=None)}, False),
        ({"a": good("a"), "b": good("b", preset_sha256=sha("9"))}, False),
        ({"a": good("a", preset_sha256=sha("b"))}, False),
    ],
    ids=["left out", "timed out", "other content", "ok, content untold", "ok, other content", "a copy is ok"],
)
def test_an_entry_stays_until_something_speaks_against_it(records: Records, stays: bool) -> None:
    listed = update_blacklist(QualityBlacklist(), [batch({"a": good("a"), "b": bad("b")})])
    ids = "a" if "b" not in records else "ab"
    after = update_blacklist(listed, [batch(records, ids=ids)])
    assert (after.bad_ids == ["b"]) is stays
    assert (after.bad_content_sha256 == [sha("b")]) is stays


def test_content_that_is_ok_in_one_copy_is_not_bad_in_another() -> None:
    records = {"a": good("a", preset_sha256=sha("b")), "b": bad("b")}
    assert update_blacklist(QualityBlacklist(), [batch(records)]).aivj_entries == []


def test_a_preset_of_another_source_is_not_listed_by_its_path() -> None:
    batches = [batch({}, ids="a"), batch({"b": bad("b")}, ids="b", source_root="E:/more")]
    made = update_blacklist(QualityBlacklist(), batches)
    assert (made.source_root, made.bad_source_rel_paths, made.bad_ids) == ("D:/presets", [], ["b"])


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    (tmp_path / "source").mkdir()
    return DataRoot(tmp_path / "data")


def read(root: DataRoot, tmp_path: Path, **lists: QualityBlacklist) -> Blacklists:
    for pack, listed in lists.items():
        listed.save(root.quality_blacklist(pack))
    return Blacklists.read(root, open_source(tmp_path / "source", "auto"))


def test_content_counts_in_every_source_and_a_path_in_its_own(root: DataRoot, tmp_path: Path) -> None:
    source = str(tmp_path / "source")
    ours = update_blacklist(QualityBlacklist(), [batch({"b": bad("b")}, source_root=source)])
    here = QualityBlacklist(
        source_root=source, bad_source_rel_paths=["x.milk", "deep\\y.milk"],
        bad_reasons_by_rel_path={"x.milk": "ugly"},
    )  # fmt: skip
    elsewhere = QualityBlacklist(source_root="D:/presets", bad_source_rel_paths=["z.milk"])
    nowhere = QualityBlacklist(bad_source_rel_paths=["w.milk"])
    lists = read(root, tmp_path, one=ours, two=here, three=elsewhere, four=nowhere)
    assert lists.why(sha("b"), "other/name.milk") == "pack 'one': shader-compile-failed"
    # The file may have been mended since: what failed is known by its content.
    assert lists.why(sha("9"), "deep/b.milk") is None
    assert lists.why(sha("9"), "x.milk") == "pack 'two': ugly"
    assert lists.why(sha("9"), "deep/y.milk") == "pack 'two': no reason given"
    assert lists.why(sha("9"), "z.milk") is None
    assert lists.why(sha("9"), "w.milk") is None


def test_a_malformed_blacklist_is_one_line_with_the_way_out(root: DataRoot, tmp_path: Path) -> None:
    path = root.quality_blacklist("big")
    path.parent.mkdir(parents=True)
    for text in ("{", '{"badIds": 3}', "[]"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=r"quality-blacklist\.json is not.*--keep-blacklisted") as raised:
            read(root, tmp_path)
        assert "\n" not in str(raised.value)
