"""What an embedding model is, and the one implementation over PyTorch that both models share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from aivj_assets.contracts.base import ContractModel
from aivj_assets.contracts.embeddings import ModelCard
from aivj_assets.errors import UserError

if TYPE_CHECKING:
    import torch
    from PIL import Image

DEFAULT_MAX_FRAMES = 3
_CPU_SLICE = 8  # images


class EmbeddingModel(Protocol):
    """Images to vectors. Two models with equal cards give the same numbers, up to `dtype` and device."""

    @property
    def card(self) -> ModelCard:
        """What decides the numbers."""

    @property
    def dtype(self) -> str:
        """Precision of the forward pass, `float32` or `float16`."""

    @property
    def device(self) -> str:
        """Where the model runs, e.g. `cpu` or `cuda:0`."""

    @property
    def libraries(self) -> dict[str, str]:
        """Versions of the packages that compute the vectors."""

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        """Turn an image of any size and mode into the model's input, float32 [3, size, size]. Thread-safe."""

    def encode(self, batch: torch.Tensor) -> npt.NDArray[np.float32]:
        """Turn inputs [n, 3, size, size] into vectors float32 [n, d], **not** normalised.

        Raises `torch.OutOfMemoryError` when the batch does not fit on the device.
        """


@dataclass(frozen=True)
class TorchModel:
    """An `EmbeddingModel` made of a torchvision transform and a forward function."""

    card: ModelCard
    transform: Callable[[Image.Image], torch.Tensor]
    forward: Callable[[torch.Tensor], torch.Tensor]
    torch_dtype: torch.dtype
    torch_device: torch.device
    libraries: dict[str, str]

    @property
    def dtype(self) -> str:
        """Precision of the forward pass."""
        return str(self.torch_dtype).removeprefix("torch.")

    @property
    def device(self) -> str:
        """Where the model runs."""
        return str(self.torch_device)

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        """Return the model's input, float32 [3, size, size]."""
        return self.transform(image.convert("RGB"))

    def encode(self, batch: torch.Tensor) -> npt.NDArray[np.float32]:
        """Return vectors float32 [n, d], not normalised."""
        if self.torch_device.type != "cpu" or len(batch) <= _CPU_SLICE:
            return self._run(batch)
        # On a CPU slices of a batch run beside each other, one thread each: the threads inside an operation spend
        # most of their time waiting for one another, and large activations fall out of the cache.
        slices = [batch[start : start + _CPU_SLICE] for start in range(0, len(batch), _CPU_SLICE)]
        with one_thread_an_operation(), ThreadPoolExecutor(min(usable_cpus(), len(slices))) as pool:
            return np.concatenate(list(pool.map(self._run, slices)))

    def _run(self, batch: torch.Tensor) -> npt.NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            vectors = self.forward(batch.to(self.torch_device, self.torch_dtype))
            # fp16 holds at most 65,504: norms are taken in fp32.
            result: npt.NDArray[np.float32] = vectors.float().cpu().numpy()
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
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "PyTorch finds no CUDA device; install a CUDA build of PyTorch (the README says how) or use device cpu."
        )
    return device


class DeviceFacts(ContractModel):
    """The device on which embedding runs here."""

    device: str
    """As PyTorch names it: `cuda` or `cpu`."""
    name: str
    torch_version: str


def describe_device() -> DeviceFacts:
    """Return the device that `pick_device` takes by itself, and what it is."""
    import torch

    device = pick_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    if device.type == "cpu" and torch.backends.mps.is_available():
        name += "; Apple's GPU (mps) is not used"
    return DeviceFacts(device=str(device), name=name, torch_version=torch.__version__)


def library_versions(*packages: str) -> dict[str, str]:
    """Return the installed versions of packages, by distribution name."""
    return {package: metadata.version(package) for package in packages}
