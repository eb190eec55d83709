"""A model that could not be loaded after the night is told before it: torn, foreign and broken checkpoints."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from aivj_assets.contracts.findings import Finding
from aivj_assets.embed.choose import EmbedderChoice
from aivj_assets.embed.preflight import look_at_model
from aivj_assets_tests.embedding_builders import TINY_NAME


@pytest.fixture
def weights(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint of the test's own."""
    return Path(shutil.copy(checkpoint, tmp_path / "own.pt"))


def look(weights: Path, known: Path | None = None, model: str = TINY_NAME) -> Finding:
    return look_at_model(EmbedderChoice(model, str(weights)), {}, device="cpu", known=known)


def test_a_checkpoint_that_loads_passes_and_tells_the_length_of_its_vectors(weights: Path) -> None:
    found = look(weights)
    assert (found.passed, found.figures) == (True, {"vector_dim": 32})


def test_a_torn_checkpoint_fails_in_one_line(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    found = look(weights)
    assert (found.passed, found.severity) == (False, "error")
    assert f"{weights} cannot be loaded as weights of OpenCLIP {TINY_NAME}" in found.detail
    assert "the file is cut off or damaged" in found.detail
    assert "\n" not in found.detail


def test_a_text_file_and_weights_of_another_model_fail(weights: Path) -> None:
    found = look(weights, model="ViT-B-32")
    assert not found.passed
    assert "name the model that the checkpoint was trained as" in found.detail
    weights.write_text("these are no weights\n" * 100)
    found = look(weights)
    assert not found.passed
    assert f"{weights} cannot be loaded as weights of OpenCLIP {TINY_NAME}" in found.detail


def test_weights_that_load_and_compute_nothing_fail(weights: Path) -> None:
    state = torch.load(weights, weights_only=True)
    torch.save({name: torch.full_like(value, float("nan")) for name, value in state.items()}, weights)
    found = look(weights)
    assert not found.passed
    assert "gives no finite vector" in found.detail


def test_what_cannot_be_had_at_all_fails_too(tmp_path: Path) -> None:
    assert "neither a file nor a tag" in look(tmp_path / "nowhere.pt").detail
    found = look_at_model(EmbedderChoice("efficientnet-lite0", "imagenet"), {}, precision="bfloat16")
    assert "runs in float32 only" in found.detail


def test_weights_are_loaded_again_only_when_their_file_has_changed(weights: Path, tmp_path: Path) -> None:
    known = tmp_path / ".aivj" / "checked-weights.json"
    assert "was loaded" in look(weights, known).detail
    before = weights.stat()
    # Same size, same time, other bytes: that they are not read again is what makes it cheap.
    weights.write_bytes(b"\0" * before.st_size)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = look(weights, known)
    assert (again.passed, again.figures) == (True, {"vector_dim": 32})
    assert "as it was loaded at" in again.detail
    assert not look(weights, known, model="ViT-B-32").passed
    os.utime(weights)
    assert not look(weights, known).passed


def test_a_failure_is_not_remembered_and_a_damaged_memory_does_no_harm(weights: Path, tmp_path: Path) -> None:
    known = tmp_path / "checked-weights.json"
    good = weights.read_bytes()
    weights.write_bytes(good[:5000])
    assert not look(weights, known).passed
    assert not known.exists()
    weights.write_bytes(good)
    known.write_text("{torn")
    assert "was loaded" in look(weights, known).detail
    assert "as it was loaded at" in look(weights, known).detail


def test_the_offline_model_loads() -> None:
    found = look_at_model(EmbedderChoice("efficientnet-lite0", "imagenet"), {}, device="cpu")
    assert (found.passed, found.figures) == (True, {"vector_dim": 1664})
