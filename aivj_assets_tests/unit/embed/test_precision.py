"""The fast precision of a device, and that it is taken only where its vectors agree with float32's."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from aivj_assets.contracts.embeddings import ModelCard, Preprocessing
from aivj_assets.embed.model import TorchModel
from aivj_assets.embed.precision import agreeing_model, choose_precision, cpu_capabilities, describe_device
from aivj_assets.errors import UserError

NONE: dict[str, bool] = {}


def model(dtype: torch.dtype = torch.float32, noise: float = 0.0) -> TorchModel:
    """A model whose vectors are the picture's pixels, disturbed by so much."""

    def forward(pixels: torch.Tensor) -> torch.Tensor:
        flat = pixels.flatten(1)
        return flat + noise * torch.sin(1000 * flat)

    card = ModelCard(
        model="pixels", pretrained="none", weights_sha256="0" * 64, dim=12, max_frames_per_preset=3,
        preprocess=Preprocessing(size=2, interpolation="bicubic", mean=[0.0] * 3, std=[1.0] * 3),
    )  # fmt: skip
    return TorchModel(card, lambda image: image, forward, dtype, torch.device("cpu"), {}, cpu_slice=4)


def pictures(_: Any = None) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, 255, (2, 2, 3), dtype=np.uint8) for _ in range(5)]


@pytest.mark.parametrize(
    ("requested", "device", "flags", "expected"),
    [
        ("auto", "cpu", {"avx512_bf16": True, "amx_bf16": False}, "bfloat16"),
        ("auto", "cpu", {"avx512_bf16": False, "amx_bf16": True}, "bfloat16"),
        ("auto", "cpu", {"avx512_bf16": False, "amx_bf16": False}, "float32"),
        ("auto", "cuda", NONE, "float16"),
        ("float32", "cuda", NONE, "float32"),
        ("bfloat16", "cpu", NONE, "bfloat16"),
    ],
)
def test_the_device_decides_unless_the_user_does(requested: str, device: str, flags: Any, expected: str) -> None:
    precision, reason = choose_precision(requested, device, flags)
    assert precision == expected
    if requested == "auto" and expected == "bfloat16":
        assert next(name for name, present in flags.items() if present) in reason


@pytest.mark.parametrize(("requested", "words"), [("float64", "no precision; use one of auto"), ("float16", "CUDA")])
def test_a_precision_that_cannot_be_is_told(requested: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        choose_precision(requested, "cpu", NONE)


def test_vectors_that_agree_are_taken_and_the_cosine_is_recorded() -> None:
    fast, exact = model(torch.bfloat16, noise=0.01), model()
    taken, found = agreeing_model(fast, lambda: exact, "why", pictures)
    assert taken is fast
    assert (found.dtype, found.reason, found.sample_frames) == ("bfloat16", "why", 5)
    assert found.cosine_to_float32 is not None
    assert 0.999 <= found.cosine_to_float32 < 1


@pytest.mark.parametrize("noise", [0.5, float("nan"), float("inf")])
def test_vectors_that_do_not_agree_are_not_taken(noise: float) -> None:
    exact = model()
    taken, found = agreeing_model(model(torch.bfloat16, noise), lambda: exact, "why", pictures)
    assert taken is exact
    assert found.dtype == "float32"
    assert "bfloat16 gave a cosine" in found.reason


def test_one_bad_frame_among_good_ones_is_enough_to_refuse() -> None:
    exact = model()
    calls: list[int] = []

    def sometimes(pixels: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return -pixels.flatten(1) if len(calls) == 4 else pixels.flatten(1)

    fast = dataclasses.replace(model(torch.bfloat16), forward=sometimes)
    assert agreeing_model(fast, lambda: exact, "why", pictures)[0] is exact


def test_float32_needs_no_comparison_and_no_frame_means_float32() -> None:
    exact = model()
    taken, found = agreeing_model(exact, lambda: pytest.fail("loaded twice"), "why", pictures)
    assert (taken, found.dtype, found.cosine_to_float32) == (exact, "float32", None)
    taken, found = agreeing_model(model(torch.bfloat16), lambda: exact, "why", lambda _: [])
    assert taken is exact
    assert "no frame could be read" in found.reason


def test_this_cpu_answers_and_so_does_an_older_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    here = cpu_capabilities()
    assert set(here) == {"avx512_bf16", "amx_bf16"}
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    assert cpu_capabilities() == {"avx512_bf16": True, "amx_bf16": False}
    assert describe_device().precision.startswith(("bfloat16", "float16"))
