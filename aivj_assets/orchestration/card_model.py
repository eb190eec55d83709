"""The model behind rows that exist already, found by their card: for a search among them, for labels of clusters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aivj_assets.contracts.embeddings import ModelCard
from aivj_assets.contracts.pack_settings import PackSettings
from aivj_assets.embed.choose import AUTO, OPENCLIP, EmbedderChoice, load_model
from aivj_assets.embed.lite0 import LITE0
from aivj_assets.embed.model import TorchModel
from aivj_assets.embed.search import require_model_of_rows
from aivj_assets.errors import UserError
from aivj_assets.orchestration.resources import PRETRAINED_VARIABLE, choose_embedder

_LOCAL = "local:"


@dataclass(frozen=True)
class ModelOptions:
    """Which model the command line names; by default the one of the pack's rows."""

    embedder: str | None = None
    pretrained: str | None = None
    device: str | None = AUTO


def load_model_of_card(
    card: ModelCard, options: ModelOptions, settings: PackSettings, environ: Mapping[str, str]
) -> TorchModel:
    """Load the model behind a card; raises `UserError` when it cannot be had or is another one."""
    model = load_model(
        query_choice(card, options, settings, environ),
        environ,
        device=None if options.device == AUTO else options.device,
        max_frames_per_preset=card.max_frames_per_preset,
    )
    require_model_of_rows(card, model.card)
    return model


def query_choice(
    card: ModelCard, options: ModelOptions, settings: PackSettings, environ: Mapping[str, str]
) -> EmbedderChoice:
    """Return the choice of the model behind a card: what the options name, else by its own name. Nothing is loaded.

    The weights of a local file or folder have no name that could be looked up: they are sought among `--pretrained`,
    the pack's settings and `AIVJ_PRETRAINED`, by the file's name in the last two. Raises `UserError` otherwise.
    """
    is_own = options.embedder in {None, AUTO, card.model, LITE0 if is_offline(card) else OPENCLIP}
    if not is_own:
        raise UserError(
            f"The embeddings are of {card.model} ({card.pretrained}): --embedder {options.embedder} is another model, "
            "whose vectors cannot be compared with them. Leave --embedder out."
        )
    if is_offline(card):
        return choose_embedder(LITE0, None, environ)
    return choose_embedder(card.model, options.pretrained or _known_weights(card, settings, environ), environ)


def is_offline(card: ModelCard) -> bool:
    """Tell whether a card is the offline model's, also with what its name may carry behind it: none has a text side."""
    return card.model.startswith(LITE0)


def _known_weights(card: ModelCard, settings: PackSettings, environ: Mapping[str, str]) -> str:
    if not card.pretrained.startswith(_LOCAL):
        return card.pretrained
    # A folder names the model, too; a file only the weights.
    name = (card.model if card.model.startswith(_LOCAL) else card.pretrained).removeprefix(_LOCAL)
    for place in (settings.embedder.pretrained, environ.get(PRETRAINED_VARIABLE, "").strip()):
        if place and Path(place).expanduser().resolve().name == name:
            return place
    raise UserError(
        f"The embeddings are of {card.model} with the local weights '{name}', and nothing says where they lie: name "
        f"them with --pretrained, or set {PRETRAINED_VARIABLE}."
    )
