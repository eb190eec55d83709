"""Presets by cosine: nearest to texts, images or other presets, and the label that suits each of them best."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from aivj_assets.contracts.embeddings import ModelCard, differing_fields
from aivj_assets.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

Rows = npt.NDArray[np.float32]
"""Vectors [n, d]; rows of presets have unit length and may be memory-mapped."""

# Equal rows may differ in the last bits of a product, by their place in a block: beyond this the id decides.
COSINE_DECIMALS = 6
_BLOCK_ROWS = 8192
_LABELS_AT_ONCE = 64
# What is said of rows, or names the weights, and changes nothing in the vector of a single text or image.
_NOT_OF_THE_MODEL = frozenset({"pretrained", "pooling", "maxFramesPerPreset"})


class QueryModel(Protocol):
    """What a search needs of a model; `encode_text` is None where it has no text side."""

    @property
    def card(self) -> ModelCard:
        """What decides the numbers."""

    @property
    def encode_text(self) -> Callable[[Sequence[str]], Rows] | None:
        """Texts to vectors float32 [n, d], not normalised."""

    def prepare(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """Turn an image into the model's, uint8 [size, size, 3]."""

    def encode(self, images: npt.NDArray[np.uint8]) -> Rows:
        """Turn images uint8 [n, size, size, 3] into vectors float32 [n, d], not normalised."""


@dataclass(frozen=True)
class Match:
    """One of the rows (its number) and its cosine, -1..1."""

    row: int
    cosine: float


@dataclass(frozen=True)
class LabelRanking:
    """Labels against presets, one way and the other."""

    best_presets: list[list[Match]]
    """For each label its best presets, best first."""
    best_label: npt.NDArray[np.intp]
    """For each row the number of its best label; of equal ones the first."""
    cosine: npt.NDArray[np.float32]
    """For each row its cosine with that label."""
    margin: npt.NDArray[np.float32]
    """For each row how far the second-best label lies below; NaN with a single label."""


def require_model_of_rows(rows: ModelCard, model: ModelCard) -> None:
    """Raise `UserError`, naming both, unless the model's vectors may be compared with rows of that card.

    The weights' SHA-256 tells them apart, not the name of the file that they were read from.
    """
    fields = [field for field in differing_fields(rows, model) if field not in _NOT_OF_THE_MODEL]
    if fields:
        raise UserError(
            f"The pack's embeddings are of {_model_name(rows)}, the model that was loaded is {_model_name(model)} "
            f"(different: {', '.join(fields)}): their vectors cannot be compared. Leave --embedder and --pretrained "
            "out, or name the weights of the embeddings."
        )


def _model_name(card: ModelCard) -> str:
    return f"{card.model} ({card.pretrained}, weights {card.weights_sha256[:8]})"


def text_vectors(model: QueryModel, texts: Sequence[str]) -> Rows:
    """Return one unit vector a text, float32 [n, d]; raises `UserError` for a model without a text side."""
    if model.encode_text is None:
        raise UserError(f"{model.card.model} has no text side.")
    return _unit_rows(model.encode_text(list(texts)), [f"the text '{text}'" for text in texts])


def image_vector(model: QueryModel, image: Image.Image) -> Rows:
    """Return an image's unit vector, float32 [d].

    The image is made a square first, as the stored frames are: renderings of 16:9 that were squeezed, not cropped.
    """
    from PIL import Image as Pillow

    size = model.card.preprocess.size
    squeezed = image.convert("RGB").resize((size, size), Pillow.Resampling.BICUBIC)
    vector: Rows = _unit_rows(model.encode(np.stack([model.prepare(squeezed)])), ["the image"])[0]
    return vector


def _unit_rows(vectors: Rows, names: Sequence[str]) -> Rows:
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    for name, norm in zip(names, norms[:, 0], strict=True):
        if not np.isfinite(norm) or norm == 0:
            raise UserError(f"The model gives no finite vector for {name}; try another.")
    unit: Rows = (vectors / norms).astype(np.float32)
    return unit


def mean_direction(vectors: Rows) -> Rows:
    """Return normalise(mean) of unit vectors [n, d]: float32 [d].

    For texts this is the prompt ensemble in the space of embeddings (Radford et al. 2021, "Learning Transferable Visual
    Models From Natural Language Supervision", section 3.1.4). Raises `UserError` when they cancel each other out.
    """
    mean = vectors.astype(np.float64).mean(axis=0)
    norm = np.linalg.norm(mean)
    if norm < 1e-6:
        raise UserError("What was asked for cancels itself out: the mean of its vectors is zero.")
    direction: Rows = (mean / norm).astype(np.float32)
    return direction


def cosines(parts: Sequence[Rows], queries: Rows) -> Rows:
    """Return cosines float32 [n, q] of unit rows (in parts, one after the other) with unit queries [q, d].

    Rows are read in blocks: memory-mapped parts are never held whole.
    """
    found = np.empty((sum(len(part) for part in parts), len(queries)), np.float32)
    at = 0
    for part in parts:
        for start in range(0, len(part), _BLOCK_ROWS):
            block = part[start : start + _BLOCK_ROWS]
            np.matmul(block, queries.T, out=found[at : at + len(block)])
            at += len(block)
    return np.clip(found, -1, 1, out=found)


def best_matches(
    scores: npt.NDArray[np.float32], ids: Sequence[str], count: int, *, without: Collection[int] = ()
) -> list[Match]:
    """Return the `count` best of scores [n], best first; rows that are equal to six decimals stand by their ids.

    `ids` are the rows' preset ids; the rows `without` are passed over.
    """
    rounded = np.round(scores.astype(np.float64), COSINE_DECIMALS)
    rounded[list(without)] = -np.inf
    wanted = min(count, len(rounded) - len(set(without)))
    if wanted < 1:
        return []
    bound = np.partition(rounded, len(rounded) - wanted)[len(rounded) - wanted]
    # With all rows that are as good as the last one: which of them is taken is the ids' matter, not the order of files.
    candidates: list[int] = np.flatnonzero(rounded >= bound).tolist()
    order = sorted((-float(rounded[row]), ids[row], row) for row in candidates)[:wanted]
    return [Match(row, -negative) for negative, _, row in order]


def rank_labels(parts: Sequence[Rows], labels: Rows, ids: Sequence[str], count: int) -> LabelRanking:
    """Return the `count` best presets of each label, and each preset's best label, for unit labels [q, d].

    Memory grows with the rows, not with the number of labels.
    """
    rows = sum(len(part) for part in parts)
    best = np.full(rows, -np.inf, np.float32)
    second = np.full(rows, -np.inf, np.float32)
    best_label = np.zeros(rows, np.intp)
    best_presets = []
    for start in range(0, len(labels), _LABELS_AT_ONCE):
        scores = cosines(parts, labels[start : start + _LABELS_AT_ONCE])
        for number in range(scores.shape[1]):
            column = scores[:, number]
            best_presets.append(best_matches(column, ids, count))
            better = column > best
            second = np.where(better, best, np.maximum(second, column))
            best_label[better] = start + number
            best = np.where(better, column, best)
    margin = best - second if len(labels) > 1 else np.full(rows, np.nan, np.float32)
    return LabelRanking(best_presets, best_label, best, margin)
