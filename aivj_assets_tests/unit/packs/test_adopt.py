"""What may be adopted, what is filled in, and the one line for each thing that is wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aivj_assets.contracts.adoption import is_undeclared
from aivj_assets.contracts.frames_index import FailedRecord, OkRecord
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.preset_file import PresetText, read_manifest_preset
from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot
from aivj_assets.packs.adopt import AdoptedFolder, look_through
from aivj_assets.packs.adopt_frames import FrameCopy, copy_frames
from aivj_assets_tests.adopt_builders import DIM, OldFolder, key_of, style_rows, write_old_folder
from aivj_assets_tests.builders import embeddings_meta, preset_entry, write_manifest


@pytest.fixture
def old(tmp_path: Path) -> OldFolder:
    return write_old_folder(DataRoot(tmp_path / "root"), "big", tmp_path / "tool")


def look(old: OldFolder, card: Path | None = None) -> AdoptedFolder:
    return look_through(old.root, key_of(old), old.path, card, lambda *_: None)


def problems(old: OldFolder, card: Path | None = None) -> list[str]:
    before = sorted(old.root.path.rglob("*"))
    with pytest.raises(UserError) as caught:
        look(old, card)
    assert sorted(old.root.path.rglob("*")) == before
    return str(caught.value).split("\n")


def test_a_whole_folder_needs_nothing_but_what_it_holds(old: OldFolder) -> None:
    found = look(old)
    assert sorted(set(found.numbers)) == [0, 7, 12]
    assert found.rows.meta.card == embeddings_meta(24, DIM).card
    assert np.array_equal(found.rows.vectors, old.rows)
    assert len(found.copies) == 72
    assert found.fingerprint == f"adopted-{found.source_sha256['frames-index.jsonl'][:16]}"
    assert found.notes == ["there is no frames.meta.json: rendering parameters and renderer are unknown"]
    # The same folder gives the same bytes on another day.
    assert look(old).index_bytes == found.index_bytes
    assert hashlib.sha256(found.index_bytes).hexdigest() == found.frames_meta.index_sha256


def test_lines_get_content_hashes_and_keep_what_is_unknown_here(old: OldFolder) -> None:
    lines = old.lines()
    lines[3] = {**lines[3], "operator": "somebody", "metrics": {**lines[3]["metrics"], "hue": 0.3}}
    old.write_lines([{**lines[0], "status": "failed", "reasons": ["watchdog"]}, *lines])
    found = look(old)
    record = found.records[old.ids[3]].to_json()
    assert (record["operator"], record["metrics"]["hue"]) == ("somebody", 0.3)
    preset = read_manifest_preset(old.root, preset_entry(old.ids[3], "big").rel_path)
    assert isinstance(preset, PresetText)
    assert record["presetSha256"] == preset.sha256
    # The last line of a preset counts.
    assert isinstance(found.records[old.ids[0]], OkRecord)
    assert {one.fingerprint for one in found.records.values()} == {found.fingerprint}


def test_a_preset_without_a_line_counts_as_failed(old: OldFolder) -> None:
    write_manifest(old.root, "big", [*old.ids, "big-left-out"])
    found = look(old)
    record = found.records["big-left-out"]
    assert isinstance(record, FailedRecord)
    assert record.reasons == ["not-adopted"]
    assert (found.frames_meta.total, found.frames_meta.ok, found.frames_meta.failed) == (25, 24, 1)
    assert any("1 presets of the manifest have no line" in note for note in found.notes)


@pytest.mark.parametrize("before", ["artifacts/aivj/big/", "C:\\vj\\artifacts\\big\\", "/srv/vj/"])
def test_paths_relative_to_another_base_are_rewritten(old: OldFolder, before: str) -> None:
    lines = old.lines()
    wanted = [line["frames"] for line in lines]
    separator = "\\" if "\\" in before else "/"
    old.write_lines(
        [{**line, "frames": [before + name.replace("/", separator) for name in line["frames"]]} for line in lines]
    )
    found = look(old)
    assert [record.to_json()["frames"] for record in found.records.values()] == wanted
    assert all(one.source.is_file() for one in found.copies)


def test_rows_of_another_length_are_normalised_and_told(old: OldFolder) -> None:
    rows = old.rows.astype(np.float64)
    rows[5] *= 3
    old.write_rows(rows)
    found = look(old)
    assert np.allclose(np.linalg.norm(found.rows.vectors, axis=1), 1, atol=1e-6)
    assert found.rows.vectors.dtype == np.float32
    assert "1 of 24 rows were not of unit length (up to 3): normalised" in found.notes


def test_one_fingerprint_that_all_lines_carry_is_kept(old: OldFolder) -> None:
    lines = old.lines()
    old.write_lines([{**line, "fingerprint": "0123456789abcdef"} for line in lines])
    assert look(old).fingerprint == "0123456789abcdef"
    old.write_lines([{**line, "fingerprint": "0123456789abcdef"} for line in lines[1:]] + lines[:1])
    assert look(old).fingerprint.startswith("adopted-")
    old.write_lines([{**line, "fingerprint": f"{number % 2}" * 16} for number, line in enumerate(lines)])
    assert "carries 2 fingerprints" in problems(old)[0]


def test_rows_of_an_unknown_model_get_a_card_that_is_no_models(old: OldFolder) -> None:
    old.place.embeddings_meta.unlink()
    found = look(old)
    card = found.rows.meta.card
    assert is_undeclared(card)
    assert "aivj adopt PACK --from FOLDER --embedder NAME" in card.name
    assert any("until it is named by --embedder or --card" in note for note in found.remarks)
    changed = old.rows
    changed[0] = changed[1]
    old.write_rows(changed)
    assert look(old).rows.meta.card != card


def test_a_card_may_be_named_by_a_file(old: OldFolder, tmp_path: Path) -> None:
    old.place.embeddings_meta.unlink()
    named = tmp_path / "card.json"
    named.write_text(json.dumps(embeddings_meta(3, DIM, weights_sha256="b" * 64).to_json()), encoding="utf-8")
    assert look(old, named).rows.meta.card.weights_sha256 == "b" * 64
    named.write_text(json.dumps(embeddings_meta(3, 5).to_json()), encoding="utf-8")
    assert f"{named} says 5 dimensions" in problems(old, named)[0]
    named.write_text("{}", encoding="utf-8")
    assert f"--card {named} holds no model card" in problems(old, named)[0]
    assert "there is no such file" in problems(old, tmp_path / "none.json")[0]
    old.write_card()
    named.write_text(json.dumps(embeddings_meta(3, DIM, weights_sha256="b" * 64).to_json()), encoding="utf-8")
    (line,) = problems(old, named)
    assert "weights 00000000" in line
    assert "weights bbbbbbbb" in line


def test_a_preset_with_a_reason_needs_no_row(old: OldFolder) -> None:
    gone, kept = old.ids[0], old.ids[1:]
    old.write_rows(style_rows(24)[1:], kept)
    old.write_clusters({name: old.assignments[name] for name in kept})
    assert "lacks 1 ok presets of frames-index.jsonl: embed them, or tell in leftOut" in problems(old)[0]
    old.write_card(left_out={gone: "frame-001.webp: missing on disk"})
    found = look(old)
    assert found.rows.meta.left_out == {gone: "frame-001.webp: missing on disk"}
    assert found.rows.meta.count == 23


def test_the_tools_own_clusters_file_may_say_more(old: OldFolder) -> None:
    sizes = {"c00": 8, "c07": 8, "c12": 8, "c20": 0}
    old.write_clusters(k=4, seed=9, clusters=[{"id": name, "size": size} for name, size in sizes.items()])
    np.save(old.place.centroids, np.concatenate([np.eye(3, DIM), np.eye(1, DIM, 5)]).astype(np.float32))
    found = look(old)
    assert found.clusters.seed == 9
    assert "1 clusters have no preset and are retired ('c20')" in found.notes
    assert not any("centroids" in note for note in found.notes)
    np.save(old.place.centroids, np.eye(4, DIM)[::-1].astype(np.float32))
    assert any("centroids.npy: that of c" in note for note in look(old).notes)


def _with_line(**more: object) -> Callable[[OldFolder], None]:
    return lambda old: old.write_lines([{**old.lines()[0], **more}, *old.lines()[1:]])


def _bad_row(value: float) -> Callable[[OldFolder], None]:
    def change(old: OldFolder) -> None:
        rows = old.rows
        rows[2] = value
        old.write_rows(rows)

    return change


WRONG: dict[str, tuple[Callable[[OldFolder], object], str]] = {
    "no folder": (lambda old: old.path.rename(old.path.with_name("gone")), "there is no such folder"),
    "no clusters": (lambda old: old.place.clusters.unlink(), "lacks clusters.v0.json: name the folder that holds"),
    "no ids": (lambda old: old.place.embedding_ids.unlink(), "lacks ids.txt"),
    "no JSON line": (
        lambda old: old.place.frames_index.write_text("{}\n", encoding="utf-8"),
        "frames-index.jsonl line 1 is not as agreed",
    ),
    "nothing ok": (
        lambda old: old.write_lines([{**one, "status": "failed", "reasons": ["empty"]} for one in old.lines()]),
        "holds no ok preset",
    ),
    "luma": (_with_line(metrics={"avgLuma": 7, "motion": 0}), "line 1 is not as agreed: ok.metrics.avgLuma"),
    "foreign preset": (
        lambda old: old.write_lines([*old.lines(), {**old.lines()[0], "presetId": "other"}]), "names 1 presets that",
    ),
    "other content": (_with_line(presetSha256="f" * 64), "presetSha256 differs"),
    "frame missing": (lambda old: old.frame(1, 2).unlink(), "frame-002.webp is missing"),
    "frame cut off": (lambda old: old.frame(4).write_bytes(old.frame(4).read_bytes()[:-9]), "000.webp is cut off"),
    "frame is text": (lambda old: old.frame(4).write_text("a picture of a tunnel"), "is no WebP, PNG or JPEG"),
    "id twice": (
        lambda old: old.write_rows(ids=[old.ids[1], *old.ids[1:]]), "has 1 ids more than once",
    ),
    "fewer ids": (lambda old: old.write_rows(style_rows(25)), "has 25 rows, "),
    "foreign row": (lambda old: old.write_rows(ids=["other", *old.ids[1:]]), "1 ids that are no ok presets"),
    "NaN": (_bad_row(float("nan")), "the rows of 1 presets are zero or not finite ('big-p002')"),
    "zero": (_bad_row(0.0), "the rows of 1 presets are zero or not finite ('big-p002')"),
    "not an array": (lambda old: old.place.embeddings.write_bytes(b"rows"), "cannot be read as an array"),
    "pickled": (lambda old: np.save(old.place.embeddings, np.array([{}] * 24)), "cannot be read as an array"),
    "one dimension": (lambda old: np.save(old.place.embeddings, np.ones(24)), "is no array of floats"),
    "card of others": (
        lambda old: old.place.embeddings_meta.write_text(json.dumps(embeddings_meta(24, 99).to_json())),
        "says 99 dimensions",
    ),
    "card torn": (lambda old: old.place.embeddings_meta.write_text("{"), "embeddings.meta.json is not JSON"),
    "illegal id": (lambda old: old.write_clusters({**old.assignments, old.ids[0]: "style-3"}), "'style-3' cannot be"),
    "padded id": (lambda old: old.write_clusters({**old.assignments, old.ids[0]: "c007"}), "'c007' cannot be"),
    "not clustered": (
        lambda old: old.write_clusters(dict.fromkeys(old.ids[1:], "c01")), "no cluster for 1 embedded presets",
    ),
    "clustered too much": (
        lambda old: old.write_clusters({**old.assignments, "other": "c01"}), "1 presets that have no row",
    ),
    "undeclared id": (
        lambda old: old.write_clusters(clusters=[{"id": "c00"}, {"id": "c07"}]), "1 ids in its assignments",
    ),
    "wrong size": (
        lambda old: old.write_clusters(clusters=[{"id": "c00", "size": 9}, {"id": "c07"}, {"id": "c12"}]),
        "1 clusters whose size is not that of the assignments ('c00')",
    ),
    "other embeddings": (lambda old: old.write_clusters(embeddingsSha256="0" * 64), "embeddingsSha256 differs"),
    "clusters torn": (lambda old: old.place.clusters.write_text("{"), "clusters.v0.json is not JSON"),
    "centroids": (lambda old: np.save(old.place.centroids, np.eye(5)), "it may be left away"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_one_line_and_nothing_is_written(old: OldFolder, name: str) -> None:
    change, told = WRONG[name]
    change(old)
    (line,) = problems(old)
    assert told in line
    assert line.endswith((".", "c07."))


def test_several_problems_are_told_together(old: OldFolder) -> None:
    old.frame(1).unlink()
    _bad_row(0.0)(old)
    lines = problems(old)
    assert len(lines) == 2
    assert "embeddings.npy" in lines[0]
    assert "frames-index.jsonl" in lines[1]


def test_a_torn_last_line_does_not_count(old: OldFolder) -> None:
    text = old.place.frames_index.read_text(encoding="utf-8")
    old.place.frames_index.write_text(text.rstrip("\n"), encoding="utf-8")
    assert len(look(old).copies) == 72
    old.place.frames_index.write_text(text + '{"version":"v0","presetI', encoding="utf-8")
    assert "the last line of frames-index.jsonl is torn and does not count" in look(old).notes


def test_copies_are_whole_and_not_made_twice(old: OldFolder, tmp_path: Path) -> None:
    copies = look(old).copies
    told: list[tuple[int, int]] = []
    assert copy_frames(copies, tmp_path / "into", lambda done, total: told.append((done, total))) == 72
    assert told[-1] == (72, 72)
    assert all((tmp_path / "into" / one.target).read_bytes() == one.source.read_bytes() for one in copies)
    (tmp_path / "into" / copies[7].target).write_bytes(b"")
    assert copy_frames(copies, tmp_path / "into", None) == 1
    with pytest.raises(UserError, match=r"nowhere\.webp cannot be read"):
        copy_frames([FrameCopy("x", "x", tmp_path / "nowhere.webp", "frames/x.webp")], tmp_path / "into", None)


def test_the_manifest_is_the_packs(old: OldFolder) -> None:
    assert [preset.id for preset in look(old).manifest.presets] == old.ids
    assert isinstance(look(old).manifest, Manifest)
