"""How much pictures differ from the ones before, and from those under silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aivj_assets.contracts.frames_index import GRAY_WEIGHTS
from aivj_assets.errors import UserError
from aivj_assets.show.reactivity.envelopes import Series


def read_grays(paths: Sequence[Path]) -> npt.NDArray[np.float32]:
    """Return the gray values of pictures of one size, float32 [n, height, width] in 0..1 (CONTRACTS: Metrics).

    Raises `UserError` for a picture that cannot be read.
    """
    from PIL import Image

    weights = np.array(GRAY_WEIGHTS, dtype=np.float32) / 255
    grays = []
    for path in paths:
        try:
            with Image.open(path) as image:
                grays.append(np.asarray(image.convert("RGB"), dtype=np.float32) @ weights)
        except (OSError, SyntaxError, ValueError) as error:
            raise UserError(f"{path} is no picture any more ({error}): delete it and run again.") from None
    return np.stack(grays)


@dataclass(frozen=True)
class Movement:
    """One preset's pictures under the sounds, as figures."""

    differences: dict[str, Series]
    """Mean |gray - gray of the capture before| under each sound, float64 [captures - 1]."""
    silence: Series
    """The same under silence."""
    difference: float
    """Mean |gray under a sound - gray under silence| over all pictures."""


def movement(sounds: Mapping[str, Sequence[Path]], silence: Sequence[Path]) -> Movement:
    """Return the figures of one preset's captures under each sound and under silence, the same number of each."""
    quiet = read_grays(silence)
    differences: dict[str, Series] = {}
    apart: list[float] = []
    for name, paths in sounds.items():
        grays = read_grays(paths)
        differences[name] = frame_differences(grays)
        apart.append(float(np.abs(grays - quiet).mean(dtype=np.float64)))
    return Movement(differences, frame_differences(quiet), min(1.0, float(np.mean(apart))))


def frame_differences(grays: npt.NDArray[np.float32]) -> Series:
    """Return mean |gray - gray of the picture before|, float64 [n - 1] of pictures [n, height, width]."""
    means: Series = np.abs(np.diff(grays, axis=0)).mean(axis=(1, 2), dtype=np.float64)
    return means
