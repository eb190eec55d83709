"""Rows that were made elsewhere are held against the model that they are said to be of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aivj_assets.contracts.embeddings import ModelCard
from aivj_assets.embed.same_model import SampleRow, frames_behind_rows
from aivj_assets.errors import UserError
from aivj_assets_tests.builders import embeddings_meta, write_frame


class Projection:
    """A model that projects the pixels of a frame; `seed` are its weights."""

    def __init__(self, seed: int = 1, max_frames: int = 3) -> None:
        self._weights = np.random.default_rng(seed).normal(size=(16 * 16 * 3, 8))
        self._max_frames = max_frames

    @property
    def card(self) -> ModelCard:
        return embeddings_meta(1, 8).card.model_copy(update={"max_frames_per_preset": self._max_frames})

    def prepare(self, image: Image.Image) -> Any:
        return np.asarray(image.convert("RGB"))

    def encode(self, images: Any) -> Any:
        return (images.reshape(len(images), -1) / 255 - 0.5) @ self._weights


def sample_of(folder: Path, model: Projection, captures: int, used: int) -> list[SampleRow]:
    rows = []
    for preset in range(4):
        frames = [folder / f"{preset}-{number}.webp" for number in range(captures)]
        vectors = []
        for number, path in enumerate(frames):
            write_frame(path, seed=preset * 100 + number, luma=0.2 + 0.15 * preset)
            with Image.open(path) as image:
                vector = model.encode(model.prepare(image)[None])[0]
            vectors.append(vector / np.linalg.norm(vector))
        mean = np.sum(vectors[:used], axis=0)
        rows.append(SampleRow(f"p{preset}", (mean / np.linalg.norm(mean)).astype(np.float32), frames))
    return rows


@pytest.mark.parametrize(("captures", "used", "told"), [(5, 3, 3), (5, 1, 1), (3, 3, 3), (2, 2, 3), (5, 5, 5)])
def test_the_number_of_frames_behind_the_rows_is_found(tmp_path: Path, captures: int, used: int, told: int) -> None:
    model: Any = Projection()
    assert frames_behind_rows(model, sample_of(tmp_path, model, captures, used), "projection") == told


def test_rows_of_other_weights_are_refused(tmp_path: Path) -> None:
    other: Any = Projection(seed=2)
    sample = sample_of(tmp_path, Projection(seed=1), 3, 3)
    with pytest.raises(UserError, match=r"The rows are not those of projection: .* 4 presets have cosines down to"):
        frames_behind_rows(other, sample, "projection")


def test_a_frame_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    model: Any = Projection()
    sample = sample_of(tmp_path, model, 3, 3)
    sample[1].frames[0].write_bytes(b"RIFF" + bytes(20))
    with pytest.raises(UserError, match=r"1-0\.webp of 'p1': .*cannot be decoded"):
        frames_behind_rows(model, sample, "projection")
