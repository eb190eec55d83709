"""Reading the captured images of presets ahead of the model, a few at a time, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from aivj_assets.contracts.frames_index import OkRecord

if TYPE_CHECKING:
    import torch
    from PIL import Image


@dataclass(frozen=True)
class DecodedPreset:
    """The model inputs of one preset, or why one of its frames cannot be read."""

    row: int
    inputs: list[torch.Tensor]
    problem: str | None = None


def decode_presets(
    folder: Path,
    records: Sequence[OkRecord],
    preprocess: Callable[[Image.Image], torch.Tensor],
    *,
    max_frames: int,
    ahead: int,
    workers: int,
) -> Iterator[DecodedPreset]:
    """Yield every record's first `max_frames` frames, preprocessed, in the order of the records.

    At most `ahead` presets are decoded before they are asked for, so memory does not grow with the batch.
    """

    def decode(row: int) -> DecodedPreset:
        inputs = []
        for name in records[row].frames[:max_frames]:
            outcome = _decode_frame(folder, name, preprocess)
            if isinstance(outcome, str):
                return DecodedPreset(row, [], f"{PurePosixPath(name).name}: {outcome}")
            inputs.append(outcome)
        return DecodedPreset(row, inputs)

    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[DecodedPreset]] = deque()
        try:
            for row in range(len(records)):
                waiting.append(pool.submit(decode, row))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _decode_frame(folder: Path, name: str, preprocess: Callable[[Image.Image], torch.Tensor]) -> torch.Tensor | str:
    from PIL import Image

    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or ":" in name or "\\" in name:
        return "the path leaves the batch's folder"
    try:
        with Image.open(folder / path) as image:
            return preprocess(image)
    except FileNotFoundError:
        return "missing on disk"
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        # Pillow's decoders answer damaged files with any of these.
        return f"cannot be decoded ({str(error).partition(' <')[0] or type(error).__name__})"
