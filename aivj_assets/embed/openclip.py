"""OpenCLIP: image and text towers trained on image-text pairs, by tag from the hub or from a local checkpoint."""

from __future__ import annotations

import importlib
import logging
import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aivj_assets.contracts.embeddings import ModelCard, Preprocessing
from aivj_assets.embed.hub import (
    DEFAULT_TIMEOUT_S,
    HubWeights,
    ask_whether_reachable,
    cached_weights,
    download_weights,
    hub_cache_is_empty,
    hub_problem,
    unreachable_advice,
    weights_of_tag,
)
from aivj_assets.embed.model import (
    DEFAULT_MAX_FRAMES,
    TorchModel,
    Vectors,
    library_versions,
    normalised_pixels,
    pick_device,
)
from aivj_assets.embed.precision import FLOAT32
from aivj_assets.errors import UserError
from aivj_assets.layout import sha256_file

if TYPE_CHECKING:
    import torch

DEFAULT_MODEL = "ViT-B-32"
DEFAULT_PRETRAINED = "laion2b_s34b_b79k"
HUB_PREFIX = "hf-hub:"
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
CONFIG_NAME = "open_clip_config.json"
_CHECKPOINT_SUFFIXES = {".pt", ".pth", ".bin", ".safetensors"}
# A folder of the hub may hold several files: those that OpenCLIP itself looks for, in its order.
_FOLDER_WEIGHTS = (
    "open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth", "model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth",
)  # fmt: skip
_OPEN_CLIP_PRECISION = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
_PROMPT_ANSWER_S = 1.0
_CPU_SLICE = 8  # images: 17.8 a second on two cores (ViT-B-32), within 4 % of any other


@dataclass(frozen=True)
class Checkpoint:
    """Where a model's weights are: a local file, or files on the hub, with the settings that they need."""

    model: str
    """A name that OpenCLIP knows, or the folder's or repository's where `config` tells the architecture."""
    pretrained: str
    local: Path | None = None
    hub: HubWeights | None = None
    tag_settings: dict[str, Any] = field(default_factory=dict)
    config: Path | None = None
    """`open_clip_config.json` of a local folder; a repository's comes with its weights."""

    @property
    def name(self) -> str:
        """The tag, or the file's name: a folder of one machine says nothing on another."""
        return self.pretrained if self.local is None else f"local:{self.local.name}"


def find_checkpoint(model: str, pretrained: str) -> Checkpoint:
    """Return what a model's `pretrained` means: a tag, a checkpoint file, or a Hugging Face folder.

    A folder, or `hf-hub:owner/name` as the model, brings its own architecture. Raises `UserError` for an unknown
    model, tag or missing file. Nothing is loaded, and the hub is not asked.
    """
    if model.startswith(HUB_PREFIX):
        repository = model.removeprefix(HUB_PREFIX)
        if not _is_repository(repository):
            raise UserError(f"'{model}' names no repository; write it as {HUB_PREFIX}owner/name.")
        return Checkpoint(model, "hub", hub=replace(weights_of_tag(f"{repository}/"), companions=(CONFIG_NAME,)))
    path = _existing(pretrained)
    if path is not None and path.is_dir():
        return _folder_checkpoint(path)
    open_clip = importlib.import_module("open_clip")
    # A name with a scheme would send the look-up over the network, without any bound.
    if ":" in model or open_clip.get_model_config(model) is None:
        raise UserError(f"OpenCLIP has no model '{model}'; e.g. {DEFAULT_MODEL}, ViT-L-14 (open_clip.list_models()).")
    settings: dict[str, Any] = open_clip.get_pretrained_cfg(model, pretrained) or {}
    if settings.get("hf_hub"):
        return Checkpoint(model, pretrained, hub=weights_of_tag(settings["hf_hub"]), tag_settings=settings)
    if path is not None and path.is_file():
        if path.suffix.lower() not in _CHECKPOINT_SUFFIXES:
            raise UserError(f"{path} is no checkpoint; expected a file ending in .pt, .pth, .bin or .safetensors.")
        return Checkpoint(model, pretrained, local=path)
    tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
    raise UserError(f"'{pretrained}' is neither a file nor a tag of OpenCLIP's {model} (tags: {tags}).")


def _is_repository(name: str) -> bool:
    try:
        importlib.import_module("huggingface_hub.utils").validate_repo_id(name)
    except ValueError:
        return False
    return _REPOSITORY.fullmatch(name) is not None


def _existing(text: str) -> Path | None:
    """Return a path that is there and may be looked at; a tag, or a name that no file can have, gives None."""
    try:
        path = Path(text).expanduser()
        return path if text and path.exists() else None
    except (OSError, RuntimeError):
        return None


def _folder_checkpoint(folder: Path) -> Checkpoint:
    config = folder / CONFIG_NAME
    if not config.is_file():
        raise UserError(
            f"{folder} holds no {CONFIG_NAME}: it is no folder of OpenCLIP weights. Name one that was saved by "
            "OpenCLIP (push_to_hf_hub), or a checkpoint file."
        )
    weights = next((folder / name for name in _FOLDER_WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise UserError(f"{folder} holds no weights; expected one of {', '.join(_FOLDER_WEIGHTS[:3])}.")
    return Checkpoint(f"local:{folder.resolve().name}", str(folder), local=weights, config=config)


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
        raise _unavailable(checkpoint.model, checkpoint.pretrained, problem)


def require_reachable_hub(
    model: str, pretrained: str, environ: Mapping[str, str], timeout_s: float = DEFAULT_TIMEOUT_S
) -> None:
    """Raise `UserError` when the weights are not here and nothing answers at the hub's address within `timeout_s`.

    A first look for a command line: OpenCLIP, whose import takes seconds, is loaded only where the hub does not answer
    and its cache holds models, and meanwhile. What the hub offers is `require_available`'s question.
    """
    if not model.startswith(HUB_PREFIX) and _existing(pretrained) is not None:
        return
    question = ask_whether_reachable(environ, timeout_s)
    cache_is_empty = hub_cache_is_empty(environ)
    if not cache_is_empty and not question.answered(_PROMPT_ANSWER_S):
        importlib.import_module("open_clip")
    problem = question.problem()
    if problem is None:
        return
    if not cache_is_empty:
        checkpoint = find_checkpoint(model, pretrained)
        if checkpoint.hub is None or cached_weights(checkpoint.hub, environ) is not None:
            return
    raise _unavailable(model, "hub" if model.startswith(HUB_PREFIX) else pretrained, problem)


def _unavailable(model: str, pretrained: str, problem: str) -> UserError:
    return UserError(
        f"The weights of OpenCLIP {model} ({pretrained}) are not on this machine and the model hub does not help "
        f"({problem}): connect to the network, {unreachable_advice()}"
    )


def load_openclip(
    model: str = DEFAULT_MODEL,
    pretrained: str = DEFAULT_PRETRAINED,
    *,
    environ: Mapping[str, str],
    device: str | None = None,
    dtype: str = FLOAT32,
    max_frames_per_preset: int = DEFAULT_MAX_FRAMES,
) -> TorchModel:
    """Load an OpenCLIP model, its weights as `dtype`; vectors are not normalised.

    `pretrained` is a tag of OpenCLIP, the path of a checkpoint or of a Hugging Face folder. Raises `UserError` when the
    weights cannot be had (within about 5 s when the hub is out of reach) or do not fit the model.
    """
    checkpoint = find_checkpoint(model, pretrained)
    path, config = _weights_file(checkpoint, environ)
    import torch

    torch_device = pick_device(device)
    torch_dtype: torch.dtype = getattr(torch, dtype)
    network = _build(checkpoint, path, config, torch_device, _OPEN_CLIP_PRECISION[dtype]).eval()
    source = checkpoint.model if config is None else f"local-dir:{config.parent}"
    card = _card(checkpoint, source, path, network, max_frames_per_preset)
    preprocess = card.preprocess

    def forward(pixels: torch.Tensor) -> torch.Tensor:
        inputs = normalised_pixels(pixels, preprocess.mean, preprocess.std, torch_dtype)
        features: torch.Tensor = network.encode_image(inputs)
        return features

    return TorchModel(
        card=card,
        geometry=_geometry(network),
        forward=forward,
        torch_dtype=torch_dtype,
        torch_device=torch_device,
        libraries=library_versions("open_clip_torch", "torch", "torchvision", "pillow"),
        cpu_slice=_CPU_SLICE,
        encode_text=_TextEncoder(network, source, torch_device, environ),
        logit_scale=_logit_scale(network),
    )


def _logit_scale(network: Any) -> float | None:
    learned = getattr(network, "logit_scale", None)
    return None if learned is None else float(learned.detach().float().exp())


def _weights_file(checkpoint: Checkpoint, environ: Mapping[str, str]) -> tuple[Path, Path | None]:
    """Return the weights' file and, where it tells the architecture, the folder's configuration."""
    if checkpoint.hub is None:
        assert checkpoint.local is not None  # noqa: S101 - a checkpoint is one or the other
        return checkpoint.local, checkpoint.config
    cached = cached_weights(checkpoint.hub, environ)
    if cached is None:
        require_available(checkpoint, environ)
        cached = download_weights(checkpoint.hub, environ)
    return cached, cached.with_name(CONFIG_NAME) if checkpoint.hub.companions else None


def _build(checkpoint: Checkpoint, path: Path, config: Path | None, device: torch.device, precision: str) -> Any:
    """Build the network from a file and the tag's settings, so that OpenCLIP itself never asks the hub."""
    open_clip = importlib.import_module("open_clip")
    settings = checkpoint.tag_settings
    try:
        if config is not None:
            with _without_alarm():
                network = open_clip.create_model(
                    f"local-dir:{config.parent}", precision=precision, device=device, load_weights=False,
                    pretrained_text=False,
                )  # fmt: skip
            # Loaded by name: the file whose digest stands in the card, whatever else lies beside it.
            open_clip.load_checkpoint(network, str(path), strict=True)
            return network
        network, _, _ = open_clip.create_model_and_transforms(
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
        if _is_out_of_memory(error):
            raise UserError(
                f"The weights of OpenCLIP {checkpoint.model} do not fit into the memory of {device}; close other "
                "programs that use it, or use device cpu."
            ) from None
        raise UserError(
            f"{path} cannot be loaded as weights of OpenCLIP {checkpoint.model} ({_reason(error)}); "
            "name the model that the checkpoint was trained as, or remove a file that is damaged and repeat."
        ) from None
    return network


@contextmanager
def _without_alarm() -> Iterator[None]:
    """Keep OpenCLIP from warning that a network has random weights: they are loaded in the next step."""

    def passes(record: logging.LogRecord) -> bool:
        return "initialized randomly" not in record.getMessage()

    root = logging.getLogger()
    root.addFilter(passes)
    try:
        yield
    finally:
        root.removeFilter(passes)


def _reason(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError):
        # PyTorch's own text goes on to advise how to run the code that may be in it.
        return "it is no file of weights, or holds more than weights, which is not loaded"
    if "PytorchStreamReader" in str(error):
        return "the file is cut off or damaged"
    first, _, more = str(error).strip().partition("\n")
    # PyTorch tells which tensors do not fit in the lines after a heading that says nothing.
    text = " ".join(f"{first} {more if first.endswith(':') else ''}".split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError)


def _card(checkpoint: Checkpoint, source: str, path: Path, network: Any, max_frames_per_preset: int) -> ModelCard:
    quick_gelu = importlib.import_module("open_clip.transformer").QuickGELU
    preprocessing = network.visual.preprocess_cfg
    size = preprocessing["size"]
    if isinstance(size, (tuple, list)) and len(set(size)) > 1:
        raise UserError(f"OpenCLIP {checkpoint.model} wants images of {size}; only square ones are supported.")
    return ModelCard(
        model=checkpoint.model,
        pretrained=checkpoint.name,
        weights_sha256=sha256_file(path),
        activation="quick_gelu" if any(isinstance(module, quick_gelu) for module in network.modules()) else None,
        preprocess=Preprocessing(
            size=max(size) if isinstance(size, (tuple, list)) else size,
            interpolation=preprocessing["interpolation"],
            resize_mode=preprocessing["resize_mode"],
            mean=list(preprocessing["mean"]),
            std=list(preprocessing["std"]),
        ),
        dim=int(importlib.import_module("open_clip").get_model_config(source)["embed_dim"]),
        max_frames_per_preset=max_frames_per_preset,
    )


def _geometry(network: Any) -> Any:
    """Return OpenCLIP's own transform up to the picture: resize, crop or pad, RGB. The rest runs on the device."""
    from torchvision import transforms

    open_clip = importlib.import_module("open_clip.transform")
    steps = open_clip.image_transform_v2(open_clip.PreprocessCfg(**network.visual.preprocess_cfg), is_train=False)
    *geometry, to_tensor, normalise = steps.transforms
    if not isinstance(to_tensor, open_clip.MaybeToTensor) or not isinstance(normalise, transforms.Normalize):
        raise TypeError(f"OpenCLIP's transform does not end in ToTensor and Normalize: {steps}")
    return transforms.Compose(geometry)


@dataclass
class _TextEncoder:
    """The text tower with its tokenizer, which is loaded at the first call: some come from the hub."""

    network: Any
    source: str
    device: torch.device
    environ: Mapping[str, str]
    _tokenizer: Any = None

    def __call__(self, texts: Sequence[str]) -> Vectors:
        import torch

        if self._tokenizer is None:
            self._tokenizer = self._load_tokenizer()
        with torch.inference_mode():
            tokens = self._tokenizer(list(texts)).to(self.device)
            result: Vectors = self.network.encode_text(tokens).float().cpu().numpy().astype(np.float32, copy=False)
        return result

    def _load_tokenizer(self) -> Any:
        open_clip = importlib.import_module("open_clip")
        config = open_clip.get_model_config(self.source) or {}
        repository = config.get("text_cfg", {}).get("hf_tokenizer_name")
        if repository and not Path(repository).is_dir():
            files = HubWeights(repository, ("tokenizer_config.json", "tokenizer.json"))
            problem = None if cached_weights(files, self.environ) else hub_problem(files, self.environ)
            if problem is not None:
                raise UserError(
                    f"The tokenizer {repository} of this model is not on this machine and the model hub does not help "
                    f"({problem}); connect to the network once, or set HF_ENDPOINT to a mirror."
                )
        try:
            return open_clip.get_tokenizer(self.source)
        except ImportError as error:
            raise UserError(
                f"The tokenizer of this model needs a package that is not installed ({error.name or error}): "
                "install it with pip install transformers sentencepiece."
            ) from None
