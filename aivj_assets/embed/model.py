"""What an embedding model is, and the one implementation over PyTorch that all models share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from aivj_assets.contracts.embeddings import ModelCard
from aivj_assets.errors import UserError

if TYPE_CHECKING:
    import torch
    from PIL import Image

DEFAULT_MAX_FRAMES = 3

Pixels = npt.NDArray[np.uint8]
"""Images [n, size, size, 3] or one of them [size, size, 3], RGB."""
Vectors = npt.NDArray[np.float32]
"""[n, d]."""


class EmbeddingModel(Protocol):
    """Images to vectors. Two models with equal cards give the same numbers, up to `dtype` and device."""

    @property
    def card(self) -> ModelCard:
        """What decides the numbers."""

    @property
    def dtype(self) -> str:
        """Precision of the forward pass: `float32`, `bfloat16` or `float16`."""

    @property
    def device(self) -> str:
        """Where the model runs, e.g. `cpu` or `cuda:0`."""

    @property
    def libraries(self) -> dict[str, str]:
        """Versions of the packages that compute the vectors."""

    @property
    def passes_at_once(self) -> int:
        """How many forward passes run beside each other when all goes well."""

    def images_a_pass(self, batch_size: int) -> int:
        """Return how many images a forward pass takes when `batch_size` are allowed at once."""

    def prepare(self, image: Image.Image) -> Pixels:
        """Turn an image of any size and mode into the model's, uint8 [size, size, 3]. Thread-safe."""

    def encode(self, images: Pixels) -> Vectors:
        """Turn images uint8 [n, size, size, 3] into vectors float32 [n, d], **not** normalised. Thread-safe.

        Raises `torch.OutOfMemoryError` when they do not fit on the device.
        """


@dataclass(frozen=True)
class TorchModel:
    """An `EmbeddingModel` made of Pillow's geometry (resize, crop, RGB) and a PyTorch function."""

    card: ModelCard
    geometry: Callable[[Image.Image], Image.Image]
    forward: Callable[[torch.Tensor], torch.Tensor]
    """From float32 [n, 3, size, size] in 0..1 on the device (channels last in memory) to features [n, d]."""
    torch_dtype: torch.dtype
    torch_device: torch.device
    libraries: dict[str, str]
    cpu_slice: int
    """Images of a forward pass on one core: more, and activations fall out of its cache."""
    encode_text: Callable[[Sequence[str]], Vectors] | None = None
    """Texts to vectors float32 [n, d], not normalised; None for a model without a text side."""
    logit_scale: float | None = None
    """What the model learned to multiply cosines of images and texts with before a softmax (about 100 in CLIP)."""

    @property
    def dtype(self) -> str:
        """Precision of the forward pass."""
        return dtype_name(self.torch_dtype)

    @property
    def device(self) -> str:
        """Where the model runs."""
        return str(self.torch_device)

    @property
    def passes_at_once(self) -> int:
        """One a core: threads inside an operation wait for each other. A GPU gets its next pass while one runs."""
        return usable_cpus() if self.torch_device.type == "cpu" else 2

    def images_a_pass(self, batch_size: int) -> int:
        """Return `batch_size` on a GPU, fewer on a CPU."""
        return min(batch_size, self.cpu_slice) if self.torch_device.type == "cpu" else batch_size

    def prepare(self, image: Image.Image) -> Pixels:
        """Return the model's picture, uint8 [size, size, 3]."""
        return np.asarray(self.geometry(image.convert("RGB")), dtype=np.uint8)

    def encode(self, images: Pixels) -> Vectors:
        """Return vectors float32 [n, d], not normalised."""
        import torch

        with torch.inference_mode():
            # PyTorch wants memory that may be written to; Pillow's may not.
            stacked = torch.from_numpy(np.require(images, requirements=["C", "W"]))
            if self.torch_device.type == "cuda":
                # Pinned, so that the host does not wait for the copy but prepares the next pass; bytes are a quarter of
                # floats. The copy itself is on the stream of the passes, where it takes about a fiftieth of one.
                stacked = stacked.pin_memory().to(self.torch_device, non_blocking=True)
            pixels = stacked.permute(0, 3, 1, 2).float().div_(255)
            # fp16 holds at most 65,504: norms are taken in fp32.
            result: Vectors = self.forward(pixels).float().cpu().numpy()
        return result


def usable_cpus() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def one_thread_an_operation() -> Iterator[None]:
    """Let PyTorch use one thread an operation in threads started meanwhile, and put its setting back afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def pick_device(requested: str | None = None) -> torch.device:
    """Return the device to use: the one asked for, else CUDA where PyTorch has it, else the CPU."""
    import torch

    if requested is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(requested)
    except RuntimeError:
        raise UserError(f"'{requested}' is no device of PyTorch; use cpu or cuda.") from None
    if device.type not in {"cpu", "cuda"}:
        raise UserError(f"Device '{requested}' is not supported; use cpu or cuda.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "PyTorch finds no CUDA device; install a CUDA build of PyTorch (the README says how) or use device cpu."
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"There is no device '{requested}': PyTorch finds {torch.cuda.device_count()}; use cuda.")
    return device


def dtype_name(dtype: torch.dtype) -> str:
    """Return a PyTorch type's name without its module."""
    return str(dtype).removeprefix("torch.")


def normalised_pixels(
    pixels: torch.Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype
) -> torch.Tensor:
    """Return (pixels - mean) / std a channel, computed in float32, as `dtype`. Pixels are [n, 3, h, w] in 0..1."""
    import torch

    shape = (1, 3, 1, 1)
    offset = torch.tensor(mean, dtype=torch.float32, device=pixels.device).view(shape)
    scale = torch.tensor(std, dtype=torch.float32, device=pixels.device).view(shape)
    return ((pixels - offset) / scale).to(dtype)


def library_versions(*packages: str) -> dict[str, str]:
    """Return the installed versions of packages, by distribution name."""
    return {package: metadata.version(package) for package in packages}
