"""Splitting a pack: what lies on disk after it, after it again, after growth, and after a kill at every step."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from aivj_assets.contracts.manifest import Manifest
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot, sha256_file
from aivj_assets.packs import split
from aivj_assets.packs.importer import import_pack
from aivj_assets.packs.split import split_pack
from aivj_assets.packs.validate import validate_batch

ODD_IDS = ["ünï 日本 🎆", "a (b) | c", "quote\"'\\", "100% #?&=", "../x", "C:\\x", " lead", "x" * 900]


class KilledError(BaseException):
    """Stands for kill -9: nothing that follows in the command runs."""


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    return DataRoot(tmp_path)


def entry(preset_id: str, number: int) -> dict[str, Any]:
    rel_path = f"big/files/{number}.json"
    return {
        "id": preset_id,
        "label": f"Author - {preset_id}",
        "relPath": rel_path,
        "url": f"/presets/{rel_path}",
        "pack": "big",
        "fileName": f"{number}.json",
        "fileSize": number,
        "bandClass": None,
        "meta": {"bpm": 1.0, "none": None, "deep": {"list": [1, None]}},
        "ofAnotherTool": {"a": None},
    }


def write_root(root: DataRoot, ids: list[str], **more: Any) -> dict[str, Any]:
    """Write the pack's root manifest as another tool would, with fields that are not ours."""
    data = {
        "version": "v2",
        "generatedAt": "2026-01-31T12:00:00.000Z",
        "sourceRoot": "D:/presets",
        "totalFilesScanned": len(ids) + 5,
        "totalPresetsIncluded": len(ids),
        "toolVersion": None,
        "presets": [entry(preset_id, number) for number, preset_id in enumerate(ids)],
    } | more
    path = root.manifest(BatchKey("big"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
    return data


def names(count: int) -> list[str]:
    return [f"p{number:03d}" for number in range(count)]


def on_disk(root: DataRoot) -> dict[str, bytes]:
    """All that lies beside the root manifest, the lock aside."""
    folder = root.pack_dir("big")
    files = (path for path in folder.rglob("*") if path.is_file())
    keep = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    return {name: data for name, data in keep.items() if name not in ("library-manifest.json", ".import.lock")}


def batch(root: DataRoot, number: int) -> dict[str, Any]:
    path = root.manifest(BatchKey("big", f"batch-{number:04d}"))
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def keys(root: DataRoot) -> list[str]:
    return [found.key for found in root.find_batches()]


def make_artifact(root: DataRoot, key: str, name: str = "presets-report.json") -> None:
    folder = root.batch(BatchKey.parse(key)).path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("{}", encoding="utf-8")


def test_the_parts_hold_what_the_whole_held(root: DataRoot) -> None:
    ids = [*names(20), *ODD_IDS]
    whole = write_root(root, ids)
    result = split_pack(root, "big", batch_size=10, seed=3)
    assert keys(root) == ["big/batch-0001", "big/batch-0002", "big/batch-0003"]
    assert list(result.sizes.values()) == [10, 9, 9]
    parts = [batch(root, number) for number in (1, 2, 3)]
    listed = {preset["id"]: preset for part in parts for preset in part["presets"]}
    assert listed == {preset["id"]: preset for preset in whole["presets"]}
    for number, part in enumerate(parts, start=1):
        # Counts are the part's, all else is the whole's, null or not.
        assert part["totalPresetsIncluded"] == part["totalFilesScanned"] == len(part["presets"])
        own = {"presets", "totalPresetsIncluded", "totalFilesScanned", "aivjSplit"}
        assert {k: v for k, v in part.items() if k not in own} == {k: v for k, v in whole.items() if k not in own}
        assert part["aivjSplit"] == {
            "rootManifestSha256": sha256_file(root.manifest(BatchKey("big"))),
            "order": "shuffled",
            "seed": 3,
            "batchSize": 10,
            "batch": number,
            "batches": 3,
            "presets": len(part["presets"]),
        }
        manifest, report = validate_batch(root, BatchKey("big", f"batch-{number:04d}"))
        assert report.total == len(manifest.presets)


def test_the_same_call_again_changes_no_byte_and_touches_no_file(root: DataRoot) -> None:
    write_root(root, names(25))
    split_pack(root, "big", batch_size=10)
    before = on_disk(root)
    for path in root.batches_dir("big").rglob("*"):
        os.utime(path, (1, 1))
    again = split_pack(root, "big", batch_size=10)
    assert again.made == []
    # What is not given is as it was.
    assert split_pack(root, "big").made == split_pack(root, "big", seed=1).made == []
    assert on_disk(root) == before
    assert all(path.stat().st_mtime == 1 for path in root.batches_dir("big").rglob("*"))


def test_a_split_that_was_lost_is_made_again_to_the_byte(root: DataRoot) -> None:
    write_root(root, names(25))
    split_pack(root, "big", batch_size=10)
    before = on_disk(root)
    root.batches_dir("big").rename(root.path / "elsewhere")
    split_pack(root, "big", batch_size=10)
    assert on_disk(root) == before


def test_a_batch_size_beyond_the_pack_is_one_batch(root: DataRoot) -> None:
    write_root(root, names(3))
    split_pack(root, "big", batch_size=10_000, in_order=True)
    assert keys(root) == ["big/batch-0001"]
    assert batch(root, 1)["aivjSplit"]["order"] == "in-order"
    assert "seed" not in batch(root, 1)["aivjSplit"]


def test_another_split_takes_the_place_of_one_that_nothing_was_made_of(root: DataRoot) -> None:
    write_root(root, names(25))
    split_pack(root, "big", batch_size=5)
    root.batch(BatchKey("big", "batch-0001")).path.mkdir(parents=True)  # empty: nothing was made
    assert split_pack(root, "big", batch_size=20).replaced
    assert keys(root) == ["big/batch-0001", "big/batch-0002"]
    assert len(on_disk(root)) == 2
    for number in (1, 2):
        assert batch(root, number)["aivjSplit"]["batchSize"] == 20


@pytest.mark.parametrize(
    "options", [{"batch_size": 9}, {"seed": 2}, {"in_order": True}, {"batch_size": 9, "force": True}]
)
def test_another_split_is_refused_once_a_batch_has_artifacts(root: DataRoot, options: dict[str, Any]) -> None:
    write_root(root, names(25))
    split_pack(root, "big", batch_size=10)
    make_artifact(root, "big/batch-0002")
    before = on_disk(root)
    with pytest.raises(UserError, match=r"batch-0002: with --batch-size 10 --seed 1 new presets get batches") as raised:
        split_pack(root, "big", **options)
    assert "\n" not in str(raised.value)
    assert on_disk(root) == before
    assert split_pack(root, "big", batch_size=10).made == []


def test_a_pack_that_grew_gets_further_batches_and_keeps_the_old_ones(root: DataRoot) -> None:
    write_root(root, names(25))
    split_pack(root, "big", batch_size=10)
    make_artifact(root, "big/batch-0001")
    before = on_disk(root)
    grown = names(40)
    write_root(root, [*grown[30:], *grown[2:30]], generatedAt="2026-03-01T12:00:00.000Z")
    result = split_pack(root, "big")
    assert [made.key for made in result.made] == ["big/batch-0004", "big/batch-0005"]
    after = on_disk(root)
    assert {name: after[name] for name in before} == before
    new = [batch(root, number) for number in (4, 5)]
    assert sorted(preset["id"] for part in new for preset in part["presets"]) == grown[25:]
    assert [(part["aivjSplit"]["batch"], part["aivjSplit"]["batches"]) for part in new] == [(4, 5), (5, 5)]
    # Presets that left the whole are told, and so are those of which it says other things (here the file).
    assert sorted(result.vanished) == ["p000", "p001"]
    assert "p002" in result.changed
    assert split_pack(root, "big").made == []
    assert on_disk(root) == after


def test_numbers_do_not_come_back(root: DataRoot) -> None:
    write_root(root, names(20))
    split_pack(root, "big", batch_size=10)
    make_artifact(root, "big/batch-0002")
    for path in (root.manifest(BatchKey("big", "batch-0002")), root.manifest(BatchKey("big", "batch-0002")).parent):
        path.unlink() if path.is_file() else path.rmdir()
    make_artifact(root, "big/batch-0007")
    result = split_pack(root, "big")
    # Artifacts of batches whose manifest is gone are never another batch's.
    assert [made.key for made in result.made] == ["big/batch-0008"]
    assert keys(root) == ["big/batch-0001", "big/batch-0008"]


def test_presets_that_a_person_took_out_of_a_batch_are_told(root: DataRoot) -> None:
    write_root(root, names(20))
    split_pack(root, "big", batch_size=10)
    path = root.manifest(BatchKey("big", "batch-0001"))
    data = json.loads(path.read_text(encoding="utf-8"))
    out = data["presets"].pop()
    path.write_text(json.dumps(data), encoding="utf-8")
    result = split_pack(root, "big")
    assert result.taken_out == {BatchKey("big", "batch-0001"): 1}
    assert [preset["id"] for preset in batch(root, 3)["presets"]] == [out["id"]]
    # Taken out of the whole too it stays out.
    write_root(root, names(20))
    whole = json.loads(root.manifest(BatchKey("big")).read_text(encoding="utf-8"))
    kept = [preset["id"] for preset in whole["presets"] if preset["id"] != out["id"]]
    write_root(root, kept)
    assert split_pack(root, "big").made == []


def test_a_pack_that_ran_as_one_batch_is_split_only_on_request(root: DataRoot) -> None:
    write_root(root, names(20))
    make_artifact(root, "big", "profile.json")  # lies there for split packs too
    make_artifact(root, "big", "frames-index.jsonl")
    with pytest.raises(
        UserError, match=r"has run as one batch: .* all 20 presets are rendered again.*--force"
    ) as raised:
        split_pack(root, "big", batch_size=10)
    assert "\n" not in str(raised.value)
    assert keys(root) == ["big"]
    split_pack(root, "big", batch_size=10, force=True)
    assert keys(root) == ["big/batch-0001", "big/batch-0002"]
    assert root.batch(BatchKey("big")).frames_index.exists()


def test_a_preset_file_of_the_whole_is_that_of_its_batch(root: DataRoot, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(6):
        (source / f"a{number}.milk").write_text(f"[preset00]\nfDecay=0.9{number}\n", encoding="utf-8")
    import_pack(root, source, "big")
    split_pack(root, "big", batch_size=3)
    (source / "a0.milk").unlink()
    (source / "new.milk").write_text("[preset00]\nfDecay=0.5\n", encoding="utf-8")
    # The same import again adds to a split pack; what left the source stays for the batch that has it.
    import_pack(root, source, "big")
    result = split_pack(root, "big")
    assert (len(result.made), len(result.vanished)) == (1, 1)
    for key in root.find_batches():
        _, report = validate_batch(root, key)
        assert report.refusals == []
    with pytest.raises(UserError, match="is split into batches"):
        import_pack(root, source, "big", replace=True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batch_size": 0}, "--batch-size 0 leaves no preset"),
        ({"batch_size": -5}, "--batch-size -5 leaves no preset"),
        ({"seed": -1}, "--seed -1: use 0 or more"),
        ({"seed": 1, "in_order": True}, "give one of the two"),
    ],
)
def test_options_that_cannot_be(root: DataRoot, options: dict[str, Any], says: str) -> None:
    write_root(root, names(5))
    with pytest.raises(UserError, match=says):
        split_pack(root, "big", **options)
    assert keys(root) == ["big"]


def test_more_batches_than_names_sort_for_are_refused(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "MAX_BATCHES", 4)
    write_root(root, names(20))
    with pytest.raises(UserError, match="makes 20 batches; with at most 4 it is 5 or more"):
        split_pack(root, "big", batch_size=1)
    assert on_disk(root) == {}
    split_pack(root, "big", batch_size=5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not JSON"),
        ('{"version": "v9"}', "is not as agreed: version"),
        ('{"version": "v0", "presets": 3}', "is not as agreed"),
    ],
)
def test_a_malformed_manifest_is_one_line(root: DataRoot, text: str, says: str) -> None:
    path = root.manifest(BatchKey("big"))
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=says) as raised:
        split_pack(root, "big")
    assert "\n" not in str(raised.value)
    assert not root.is_split("big")


def test_packs_that_there_is_nothing_to_split_of(root: DataRoot) -> None:
    with pytest.raises(UserError, match=r"there is no pack 'big' to split \(known: none yet\)"):
        split_pack(root, "big")
    assert not root.pack_dir("big").exists()
    write_root(root, [])
    with pytest.raises(UserError, match="names no preset"):
        split_pack(root, "big")
    by_hand = Manifest.model_validate(write_root(root, names(2)))
    root.manifest(BatchKey("big")).unlink()
    by_hand.save(root.manifest(BatchKey("big", "batch-0001")))
    with pytest.raises(UserError, match="consists of batches already"):
        split_pack(root, "big")


def test_batches_and_files_of_a_person_are_left_alone(root: DataRoot) -> None:
    by_hand = Manifest.model_validate(write_root(root, names(2)))
    by_hand.save(root.manifest(BatchKey("big", "batch-0001")))
    with pytest.raises(UserError, match=r"was not made by aivj pack split \(.*has no aivjSplit\)"):
        split_pack(root, "big")
    root.manifest(BatchKey("big", "batch-0001")).unlink()
    # A folder without a file is no split.
    split_pack(root, "big", batch_size=1)
    note = root.batches_dir("big") / "batch-0001" / "notes.txt"
    note.write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match=r"notes\.txt was not made by aivj pack split; move it away"):
        split_pack(root, "big", batch_size=2)
    assert note.exists()


def test_a_batch_added_by_hand_counts_and_stays(root: DataRoot) -> None:
    write_root(root, names(4))
    split_pack(root, "big", batch_size=2)
    by_hand = Manifest.model_validate(write_root(root, ["own"]))
    by_hand.save(root.manifest(BatchKey("big", "batch-0009")))
    write_root(root, [*names(4), "own", "new"])
    result = split_pack(root, "big")
    assert [made.key for made in result.made] == ["big/batch-0010"]
    assert [preset["id"] for preset in batch(root, 10)["presets"]] == ["new"]


def test_batches_of_two_splits_are_refused(root: DataRoot) -> None:
    write_root(root, names(4))
    split_pack(root, "big", batch_size=2)
    path = root.manifest(BatchKey("big", "batch-0002"))
    path.write_text(path.read_text(encoding="utf-8").replace('"seed": 1', '"seed": 2'), encoding="utf-8")
    with pytest.raises(UserError, match="holds batches of several splits"):
        split_pack(root, "big")


def test_an_import_and_a_split_do_not_mix(root: DataRoot) -> None:
    write_root(root, names(4))
    with FileLock(root.import_lock("big")), pytest.raises(UserError, match="Another import or split of the pack 'big'"):
        split_pack(root, "big")


def killing(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Let the call die before its `at`-th step on disk: a manifest written, a folder renamed or removed."""
    left = [at]

    def step(function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **more: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise KilledError
            return function(*arguments, **more)

        return counted

    monkeypatch.setattr(split, "replace_file", step(split.replace_file))
    monkeypatch.setattr(Manifest, "save", step(Manifest.save))
    monkeypatch.setattr(split.shutil, "rmtree", step(split.shutil.rmtree))


def manifests(root: DataRoot) -> dict[str, bytes]:
    """What the sensor sees of the pack."""
    return {key: root.manifest(BatchKey.parse(key)).read_bytes() for key in keys(root)}


@pytest.mark.parametrize("what", ["first", "replaced", "grown"])
def test_killed_at_any_step_it_leaves_no_mixture_and_the_next_call_mends(
    root: DataRoot, tmp_path: Path, what: str
) -> None:
    def start(place: DataRoot) -> dict[str, Any]:
        write_root(place, names(9))
        if what != "first":
            split_pack(place, "big", batch_size=3)
        if what == "grown":
            write_root(place, names(18))
            return {"batch_size": 3}
        return {"batch_size": 4}

    whole = DataRoot(tmp_path / "whole")
    options = start(whole)
    old = manifests(whole)
    split_pack(whole, "big", **options)
    new = manifests(whole)
    assert old != new
    killed = 0
    for at in range(20):
        place = DataRoot(tmp_path / f"at{at}")
        start(place)
        with pytest.MonkeyPatch.context() as patched:
            killing(patched, at)
            try:
                split_pack(place, "big", **options)
            except KilledError:
                killed += 1
            else:
                break
        seen = manifests(place)
        if what == "grown":
            assert old.items() <= seen.items() <= new.items()
        else:
            assert seen in (old, new, {})
            assert seen or what == "replaced"
        if what == "replaced":
            # Not even for a moment is the whole a batch again, and a call without options finds a split as it was.
            assert place.is_split("big")
            shutil.copytree(place.path, tmp_path / f"copy{at}")
            copy = DataRoot(tmp_path / f"copy{at}")
            split_pack(copy, "big")
            assert manifests(copy) in (old, new)
        split_pack(place, "big", **options)
        assert manifests(place) == new
        assert on_disk(place).keys() == on_disk(whole).keys()
    assert killed >= 4
