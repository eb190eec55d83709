"""Perceptual hashes of captures: 64 bits that stay nearly the same when a picture is re-encoded or scaled."""

from __future__ import annotations

import io
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aivj_assets.contracts.frames_index import FLAT_MAX_STD, GRAY_WEIGHTS

Hashes = npt.NDArray[np.uint64]
Distances = npt.NDArray[np.int64]
Places = npt.NDArray[np.int64]

BITS = 64
NEVER = BITS + 1
"""The distance of presets that have no capture to compare."""
CAPTURES = 3
"""As many captures of a preset are compared, the first ones: those that its embedding is the mean of."""
_SIDE, _LOW = 32, 8
_FORMATS = ("WEBP", "PNG", "JPEG")
_MAX_FILE_BYTES, _MAX_PIXELS = 2**26, 2**25


@dataclass(frozen=True)
class Capture:
    """Figures of one captured image; mean and standard deviation of gray in 0..1."""

    phash: int
    mean: float
    std: float


def read_capture(path: Path) -> Capture | None:
    """Return the figures of a stored image; None where it is missing, damaged or too large. Never raises for a file."""
    from PIL import Image

    try:
        status = path.stat()
        # A pipe would be waited for.
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_FILE_BYTES:
            return None
        with Image.open(io.BytesIO(path.read_bytes()), formats=_FORMATS) as image:
            if image.width * image.height > _MAX_PIXELS:
                return None
            rgb = image.convert("RGB")
            small = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    except Exception:  # noqa: BLE001 - a damaged file makes a decoder raise whatever it happens to meet
        return None
    gray = (np.asarray(rgb) @ np.array(GRAY_WEIGHTS)) / 255
    return Capture(int(phash(np.asarray(small)[None])[0]), float(gray.mean()), float(gray.std()))


def phash(pictures: npt.NDArray[np.uint8]) -> Hashes:
    """Return the pHash of gray pictures, uint8 [n, 32, 32], as uint64 [n].

    The sign, against their median, of the 8 x 8 lowest frequencies of the cosine transform (Zauner, "Implementation
    and benchmarking of perceptual image hash functions", 2010): the bits of ImageHash's `phash`, the first the highest.
    """
    from scipy.fft import dctn

    low = dctn(pictures.astype(np.float64), axes=(1, 2))[:, :_LOW, :_LOW].reshape(len(pictures), BITS)
    bits = low > np.median(low, axis=1, keepdims=True)
    packed: Hashes = np.packbits(bits, axis=1).view(">u8").astype(np.uint64).reshape(len(pictures))
    return packed


class PresetHashes:
    """Hashes of presets' captures, each read when it is first asked for. `paths` are a preset's captures, in order."""

    def __init__(self, paths: Sequence[Sequence[Path]]) -> None:
        self._paths = paths
        self._known = np.zeros(len(paths), dtype=bool)
        self.hashes = np.zeros((len(paths), CAPTURES), dtype=np.uint64)
        self.usable = np.zeros((len(paths), CAPTURES), dtype=bool)
        """False for a capture that is missing, damaged or flat: the hash of one colour is that of noise."""

    def read(self, places: Places) -> None:
        """Have the hashes of these presets ready."""
        wanted = np.unique(places[~self._known[places]])
        self._known[wanted] = True
        tasks = [(place, number) for place in wanted.tolist() for number in range(len(self._paths[place][:CAPTURES]))]
        # Decoding leaves the interpreter free.
        with ThreadPoolExecutor() as pool:
            captures = pool.map(lambda task: read_capture(self._paths[task[0]][task[1]]), tasks)
            for task, capture in zip(tasks, captures, strict=True):
                if capture is not None and capture.std >= FLAT_MAX_STD:
                    self.hashes[task], self.usable[task] = capture.phash, True

    def distances(self, some: Places, other: PresetHashes, others: Places) -> Distances:
        """Return the distances of pairs of presets, bits of 64, int64 [p]; `NEVER` where no capture can be compared.

        A capture is compared with the one of the same number, which shows the same moment of the same audio, where both
        are usable. The distance is the lower median over captures: half of them are at least as near.
        """
        self.read(some)
        other.read(others)
        both = self.usable[some] & other.usable[others]
        bits = np.bitwise_count(self.hashes[some] ^ other.hashes[others]).astype(np.int64)
        in_order = np.sort(np.where(both, bits, NEVER), axis=1)
        middle = np.maximum(both.sum(axis=1) - 1, 0) // 2
        distances: Distances = np.take_along_axis(in_order, middle[:, None], axis=1)[:, 0]
        return distances
