"""A preset's row: normalise(mean over its frames of normalise(frame embedding)), as soon as all frames are known."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from aivj_assets.contracts.embeddings import EmbeddingsWriter
from aivj_assets.embed.model import Vectors

NO_FINITE_VECTOR = "the model gave no finite vector for a frame"


def unit_vector(vector: npt.NDArray[np.floating]) -> Vectors | None:
    """Return a vector [d] scaled to length 1, as float32; None when its length is 0 or not finite."""
    exact = vector.astype(np.float64)
    length = float(np.linalg.norm(exact))
    return (exact / length).astype(np.float32) if 0 < length < float("inf") else None


class RowMeans:
    """Gathers unit vectors of frames, writes each row when it is complete, and keeps why rows cannot be had.

    `frame_counts` is how many frames each row has. In memory are only the rows that are incomplete.
    """

    def __init__(self, writer: EmbeddingsWriter, frame_counts: Sequence[int]) -> None:
        self._writer = writer
        self._counts = frame_counts
        self._waiting: dict[int, dict[int, Vectors]] = {}
        self._digests: dict[int, bytes] = {}
        self.problems: dict[int, str] = {}
        self.done = 0

    def add(self, row: int, position: int, digest: bytes, vector: Vectors) -> None:
        """Take a frame's unit vector [d] and the SHA-1 of its file."""
        if row in self.problems:
            return
        frames = self._waiting.setdefault(row, {})
        frames[position] = vector
        self._digests[row] = self._digests.get(row, b"") + digest
        if len(frames) < self._counts[row]:
            return
        del self._waiting[row]
        # In the order of the frames, whatever order they came in: the same frames give the same bytes.
        total = np.sum([frames[position] for position in sorted(frames)], axis=0, dtype=np.float64)
        unit = unit_vector(np.asarray(total))
        if unit is None:
            self.fail(row, "its frames' vectors cancel out")
            return
        self._writer.write(row, unit)
        self.done += 1

    def fail(self, row: int, problem: str) -> None:
        """Note why a row cannot be had; the first reason stays."""
        if row not in self.problems:
            self.problems[row] = problem
            self.done += 1
        self._waiting.pop(row, None)
        self._digests.pop(row, None)

    def kept(self) -> list[int]:
        """Return the rows that are complete, in order."""
        return [row for row in range(len(self._counts)) if row in self._digests and row not in self._waiting]

    def frames_sha256(self) -> str:
        """Return a digest over the SHA-1 of the kept rows' frames, a row's in the order of their digests."""
        digest = hashlib.sha256()
        for row in self.kept():
            both = self._digests[row]
            digest.update(b"".join(sorted(both[start : start + 20] for start in range(0, len(both), 20))))
        return digest.hexdigest()
