"""`embeddings.npy`, `ids.txt` and `embeddings.meta.json`: one unit vector a preset."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from aivj_assets.contracts.base import ContractFile, ContractModel
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir, write_bytes_atomic, write_text_atomic


class Preprocessing(ContractModel):
    """How an image becomes the model's input."""

    size: int
    interpolation: str
    mean: list[float]
    std: list[float]


class ModelCard(ContractModel):
    """What decides an embedding's numbers; rows of two different cards never mix."""

    model: str
    pretrained: str
    weights_sha256: str
    preprocess: Preprocessing
    dim: int = Field(ge=1)
    pooling: str = "normalise(mean(normalise(frame)))"
    max_frames_per_preset: int = Field(ge=1)


class EmbeddingsMeta(ContractFile, ModelCard):
    """The model card with the circumstances of one batch."""

    version: Literal["v0"] = "v0"
    generated_at: str
    count: int
    frames: int
    dtype: str
    device: str
    libraries: dict[str, str]
    duration_s: float
    images_per_s: float | None = None
    frames_index_sha256: str
    left_out: dict[str, str] = Field(default_factory=dict, description="ok presets without a row: {presetId: why}")
    note: str | None = Field(None, description="e.g. why the offline model was taken")

    @property
    def card(self) -> ModelCard:
        """The part that decides the numbers."""
        return ModelCard.model_validate({name: getattr(self, name) for name in ModelCard.model_fields})


@dataclass(frozen=True)
class Embeddings:
    """Vectors float32 [n, d] with rows of unit length, their preset ids in row order, and the card."""

    vectors: npt.NDArray[np.float32]
    preset_ids: list[str]
    meta: EmbeddingsMeta


def save_embeddings(folder: BatchDir, embeddings: Embeddings) -> None:
    """Write the three files, the card last: a batch without a card has no embeddings."""
    folder.embeddings_meta.unlink(missing_ok=True)
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(embeddings.vectors, dtype=np.float32), allow_pickle=False)
    write_bytes_atomic(folder.embeddings, buffer.getvalue())
    write_text_atomic(folder.embedding_ids, "".join(f"{preset_id}\n" for preset_id in embeddings.preset_ids))
    embeddings.meta.save(folder.embeddings_meta)


def read_embedding_ids(path: Path) -> list[str]:
    """Read `ids.txt`; a line is an id, whatever characters it holds. Raises `UserError` when it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8").split("\n")[:-1]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); materialise embeddings again.") from None


def load_embeddings(folder: BatchDir) -> Embeddings:
    """Read the three files (vectors memory-mapped); raises `UserError` when they are missing or disagree."""
    meta = EmbeddingsMeta.load(folder.embeddings_meta)
    try:
        vectors: npt.NDArray[Any] = np.load(folder.embeddings, mmap_mode="r", allow_pickle=False)
        preset_ids = read_embedding_ids(folder.embedding_ids)
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{folder.embeddings} cannot be read ({error}); materialise embeddings again.") from None
    if vectors.shape != (len(preset_ids), meta.dim) or vectors.dtype != np.float32:
        raise UserError(
            f"{folder.embeddings} is {vectors.dtype} {vectors.shape}, but ids.txt and the card say "
            f"float32 ({len(preset_ids)}, {meta.dim}); materialise embeddings again."
        )
    return Embeddings(vectors, preset_ids, meta)
