"""A batch's frames to one unit vector a preset: normalise(mean over its frames of normalise(frame embedding))."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from aivj_assets.contracts.base import utc_now
from aivj_assets.contracts.embeddings import Embeddings, EmbeddingsMeta, ModelCard, load_embeddings
from aivj_assets.contracts.frames_index import FailedRecord, OkRecord
from aivj_assets.embed.frames import decode_presets
from aivj_assets.embed.model import DEFAULT_MAX_FRAMES, EmbeddingModel, one_thread_an_operation, usable_cpus
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir

if TYPE_CHECKING:
    import torch

DEFAULT_BATCH_SIZE = 64
_MAX_DECODERS = 4

Progress = Callable[[int, int], None]
"""Called with (presets done, presets in all) after every forward pass."""
Log = Callable[[str], None]


def embed_batch(
    batch_dir: BatchDir,
    records: Mapping[str, OkRecord | FailedRecord],
    preset_order: Sequence[str],
    model: EmbeddingModel,
    *,
    frames_index_sha256: str,
    max_frames_per_preset: int = DEFAULT_MAX_FRAMES,
    batch_size: int = DEFAULT_BATCH_SIZE,
    workers: int | None = None,
    note: str | None = None,
    progress: Progress | None = None,
    log: Log | None = None,
) -> Embeddings:
    """Embed the ok presets of a batch; rows follow `preset_order` (the manifest's), float32 [n, d] of unit length.

    The first `max_frames_per_preset` frames of a preset count. A preset with a frame that is missing or cannot be
    decoded gets no row: it is named in `meta.left_out`. `batch_size` is in images; it is halved, and told to `log`,
    when the device runs out of memory. Neither it nor `workers` changes the result beyond rounding. Nothing is
    written. Raises `UserError` when no preset is ok, none can be read, or one image does not fit on the device.
    """
    if max_frames_per_preset < 1 or batch_size < 1:
        raise UserError(f"maxFramesPerPreset {max_frames_per_preset} and batch {batch_size} must be at least 1.")
    ok = [record for record in map(records.get, preset_order) if isinstance(record, OkRecord)]
    if not ok:
        raise UserError(f"{batch_dir.frames_index} holds no ok preset to embed; look at its failure reasons.")
    started = time.perf_counter()
    accumulator = _Accumulator(model, len(ok), batch_size, log)
    decoders = workers or min(_MAX_DECODERS, usable_cpus())
    with one_thread_an_operation():
        for decoded in decode_presets(
            batch_dir.path,
            ok,
            model.preprocess,
            max_frames=max_frames_per_preset,
            ahead=math.ceil(2 * batch_size / max_frames_per_preset),
            workers=decoders,
        ):
            if decoded.problem is not None:
                accumulator.problems[decoded.row] = decoded.problem
            if accumulator.add(decoded.row, decoded.inputs) and progress is not None:
                progress(decoded.row + 1, len(ok))
        accumulator.flush()
    if progress is not None:
        progress(len(ok), len(ok))
    duration_s = time.perf_counter() - started
    vectors, kept = accumulator.finish()
    left_out = {ok[row].preset_id: problem for row, problem in sorted(accumulator.problems.items())}
    if not kept:
        preset_id, problem = next(iter(left_out.items()))
        raise UserError(
            f"No frame under {batch_dir.frames_dir} could be embedded (e.g. {preset_id}, {problem}); "
            "materialise frames again."
        )
    meta = EmbeddingsMeta(
        **card_for(model.card, max_frames_per_preset).model_dump(),
        generated_at=utc_now(),
        count=len(kept),
        frames=accumulator.frames,
        dtype=model.dtype,
        device=model.device,
        libraries=model.libraries,
        duration_s=round(duration_s, 3),
        images_per_s=round(accumulator.frames / duration_s, 2),
        frames_index_sha256=frames_index_sha256,
        left_out=left_out,
        note=note,
    )
    return Embeddings(vectors, [ok[row].preset_id for row in kept], meta)


def card_for(card: ModelCard, max_frames_per_preset: int) -> ModelCard:
    """Return the card of rows that mean over at most so many frames."""
    return card.model_copy(update={"max_frames_per_preset": max_frames_per_preset})


def is_current(batch_dir: BatchDir, card: ModelCard, frames_index_sha256: str) -> bool:
    """Return whether the files that lie in the batch's folder are what embedding it again would give.

    Files that leave out a preset are never current: its frames may have been mended since.
    """
    try:
        meta = load_embeddings(batch_dir).meta
    except UserError:
        return False
    return meta.card == card and meta.frames_index_sha256 == frames_index_sha256 and not meta.left_out


class _Accumulator:
    """Collects inputs to batches, runs the model, and sums the normalised vectors of each preset's row."""

    def __init__(self, model: EmbeddingModel, rows: int, batch_size: int, log: Log | None) -> None:
        self._model = model
        self._batch_size = max(1, batch_size)
        self._log = log
        self._sums: npt.NDArray[np.float32] = np.zeros((rows, model.card.dim), np.float32)
        self._inputs: list[torch.Tensor] = []
        self._rows: list[int] = []
        self.problems: dict[int, str] = {}
        self.frames = 0

    def add(self, row: int, inputs: Sequence[torch.Tensor]) -> bool:
        """Queue a row's inputs; returns whether the model has run."""
        self._inputs += inputs
        self._rows += [row] * len(inputs)
        ran = False
        while len(self._inputs) >= self._batch_size:
            self._encode_some()
            ran = True
        return ran

    def flush(self) -> None:
        """Run the model on what is queued."""
        while self._inputs:
            self._encode_some()

    def _encode_some(self) -> None:
        import torch

        count = min(self._batch_size, len(self._inputs))
        try:
            vectors = self._model.encode(torch.stack(self._inputs[:count]))
        except torch.OutOfMemoryError:
            self._halve(count)
            return
        rows = self._rows[:count]
        del self._inputs[:count], self._rows[:count]
        self.frames += count
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        sound = np.isfinite(norms[:, 0]) & (norms[:, 0] > 0)
        for position in np.flatnonzero(~sound):
            self.problems.setdefault(rows[position], "the model gave no finite vector for a frame")
        # A row may occur several times in one batch: `+=` would count it once.
        np.add.at(self._sums, np.asarray(rows)[sound], vectors[sound] / norms[sound])

    def _halve(self, count: int) -> None:
        import torch

        if count == 1:
            raise UserError(
                f"The device {self._model.device} has not enough memory for one image; close other programs that use "
                "it, or use device cpu."
            )
        self._batch_size = max(1, count // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if self._log is not None:
            self._log(f"{self._model.device} ran out of memory: batch size is now {self._batch_size} images")

    def finish(self) -> tuple[npt.NDArray[np.float32], list[int]]:
        """Return the unit rows of presets without a problem, and which rows these are."""
        norms = np.linalg.norm(self._sums, axis=1)
        for row in np.flatnonzero(norms == 0):
            self.problems.setdefault(int(row), "its frames' vectors cancel out")
        kept = [row for row in range(len(norms)) if row not in self.problems]
        return self._sums[kept] / norms[kept, None], kept
