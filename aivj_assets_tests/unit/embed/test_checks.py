from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from aivj_assets.contracts.embeddings import Embeddings, EmbeddingsMeta, Preprocessing
from aivj_assets.contracts.frames_index import BLACK_MAX_LUMA, FailedRecord, OkRecord
from aivj_assets.embed import checks
from aivj_assets.embed.checks import (
    COLLAPSE_MIN_DIMENSION,
    check_collapse,
    check_embeddings,
    check_inputs,
)
from aivj_assets_tests.builders import embeddings_meta, failed_record, ok_record

IDS = [f"preset-{number}" for number in range(6)]


def make(left_out: dict[str, str] | None = None) -> Embeddings:
    vectors = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    meta = EmbeddingsMeta(
        model="m", pretrained="p", weights_sha256="0", dim=4, max_frames_per_preset=3, count=6, frames=18,
        preprocess=Preprocessing(size=4, interpolation="bicubic", mean=[0.5], std=[0.5]), generated_at="now",
        dtype="float32", device="cpu", libraries={}, duration_s=1.0, frames_index_sha256="0", left_out=left_out or {},
    )  # fmt: skip
    return Embeddings(vectors, list(IDS), meta)


def failed(embeddings: Embeddings, expected: list[str] | None = None, presets: int | None = None) -> dict[str, str]:
    findings = check_embeddings(embeddings, IDS if expected is None else expected, presets=presets)
    assert [finding.name for finding in findings] == [
        "shape", "finite", "unit_norm", "unique_ids", "one_row_per_ok_preset",
    ]  # fmt: skip
    return {finding.name: finding.detail for finding in findings if not finding.passed}


def test_sound_embeddings_pass() -> None:
    assert failed(make()) == {}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_no_number_fails(value: float) -> None:
    embeddings = make()
    embeddings.vectors[2, 1] = value
    assert set(failed(embeddings)) == {"finite", "unit_norm"}
    assert failed(embeddings)["finite"].startswith("1 of 6")


@pytest.mark.parametrize(("factor", "fails"), [(1.0002, True), (0.9998, True), (1.00005, False)])
def test_a_row_off_unit_length_fails(factor: float, fails: bool) -> None:
    embeddings = make()
    embeddings.vectors[5] *= factor
    assert (set(failed(embeddings)) == {"unit_norm"}) is fails


def test_rows_are_read_a_block_at_a_time_and_each_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(checks, "_BLOCK_VALUES", 8)
    embeddings = make()
    for row in range(6):
        spoiled = embeddings.vectors.copy()
        spoiled[row] *= 1.1
        np.save(tmp_path / "rows.npy", spoiled)
        mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
        found = failed(dataclasses.replace(embeddings, vectors=mapped))
        assert found == {"unit_norm": "largest deviation from length 1: 0.1"}
        spoiled[row, 0] = np.nan
        assert failed(dataclasses.replace(embeddings, vectors=spoiled))["finite"].startswith("1 of 6")


def test_missing_foreign_and_repeated_rows_are_named() -> None:
    embeddings = make()
    coverage = failed(embeddings, [*IDS, "preset-9"])["one_row_per_ok_preset"]
    assert "1 ok presets without a row or a reason, e.g. preset-9" in coverage
    assert "preset-5" in failed(embeddings, IDS[:5])["one_row_per_ok_preset"]
    embeddings.preset_ids[1] = "preset-0"
    assert "preset-0" in failed(embeddings)["unique_ids"]
    assert "preset-1" in failed(embeddings)["one_row_per_ok_preset"]


@pytest.mark.parametrize(
    ("without_row", "never_ok", "passes"), [(1, 0, True), (5, 0, True), (6, 0, False), (1, 4, True), (2, 4, False)]
)
def test_a_preset_that_was_left_out_counts_as_one_that_failed(without_row: int, never_ok: int, passes: bool) -> None:
    """Of 100 presets in the manifest 95 must have a row, whatever the others lack."""
    ok = [f"p{number}" for number in range(100 - never_ok)]
    rows = np.tile(np.float32([1, 0, 0, 0]), (len(ok) - without_row, 1))
    reasons = dict.fromkeys(ok[:without_row], "frame-001.webp: missing on disk")
    embeddings = Embeddings(rows, ok[without_row:], make(reasons).meta)
    (coverage,) = [finding for finding in check_embeddings(embeddings, ok, presets=100) if "row" in finding.name]
    assert coverage.passed is passes
    assert f"{len(rows)} of {len(ok)} ok presets have a row" in coverage.detail
    assert f"{len(rows)}/100 = 0.{len(rows)}" in coverage.detail
    assert f"{without_row} left out with a reason, e.g. p0 (frame-001.webp: missing on disk)" in coverage.detail
    # Without its reason not one may be missing.
    silent = Embeddings(rows, ok[without_row:], make(dict.fromkeys(ok[:without_row], "")).meta)
    assert "one_row_per_ok_preset" in failed(silent, ok, 100)


def test_a_matrix_of_another_shape_fails() -> None:
    embeddings = make()
    assert "shape" in failed(dataclasses.replace(embeddings, vectors=embeddings.vectors[:5]))
    assert "shape" in failed(dataclasses.replace(embeddings, vectors=embeddings.vectors[:, :3]))
    assert {"shape", "finite", "unit_norm"} <= set(failed(dataclasses.replace(embeddings, vectors=np.zeros(3))))
    assert {"finite", "unit_norm"} <= set(failed(dataclasses.replace(embeddings, vectors=np.zeros((0, 4)))))


def inputs(dark: int, total: int, *, flagged: bool = False) -> checks.Finding:
    ids = [f"p{number}" for number in range(total)]
    records: dict[str, OkRecord | FailedRecord] = {
        preset_id: ok_record(preset_id, "pack", luma=0.5 if number >= dark or flagged else BLACK_MAX_LUMA * 0.99)
        for number, preset_id in enumerate(ids)
    }
    for preset_id in ids[:dark] if flagged else ():
        record = records[preset_id]
        assert isinstance(record, OkRecord)
        record.metrics.flags = ["black", "flat"]
    # Neither a failed preset nor one that was left out is an input.
    records["failed"] = failed_record("failed", "pack")
    records |= {f"left-{number}": ok_record(f"left-{number}", "pack", luma=0.0) for number in range(total)}
    return check_inputs(Embeddings(np.zeros((total, 4), np.float32), ids, embeddings_meta(total, 4)), records)


@pytest.mark.parametrize("flagged", [True, False])
def test_many_black_inputs_warn(flagged: bool) -> None:
    usual, many = inputs(2, 10, flagged=flagged), inputs(3, 10, flagged=flagged)
    assert (usual.passed, many.passed) == (True, False)
    assert many.severity == "warning"
    assert many.detail.startswith("3 of 10 embedded presets are near-black, e.g. p0, p1, p2 (30.0%")
    assert many.figures["near_black_fraction"] == pytest.approx(0.3)


def test_a_preset_at_the_bound_is_not_black() -> None:
    records = {"a": ok_record("a", "pack", luma=BLACK_MAX_LUMA)}
    finding = check_inputs(Embeddings(np.zeros((1, 4), np.float32), ["a"], embeddings_meta(1, 4)), records)
    assert finding.detail.startswith("0 of 1 ")


def spread_rows(count: int, directions: int) -> Embeddings:
    rows = np.zeros((count, 32), np.float32)
    rows[:, :directions] = np.random.default_rng(5).normal(size=(count, directions))
    rows[:, 31] = 3
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Embeddings(rows, [str(number) for number in range(count)], embeddings_meta(count, 32))


@pytest.mark.parametrize(("directions", "passes"), [(0, False), (1, False), (2, False), (8, True), (30, True)])
def test_rows_that_lie_in_a_few_directions_have_collapsed(directions: int, passes: bool) -> None:
    finding = check_collapse(spread_rows(200, directions))
    assert (finding.passed, finding.severity) == (passes, "warning")
    assert f"effective dimension {finding.figures['effective_dimension']:.1f} of 200 rows" in finding.detail


def test_few_rows_are_not_judged() -> None:
    few = int(2 * COLLAPSE_MIN_DIMENSION) - 1
    finding = check_collapse(spread_rows(few, 1))
    assert finding.passed
    assert f"not judged: {few} rows" in finding.detail
    assert not check_collapse(spread_rows(few + 1, 1)).passed
