"""What steps need from the machine: the data root, the renderer, the embedding model. Read when a step starts."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import dagster as dg
from pydantic import Field

from aivj_assets.contracts.pack_settings import EmbedderSettings, PackSettings
from aivj_assets.embed.choose import AUTO, EMBEDDERS, OPENCLIP, EmbedderChoice, check_hub_reachable, resolve_embedder
from aivj_assets.embed.openclip import DEFAULT_PRETRAINED
from aivj_assets.embed.precision import PRECISIONS
from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot, resolve_data_root
from aivj_assets.render.environment import RenderEnvironment
from aivj_assets.render.machine import this_machine

EMBEDDER_VARIABLE = "AIVJ_EMBEDDER"
PRETRAINED_VARIABLE = "AIVJ_PRETRAINED"


class DataRootResource(dg.ConfigurableResource[DataRoot]):
    """The data root; by default `AIVJ_ROOT`, else the project's root."""

    path: str | None = Field(default=None, description="data root; by default AIVJ_ROOT, else the project's root")

    def get(self) -> DataRoot:
        """Return the data root as a plain object."""
        return resolve_data_root({"AIVJ_ROOT": self.path} if self.path else os.environ)


class GuardResource(dg.ConfigurableResource[None]):
    """The bypass of the gates; closed unless a person opens it for one run."""

    allow_unaccepted: bool = Field(
        default=False,
        description="make assets from inputs that are not accepted; what is made is marked as such, joins no lineage "
        "and is never published",
    )
    reason: str | None = Field(default=None, description="why; needed with allow_unaccepted")

    def bypass(self) -> str | None:
        """Return the reason of an open bypass, None when it is closed. Raises `UserError` without a reason."""
        if not self.allow_unaccepted:
            return None
        reason = " ".join((self.reason or "").split())
        if not reason:
            raise UserError("allow_unaccepted needs a reason: it is kept in all that is made past the gates.")
        return reason


class RendererResource(dg.ConfigurableResource[RenderEnvironment]):
    """The browser and the render page's packages, installed when they are missing."""

    def get(self) -> RenderEnvironment:
        """Return the machine's render environment; raises `UserError` when there is no browser or no npm package."""
        return this_machine(os.environ)


class EmbedderResource(dg.ConfigurableResource[None]):
    """The embedding model. Checked before rendering starts, loaded when frames are embedded."""

    model: str | None = Field(
        default=None,
        description="'openclip', an OpenCLIP model name such as ViT-B-32, 'hf-hub:owner/name', 'efficientnet-lite0' "
        "(no hub needed), or 'auto' (OpenCLIP when its weights can be had, else efficientnet-lite0); "
        f"by default the pack's setting, {EMBEDDER_VARIABLE}, openclip",
    )
    pretrained: str | None = Field(
        default=None,
        description="OpenCLIP weights: a tag, or the path of a checkpoint or Hugging Face folder; by default the "
        f"pack's setting, {PRETRAINED_VARIABLE}",
    )
    note: str | None = Field(default=None, description="why this model was taken; kept in embeddings.meta.json")
    max_frames_per_preset: int = Field(default=3, ge=1, alias="maxFramesPerPreset")
    batch_size: int = Field(default=64, ge=1, alias="batchSize")
    device: str | None = Field(
        default=None, description="auto (CUDA where there is one), cpu or cuda; by default the pack's setting, auto"
    )
    precision: str | None = Field(
        default=None,
        description=f"one of {', '.join(PRECISIONS)}; by default the pack's setting, auto: the fastest whose vectors "
        "agree with float32's",
    )

    def where(self, settings: PackSettings) -> tuple[str | None, str]:
        """Return (device or None for the best, precision asked for): the run's, else the pack's."""
        device = self.device or settings.embedder.device or AUTO
        return (None if device == AUTO else device), self.precision or settings.embedder.precision or AUTO

    def choose(self, settings: PackSettings) -> EmbedderChoice:
        """Return the choice of model: the run's, else the pack's, else the machine's. Nothing is loaded."""
        choice = pack_choice(settings.embedder, os.environ, model=self.model, pretrained=self.pretrained)
        note = self.note or (None if self.model else settings.embedder.note)
        return replace(choice, reason=note) if note else choice


def pack_choice(
    settings: EmbedderSettings,
    environ: Mapping[str, str],
    *,
    model: str | None = None,
    pretrained: str | None = None,
    default: str = OPENCLIP,
) -> EmbedderChoice:
    """Return the model that is named, else the pack's, else the machine's (`AIVJ_EMBEDDER`), else `default`.

    So the weights, with `AIVJ_PRETRAINED`; but those of the pack do not go with another model that is named. Raises
    `UserError` as `resolve_embedder` does; nothing is loaded.
    """
    name = _model_name(settings, environ, model, default)
    own = settings.pretrained if model in (None, settings.model) else None
    weights = pretrained or own or environ.get(PRETRAINED_VARIABLE, "").strip() or None
    return choose_embedder(name, weights, environ)


def _model_name(settings: EmbedderSettings, environ: Mapping[str, str], model: str | None, default: str) -> str:
    return model or settings.model or environ.get(EMBEDDER_VARIABLE, "").strip() or default


def check_run_can_have_its_model(root: DataRoot, pack: str, run_config: Mapping[str, Any]) -> None:
    """Raise `UserError` when a run of this configuration needs the model hub and nothing answers there.

    The run asks for more before it renders; that takes the time to start it and to load OpenCLIP.
    """
    config = run_config.get("resources", {}).get("embedder", {}).get("config", {})
    settings = PackSettings.of_pack(root, pack)
    if _model_name(settings.embedder, os.environ, config.get("model"), OPENCLIP) != AUTO:
        check_hub_reachable(EmbedderResource(**config).choose(settings), os.environ)


def choose_embedder(name: str, pretrained: str | None, environ: Mapping[str, str]) -> EmbedderChoice:
    """Return the choice behind an embedder's name: one of `EMBEDDERS`, or the name of an OpenCLIP model."""
    weights = pretrained or DEFAULT_PRETRAINED
    if name in EMBEDDERS:
        return resolve_embedder(name, environ, pretrained=weights)
    return resolve_embedder(OPENCLIP, environ, model=name, pretrained=weights)
