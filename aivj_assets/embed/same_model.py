"""Are rows those of a model? A few presets are embedded again and held against the rows that are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aivj_assets.embed.frames import FrameFile, FrameProblem, decode_frame, read_frame
from aivj_assets.embed.model import EmbeddingModel, Vectors
from aivj_assets.embed.rows import unit_vector
from aivj_assets.errors import UserError

SAMPLE_PRESETS = 8
SAME_MIN_COSINE = 0.999
"""Half precision and other versions of the libraries stay above it; other weights or preprocessing do not."""


@dataclass(frozen=True)
class SampleRow:
    """A preset's row [d] as it is stored, and the files of its frames in order."""

    preset_id: str
    vector: npt.NDArray[np.float32]
    frames: Sequence[Path]


def frames_behind_rows(model: EmbeddingModel, sample: Sequence[SampleRow], named: str) -> int:
    """Return over how many of the first frames the rows are means, by the model; at most its card's number.

    Raises `UserError` when the rows are not the model's, however many frames are taken.
    """
    vectors = [_frame_vectors(model, row) for row in sample]
    most = max(len(found) for found in vectors)
    counts = list(range(1, most + 1))
    lowest = [min(_cosine(found[:count], row) for found, row in zip(vectors, sample, strict=True)) for count in counts]
    best = counts[int(np.argmax(lowest))]
    if max(lowest) < SAME_MIN_COSINE:
        raise UserError(
            f"The rows are not those of {named}: embedded again, {len(sample)} presets have cosines down to "
            f"{max(lowest):.3f} with their rows (at least {SAME_MIN_COSINE} is wanted). Name the model and the weights "
            "that they were made with, or leave --embedder away."
        )
    # Where no preset has more frames than were taken, the usual number says the same.
    return max(best, model.card.max_frames_per_preset) if best == most else best


def _frame_vectors(model: EmbeddingModel, row: SampleRow) -> list[Vectors]:
    vectors = []
    for position, path in enumerate(row.frames):
        frame = read_frame(path.parent, 0, position, path.name)
        picture = decode_frame(frame, model.prepare) if isinstance(frame, FrameFile) else frame
        if isinstance(picture, FrameProblem):
            raise UserError(f"{path} of '{row.preset_id}': {picture.text}.")
        unit = unit_vector(model.encode(picture[None])[0])
        if unit is None:
            raise UserError(f"{path} of '{row.preset_id}': the model gives no finite vector.")
        vectors.append(unit)
    return vectors


def _cosine(vectors: Sequence[Vectors], row: SampleRow) -> float:
    mean = unit_vector(np.sum(vectors, axis=0, dtype=np.float64))
    return -1.0 if mean is None else float(mean @ row.vector)
