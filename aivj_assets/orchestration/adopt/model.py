"""The model of adopted rows, named by `--embedder`: loaded as a run would load it, and held against the rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from aivj_assets.embed.choose import load_model
from aivj_assets.embed.model import EmbeddingModel
from aivj_assets.embed.same_model import SAMPLE_PRESETS, SampleRow, frames_behind_rows
from aivj_assets.errors import UserError
from aivj_assets.orchestration.resources import choose_embedder
from aivj_assets.packs.adopt import AdoptedFolder, Tell


@dataclass(frozen=True)
class NamedModel:
    """What a person names: a model and its weights, as `aivj run` takes them."""

    embedder: str
    pretrained: str | None = None

    def load(self, environ: Mapping[str, str]) -> EmbeddingModel:
        """Load the model; raises `UserError` when it cannot be had."""
        return load_model(choose_embedder(self.embedder, self.pretrained, environ), environ)


def with_model_of_rows(looked: AdoptedFolder, model: EmbeddingModel, tell: Tell) -> AdoptedFolder:
    """Return the folder with the model's card; raises `UserError` when its rows are not the model's."""
    rows = looked.rows
    if model.card.dim != rows.vectors.shape[1]:
        raise UserError(
            f"The rows are not those of {model.card.name}: they have {rows.vectors.shape[1]} dimensions, the model "
            f"{model.card.dim}."
        )
    files: dict[str, list[Path]] = {}
    for one in looked.copies:
        files.setdefault(one.preset_id, []).append(one.source)
    tell("Embedding a sample", 0, SAMPLE_PRESETS)
    places = np.unique(np.linspace(0, len(rows.preset_ids) - 1, SAMPLE_PRESETS).round().astype(int)).tolist()
    sample = [SampleRow(rows.preset_ids[row], rows.vectors[row], files[rows.preset_ids[row]]) for row in places]
    count = frames_behind_rows(model, sample, model.card.name)
    card = model.card.model_copy(update={"max_frames_per_preset": count})
    tell("Embedding a sample", SAMPLE_PRESETS, SAMPLE_PRESETS)
    frames = sum(min(len(files[name]), count) for name in rows.preset_ids)
    if not rows.no_model and rows.meta.card != card:
        raise UserError(
            f"{looked.folder} says that its rows are of {rows.meta.card.name}, not of {card.name}: "
            "leave --embedder away, or mend the folder's embeddings.meta.json."
        )
    fields = {name: getattr(card, name) for name in type(card).model_fields}
    meta = rows.meta.model_copy(update={**fields, "frames": frames})
    return replace(looked, rows=replace(rows, meta=meta, no_model=""))
