from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from aivj_assets.contracts.embeddings import Embeddings, EmbeddingsMeta, Preprocessing
from aivj_assets.embed.checks import check_embeddings

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


def failed(embeddings: Embeddings, expected: list[str] | None = None) -> dict[str, str]:
    findings = check_embeddings(embeddings, IDS if expected is None else expected)
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


def test_missing_foreign_and_repeated_rows_are_named() -> None:
    embeddings = make(left_out={"preset-9": "frame-001.webp: missing on disk"})
    assert (
        "preset-9 (frame-001.webp: missing on disk)" in failed(embeddings, [*IDS, "preset-9"])["one_row_per_ok_preset"]
    )
    assert "preset-5" in failed(embeddings, IDS[:5])["one_row_per_ok_preset"]
    embeddings.preset_ids[1] = "preset-0"
    assert "preset-0" in failed(embeddings)["unique_ids"]
    assert "preset-1" in failed(embeddings)["one_row_per_ok_preset"]


def test_a_matrix_of_another_shape_fails() -> None:
    embeddings = make()
    assert "shape" in failed(dataclasses.replace(embeddings, vectors=embeddings.vectors[:5]))
    assert "shape" in failed(dataclasses.replace(embeddings, vectors=embeddings.vectors[:, :3]))
    assert {"shape", "finite", "unit_norm"} <= set(failed(dataclasses.replace(embeddings, vectors=np.zeros(3))))
