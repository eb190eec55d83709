from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from aivj_assets.contracts.clusters import Cluster, Clusters
from aivj_assets.contracts.embeddings import Embeddings
from aivj_assets.contracts.frames_index import FailedRecord, OkRecord
from aivj_assets.contracts.qa_duplicates import DUPLICATES_NAME, DuplicateCounts, QaDuplicates
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir, BatchKey
from aivj_assets.qa.duplicate_checks import check_duplicates
from aivj_assets.qa.duplicates import OtherBatch, duplicate_thresholds, find_duplicates
from aivj_assets.qa.picture_hash import read_capture
from aivj_assets_tests.builders import embeddings_meta, failed_record, ok_record
from aivj_assets_tests.picture_builders import cropped, drawn, scaled, stored, tinted

Captures = Sequence[Image.Image]


@cache
def moments(seed: int) -> Captures:
    """Three captures of one preset."""
    return [drawn(seed, side=96, phase=phase) for phase in (0, 1.5, 3)]


def each(change: Any, captures: Captures, *arguments: Any) -> Captures:
    return [change(image, *arguments) for image in captures]


class Batch:
    """Presets on disk: each with captures, a direction of its embedding in degrees, and a cluster."""

    def __init__(self, path: Path) -> None:
        self.folder = BatchDir(path)
        self.records: dict[str, OkRecord | FailedRecord] = {}
        self.degrees: dict[str, float] = {}
        self.clusters: dict[str, str] = {}

    def add(
        self, name: str, captures: Captures, degrees: float, *, cluster: str = "c00", quality: int = 92, **metrics: Any
    ) -> None:
        record = ok_record(name, "big", captures=len(captures))
        record = record.model_copy(update={"metrics": record.metrics.model_copy(update={"flags": [], **metrics})})
        for image, frame in zip(captures, record.frames, strict=True):
            stored(image, self.folder.path / frame, quality)
        self.records[name], self.degrees[name], self.clusters[name] = record, degrees, cluster

    @property
    def embeddings(self) -> Embeddings:
        turned = np.radians(list(self.degrees.values()))
        rows = np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32)
        return Embeddings(rows, list(self.degrees), embeddings_meta(len(rows), 2))

    def find(self, **more: Any) -> QaDuplicates:
        names = sorted(set(self.clusters.values()))
        sizes = {name: list(self.clusters.values()).count(name) for name in names}
        clusters = Clusters(
            k=len(names), seed=1, strategy="lineage", previous=None, assignments=self.clusters,
            clusters=[
                Cluster(id=name, size=sizes[name], centroid=row, born_in="big", label=name)
                for row, name in enumerate(names)
            ],
        )  # fmt: skip
        given = {"records": self.records, "manifest_ids": list(self.records), **more}
        return find_duplicates(self.folder, BatchKey("big", "batch-0001"), clusters, self.embeddings, **given)


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    return Batch(tmp_path / "batch-0001")


def groups(found: QaDuplicates) -> dict[str, set[str]]:
    """{the one to keep: the others}."""
    return {group.keep: {one.preset_id for one in group.presets} - {group.keep} for group in found.groups}


def test_re_saved_presets_are_one_group_and_others_of_the_author_are_not_in_it(batch: Batch) -> None:
    batch.add("original", moments(1), 0)
    batch.add("re-encoded", moments(1), 1, quality=70)
    batch.add("scaled", each(scaled, moments(1), 80), 2)
    batch.add("cropped", each(cropped, moments(1), 1), 3)
    batch.add("tinted", each(tinted, moments(1), 1, 0.9, 0.8), 4)
    batch.add("mirrored", each(ImageOps.mirror, moments(1)), 1)
    batch.add("sibling", moments(2), 1)
    batch.add("same-picture-other-look", moments(1)[::-1], 30)
    found = batch.find()
    assert [sorted({keep} | others) for keep, others in groups(found).items()] == [
        ["cropped", "original", "re-encoded", "scaled", "tinted"]
    ]
    assert found.counts == DuplicateCounts(presets=8, unique=4, exact_duplicates=0, near_duplicates=4, misfits=0)
    for one in found.groups[0].presets[1:]:
        assert 0.98 <= one.cosine <= 1
        assert one.hash_distance <= found.thresholds.max_hash_distance
        assert not one.exact


def test_a_cosine_alone_and_a_hash_alone_are_not_enough(batch: Batch) -> None:
    batch.add("a", moments(1), 0)
    batch.add("same-hash", [*moments(1)[:2], drawn(7, side=96)], 20)
    batch.add("same-cosine", moments(5), 1)
    assert batch.find().groups == []
    assert groups(batch.find(thresholds=duplicate_thresholds(min_cosine=0.9)))
    assert groups(batch.find(thresholds=duplicate_thresholds(max_hash_distance=64)))


def test_only_presets_of_one_cluster_are_compared_but_copies_of_the_same_bytes_are_found_anywhere(batch: Batch) -> None:
    batch.add("a", moments(1), 0, cluster="c00")
    batch.add("b", each(scaled, moments(1), 90), 0, cluster="c01")
    batch.add("copy", moments(1), 90, cluster="c01")
    found = batch.find()
    assert groups(found) == {"a": {"copy"}}
    assert [(one.preset_id, one.exact, one.hash_distance, one.cosine) for one in found.groups[0].presets] == [
        ("a", False, 0, 1.0), ("copy", True, 0, 1.0),
    ]  # fmt: skip
    assert found.counts == DuplicateCounts(presets=3, unique=2, exact_duplicates=1, near_duplicates=0, misfits=0)


def test_no_chain_every_member_is_near_the_one_to_keep(batch: Batch) -> None:
    """Each is within the cosine of the next one; the first and the last have nothing in common."""
    for number in range(8):
        batch.add(f"p{number}", moments(1), number * 8, quality=92 - number)
    found = batch.find()
    assert all(one.cosine >= 0.98 for group in found.groups for one in group.presets)
    assert len(found.groups) >= 3
    members = [one.preset_id for group in found.groups for one in group.presets]
    assert len(members) == len(set(members))


def test_the_one_to_keep_has_the_most_detail_unless_a_person_kept_another_before(batch: Batch) -> None:
    batch.add("coarse", moments(1), 0, quality=40)
    batch.add("fine", moments(1), 1, quality=95)
    batch.add("copy-of-fine", moments(1), 1, quality=95)
    found = batch.find()
    assert (found.groups[0].keep, found.groups[0].reason) == ("fine", "first in the manifest")
    assert [one.preset_id for one in found.groups[0].presets] == ["fine", "copy-of-fine", "coarse"]
    del batch.records["copy-of-fine"], batch.degrees["copy-of-fine"], batch.clusters["copy-of-fine"]
    found = batch.find()
    assert (found.groups[0].keep, found.groups[0].reason) == ("fine", "most detail")
    found = batch.find(kept=["coarse", "elsewhere"])
    assert (found.groups[0].keep, found.groups[0].reason) == ("coarse", "kept before")


def test_what_a_person_dropped_is_not_asked_for_again(batch: Batch) -> None:
    batch.add("a", moments(1), 0)
    batch.add("b", moments(1), 1, quality=80)
    batch.add("black", [Image.new("RGB", (96, 96))] * 3, 90, flags=["black", "flat"])
    found = batch.find(dropped=["b", "black"])
    assert (found.groups, found.misfits, found.counts.presets, found.counts.unique) == ([], [], 1, 1)


def test_black_and_flat_presets_are_misfits_and_nobodys_duplicates(batch: Batch) -> None:
    black, gray = [Image.new("RGB", (96, 96), (level,) * 3) for level in (1, 120)]
    batch.add("shown", moments(1), 0)
    batch.add("black-1", [black] * 3, 0, flags=["black", "flat", "static"], avg_luma=0.004)
    batch.add("black-2", [black] * 3, 0, flags=["black", "flat"], avg_luma=0.004)
    batch.add("flat", [gray] * 3, 0, flags=["flat"], avg_luma=0.47)
    batch.add("still", moments(3), 50, flags=["static"])
    found = batch.find()
    assert [(one.preset_id, one.flags, one.cluster) for one in found.misfits] == [
        ("black-1", ["black", "flat"], "c00"), ("black-2", ["black", "flat"], "c00"), ("flat", ["flat"], "c00"),
    ]  # fmt: skip
    assert found.groups == []
    assert found.counts == DuplicateCounts(presets=5, unique=2, exact_duplicates=0, near_duplicates=0, misfits=3)


def test_frames_of_another_tool_are_measured_and_one_capture_that_shows_something_is_enough(batch: Batch) -> None:
    black = Image.new("RGB", (96, 96))
    batch.add("black", [black, black, black], 0, flags=None)
    batch.add("late", [black, black, drawn(1, side=96)], 0, flags=None)
    batch.add("shown", moments(2), 0, flags=None)
    batch.add("broken", [black, black, black], 0, flags=None)
    (batch.folder.path / batch.records["broken"].frames[2]).write_bytes(b"RIFF")  # type: ignore[union-attr]
    assert [(one.preset_id, one.flags) for one in batch.find().misfits] == [("black", ["black", "flat"])]


def test_a_missing_frame_is_near_nothing_and_a_preset_without_record_or_row_is_an_error(batch: Batch) -> None:
    batch.add("a", moments(1), 0)
    batch.add("b", moments(1), 0, quality=80)
    for frame in batch.records["b"].frames:  # type: ignore[union-attr]
        (batch.folder.path / frame).unlink()
    assert batch.find().counts.unique == 2
    batch.records["b"] = failed_record("b", "big")
    with pytest.raises(UserError, match="'b' has no frames"):
        batch.find()
    del batch.degrees["b"]
    batch.records["b"] = ok_record("b", "big")
    with pytest.raises(UserError, match="'b' has no embedding"):
        batch.find()


def test_captures_are_read_only_of_presets_whose_embeddings_are_near(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        batch.add(f"p{number}", moments(number), number * 15)
    batch.add("again", moments(3), 3 * 15 + 1, quality=80)
    asked: list[Path] = []

    def read(path: Path) -> Any:
        asked.append(path)
        return read_capture(path)

    monkeypatch.setattr("aivj_assets.qa.picture_hash.read_capture", read)
    assert groups(batch.find()) == {"p3": {"again"}}
    assert len(asked) == 6


def other_batch(there: Batch) -> OtherBatch:
    rows = there.embeddings.vectors
    return OtherBatch(
        key="big/batch-0002",
        folder=there.folder,
        preset_ids=list(there.degrees),
        clusters=list(there.clusters.values()),
        rows=lambda places: rows[places],
        records=lambda: there.records,
    )


def test_presets_of_another_batch_are_told_with_the_nearest_one_there(batch: Batch, tmp_path: Path) -> None:
    batch.add("a", moments(1), 0)
    batch.add("a-copy", moments(1), 0)
    batch.add("b", moments(2), 40)
    there = Batch(tmp_path / "batch-0002")
    there.add("far", moments(8), 1)
    there.add("near", moments(1), 8, quality=70)
    there.add("nearer", moments(1), 2, quality=80)
    there.add("other-cluster", moments(2), 40, cluster="c05")
    found = batch.find(others=[other_batch(there)]).elsewhere
    assert [(one.preset_id, one.batch, one.other_preset_id, one.cluster) for one in found] == [
        ("a", "big/batch-0002", "nearer", "c00")
    ]
    assert (there.folder.path / found[0].other_frame).is_file()


def test_an_other_batch_that_is_near_nothing_is_not_even_read(batch: Batch, tmp_path: Path) -> None:
    batch.add("a", moments(1), 0)
    there = Batch(tmp_path / "batch-0002")
    there.add("far", moments(1), 80)

    def unread() -> Mapping[str, OkRecord | FailedRecord]:
        raise AssertionError("the index was read")

    other = other_batch(there)
    assert batch.find(others=[OtherBatch(**{**vars(other), "records": unread})]).elsewhere == []


def test_the_file_says_the_same_again_and_reads_back(batch: Batch, tmp_path: Path) -> None:
    batch.add("a", moments(1), 0)
    batch.add("b", moments(1), 1, quality=80)
    found = batch.find()
    found.save(tmp_path / DUPLICATES_NAME)
    assert QaDuplicates.load(tmp_path / DUPLICATES_NAME) == found
    assert not batch.find().save_if_changed(tmp_path / DUPLICATES_NAME)


@pytest.mark.parametrize(
    ("counts", "passed"),
    [
        (DuplicateCounts(presets=100, unique=85, exact_duplicates=4, near_duplicates=6, misfits=5), [True, True]),
        (DuplicateCounts(presets=100, unique=84, exact_duplicates=5, near_duplicates=6, misfits=5), [False, True]),
        (DuplicateCounts(presets=100, unique=89, exact_duplicates=0, near_duplicates=0, misfits=11), [True, False]),
        (DuplicateCounts(), [True, True]),
    ],
)
def test_the_checks_warn_above_a_tenth(counts: DuplicateCounts, passed: list[bool]) -> None:
    findings = check_duplicates(QaDuplicates(batch="big", thresholds=duplicate_thresholds(), counts=counts))
    assert [finding.passed for finding in findings] == passed
    assert {finding.severity for finding in findings} == {"warning"}
    assert f"{counts.near_duplicates} nearly the same" in findings[0].detail
