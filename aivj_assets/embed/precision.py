"""Which precision a device computes fast, and whether its vectors agree with those of float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from aivj_assets.contracts.base import ContractModel
from aivj_assets.contracts.embeddings import Precision
from aivj_assets.embed.model import Pixels, TorchModel, one_thread_an_operation, pick_device
from aivj_assets.errors import UserError

if TYPE_CHECKING:
    import torch

AUTO = "auto"
FLOAT32 = "float32"
PRECISIONS = (AUTO, FLOAT32, "bfloat16", "float16")
MIN_COSINE = 0.999
SAMPLE_FRAMES = 16
# Without one of these a CPU emulates bfloat16: 2 images a second instead of 17 (ViT-B-32, two cores with AVX2).
BFLOAT16_FLAGS = ("avx512_bf16", "amx_bf16")


def cpu_capabilities() -> dict[str, bool]:
    """Return which of `BFLOAT16_FLAGS` this CPU has, as PyTorch reads them from it."""
    import torch

    if hasattr(torch.cpu, "get_capabilities"):
        found = torch.cpu.get_capabilities()
        return {flag: bool(found.get(flag)) for flag in BFLOAT16_FLAGS}
    # PyTorch before 2.11 keeps the same questions private.
    asked = {"avx512_bf16": "_is_avx512_bf16_supported", "amx_bf16": "_is_amx_tile_supported"}
    return {flag: bool(getattr(torch.cpu, name, bool)()) for flag, name in asked.items()}


def choose_precision(requested: str, device_type: str, capabilities: Mapping[str, bool]) -> tuple[str, str]:
    """Return (precision, why) for a device of type `cpu` or `cuda`.

    `auto` is float16 on CUDA, bfloat16 weights on a CPU that computes with them, else float32: on a CPU with AVX2 only,
    neither ONNX Runtime (+8 % in float32) nor OpenVINO (none) was worth a second way to run a model, and int8 weights
    (+70 %) fall short of the cosine of 0.999. Raises `UserError` for a name that is no precision, and for float16 on a
    CPU.
    """
    if requested not in PRECISIONS:
        raise UserError(f"'{requested}' is no precision; use one of {', '.join(PRECISIONS)}.")
    if requested == "float16" and device_type == "cpu":
        raise UserError("float16 is for CUDA; on a CPU use precision auto, float32 or bfloat16.")
    if requested != AUTO:
        return requested, "as asked for"
    if device_type == "cuda":
        return "float16", "the device is a GPU"
    present = [flag for flag in BFLOAT16_FLAGS if capabilities.get(flag)]
    if present:
        return "bfloat16", f"this CPU has {' and '.join(present)}"
    return FLOAT32, "this CPU computes with bfloat16 more slowly"


def lowest_cosine(one: TorchModel, other: TorchModel, images: Sequence[Pixels]) -> float:
    """Return the lowest cosine between the two models' vectors of the same images; NaN when a vector is not finite."""
    with one_thread_an_operation():
        pairs = [(one.encode(image[np.newaxis])[0], other.encode(image[np.newaxis])[0]) for image in images]
    cosines = []
    for left, right in pairs:
        first, second = left.astype(np.float64), right.astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            cosines.append(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))
    return float(np.min(cosines))


def agreeing_model(
    fast: TorchModel,
    load_exact: Callable[[], TorchModel],
    reason: str,
    sample: Callable[[TorchModel], Sequence[Pixels]],
) -> tuple[TorchModel, Precision]:
    """Return `fast`, or the model in float32 where the vectors of real frames do not agree, and what was found.

    `reason` is why the precision of `fast` was chosen; `sample` gives frames prepared by a model, as many as can be
    read. A model that is in float32 already needs no comparison.
    """
    if fast.dtype == FLOAT32:
        return fast, Precision(dtype=FLOAT32, reason=reason)
    exact = load_exact()
    images = sample(fast)
    if not images:
        return exact, Precision(dtype=FLOAT32, reason=f"no frame could be read to compare {fast.dtype} with float32")
    cosine = lowest_cosine(fast, exact, images)
    facts = {"sample_frames": len(images), "cosine_to_float32": round(cosine, 6) if np.isfinite(cosine) else None}
    if cosine >= MIN_COSINE:
        return fast, Precision.model_validate({"dtype": fast.dtype, "reason": reason, **facts})
    told = f"{fast.dtype} gave a cosine to float32 of {cosine:.5f} on {len(images)} frames, below {MIN_COSINE}"
    return exact, Precision.model_validate({"dtype": FLOAT32, "reason": told, **facts})


class DeviceFacts(ContractModel):
    """The device on which embedding runs here."""

    device: str
    """As PyTorch names it: `cuda` or `cpu`."""
    name: str
    precision: str
    """That `auto` takes, with the reason."""
    torch_version: str


def describe_device() -> DeviceFacts:
    """Return the device and precision that are taken unless others are asked for."""
    import torch

    device = pick_device()
    precision, reason = choose_precision(AUTO, device.type, cpu_capabilities())
    return DeviceFacts(
        device=str(device), name=_name(device), precision=f"{precision} ({reason})", torch_version=torch.__version__
    )


def _name(device: torch.device) -> str:
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    note = "; Apple's GPU (mps) is not used" if torch.backends.mps.is_available() else ""
    return f"{torch.get_num_threads()} threads{note}"
