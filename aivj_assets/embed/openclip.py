"""OpenCLIP: an image tower trained on image-text pairs, by tag from the hub or from a local checkpoint."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aivj_assets.contracts.embeddings import ModelCard, Preprocessing
from aivj_assets.embed.hub import (
    DEFAULT_TIMEOUT_S,
    HubWeights,
    cached_weights,
    download_weights,
    hub_problem,
    unreachable_advice,
    weights_of_tag,
)
from aivj_assets.embed.model import DEFAULT_MAX_FRAMES, TorchModel, library_versions, pick_device
from aivj_assets.errors import UserError
from aivj_assets.layout import sha256_file

DEFAULT_MODEL = "ViT-B-32"
DEFAULT_PRETRAINED = "laion2b_s34b_b79k"
_CHECKPOINT_SUFFIXES = {".pt", ".pth", ".bin", ".safetensors"}


@dataclass(frozen=True)
class Checkpoint:
    """Where a model's weights are: a local file, or a tag's files on the hub with the settings they need."""

    model: str
    pretrained: str
    local: Path | None
    hub: HubWeights | None
    tag_settings: dict[str, Any]

    @property
    def name(self) -> str:
        """The tag, or the file's name: a folder of one machine says nothing on another."""
        return self.pretrained if self.local is None else f"local:{self.local.name}"


def find_checkpoint(model: str, pretrained: str) -> Checkpoint:
    """Return what a model's `pretrained` means; raises `UserError` for an unknown model, tag or missing file."""
    open_clip = importlib.import_module("open_clip")
    # A name with a scheme ("hf-hub:…") would send the look-up over the network, without any bound.
    if ":" in model or open_clip.get_model_config(model) is None:
        raise UserError(f"OpenCLIP has no model '{model}'; e.g. {DEFAULT_MODEL}, ViT-L-14 (open_clip.list_models()).")
    settings: dict[str, Any] = open_clip.get_pretrained_cfg(model, pretrained) or {}
    if settings.get("hf_hub"):
        return Checkpoint(model, pretrained, None, weights_of_tag(settings["hf_hub"]), settings)
    path = Path(pretrained).expanduser()
    if path.is_file():
        if path.suffix.lower() not in _CHECKPOINT_SUFFIXES:
            raise UserError(f"{path} is no checkpoint; expected a file ending in .pt, .pth, .bin or .safetensors.")
        return Checkpoint(model, pretrained, path, None, {})
    tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
    raise UserError(f"'{pretrained}' is neither a file nor a tag of OpenCLIP's {model} (tags: {tags}).")


def availability_problem(
    checkpoint: Checkpoint, environ: Mapping[str, str], timeout_s: float = DEFAULT_TIMEOUT_S
) -> str | None:
    """Return None when the weights are here or the hub offers them, else why they cannot be had. Bounded in time."""
    if checkpoint.hub is None or cached_weights(checkpoint.hub, environ) is not None:
        return None
    return hub_problem(checkpoint.hub, environ, timeout_s)


def require_available(checkpoint: Checkpoint, environ: Mapping[str, str], timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
    """Raise `UserError` with the ways out when the weights are neither here nor offered by the hub in time."""
    problem = availability_problem(checkpoint, environ, timeout_s)
    if problem is not None:
        raise UserError(
            f"The weights of OpenCLIP {checkpoint.model} ({checkpoint.pretrained}) are not on this machine and the "
            f"model hub does not help ({problem}): connect to the network, {unreachable_advice()}"
        )


def load_openclip(
    model: str = DEFAULT_MODEL,
    pretrained: str = DEFAULT_PRETRAINED,
    *,
    environ: Mapping[str, str],
    device: str | None = None,
    max_frames_per_preset: int = DEFAULT_MAX_FRAMES,
) -> TorchModel:
    """Load an OpenCLIP image tower, fp16 on CUDA and fp32 elsewhere; vectors are not normalised.

    `pretrained` is a tag of OpenCLIP or the path of a checkpoint. Raises `UserError` when the weights cannot be had
    (within about 5 s when the hub is out of reach) or do not fit the model.
    """
    checkpoint = find_checkpoint(model, pretrained)
    path = _weights_file(checkpoint, environ)
    import torch

    torch_device = pick_device(device)
    half = torch_device.type == "cuda"
    network, transform = _build(checkpoint, path, torch_device, "fp16" if half else "fp32")
    network.eval()
    preprocessing = network.visual.preprocess_cfg
    size = preprocessing["size"]
    card = ModelCard(
        model=model,
        pretrained=checkpoint.name,
        weights_sha256=sha256_file(path),
        preprocess=Preprocessing(
            size=max(size) if isinstance(size, (tuple, list)) else size,
            interpolation=preprocessing["interpolation"],
            mean=list(preprocessing["mean"]),
            std=list(preprocessing["std"]),
        ),
        dim=int(importlib.import_module("open_clip").get_model_config(model)["embed_dim"]),
        max_frames_per_preset=max_frames_per_preset,
    )
    return TorchModel(
        card=card,
        transform=transform,
        forward=network.encode_image,
        torch_dtype=torch.float16 if half else torch.float32,
        torch_device=torch_device,
        libraries=library_versions("open_clip_torch", "torch", "torchvision", "pillow"),
    )


def _weights_file(checkpoint: Checkpoint, environ: Mapping[str, str]) -> Path:
    if checkpoint.hub is None:
        assert checkpoint.local is not None  # noqa: S101 - a checkpoint is one or the other
        return checkpoint.local
    cached = cached_weights(checkpoint.hub, environ)
    if cached is not None:
        return cached
    require_available(checkpoint, environ)
    return download_weights(checkpoint.hub, environ)


def _build(checkpoint: Checkpoint, path: Path, device: Any, precision: str) -> tuple[Any, Any]:
    """Build the network from a file and the tag's settings, so that OpenCLIP itself never asks the hub."""
    open_clip = importlib.import_module("open_clip")
    settings = checkpoint.tag_settings
    try:
        network, _, transform = open_clip.create_model_and_transforms(
            checkpoint.model,
            pretrained=str(path),
            precision=precision,
            device=device,
            # Without it OpenAI's weights load without a word and give other vectors.
            force_quick_gelu=bool(settings.get("quick_gelu")),
            image_mean=settings.get("mean"),
            image_std=settings.get("std"),
            image_interpolation=settings.get("interpolation"),
            image_resize_mode=settings.get("resize_mode"),
        )
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - torch, pickle, zip and safetensors each raise their own
        reason = str(error).strip().partition("\n")[0][:200]
        raise UserError(
            f"{path} cannot be loaded as weights of OpenCLIP {checkpoint.model} ({type(error).__name__}: {reason}); "
            "name the model that the checkpoint was trained as, or remove a file that is damaged and repeat."
        ) from None
    return network, transform
