"""Pictures of a batch as the review page shows them: copies of one capture, strips of all captures of a preset."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image, UnidentifiedImageError

from aivj_assets.contracts.frames_index import OkRecord
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir

STRIPS_NAME = "strips"
STRIP_TILE_PX = (192, 108)
"""One capture in a strip: 16:9, as it was rendered."""
_MOST_CAPTURES = 24
_STRIP_QUALITY = 70
_MOST_THREADS = 4


@dataclass(frozen=True)
class Strip:
    """All captures of a preset side by side; `dest` is below `qa-samples/`."""

    dest: str
    captures: int


def frame_path(folder: BatchDir, record: OkRecord, rel: str) -> Path:
    """Return where a frame lies; raises `UserError` when that is outside the batch."""
    source = folder.path.joinpath(*PurePosixPath(rel).parts)
    # The index may come from another tool: a frame outside the batch's folder is none.
    if not source.resolve().is_relative_to(folder.path.resolve()):
        raise UserError(
            f"frame '{rel}' of preset '{record.preset_id}' lies outside the batch; materialise frames again."
        )
    return source


def copy_frame(folder: BatchDir, record: OkRecord, rel: str, target: Path) -> None:
    """Copy a frame as it is; raises `UserError` when it is missing."""
    source = frame_path(folder, record, rel)
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError:
        raise UserError(f"{source} is missing on disk; materialise frames again.") from None


def write_strips(folder: BatchDir, new: Path, records: Iterable[OkRecord]) -> dict[str, Strip]:
    """Write `strips/<idHash>.webp` below `new` for each preset; returns them by preset id.

    Captures are stretched to `STRIP_TILE_PX`; of more than 24, 24 are taken at even distances. One that cannot be
    decoded is black.
    """
    (new / STRIPS_NAME).mkdir()

    def write(record: OkRecord) -> tuple[str, Strip]:
        captures = _some(record.frames)
        dest = f"{STRIPS_NAME}/{record.id_hash}.webp"
        sources = [frame_path(folder, record, rel) for rel in captures]
        _side_by_side(sources).save(new / dest, "WEBP", quality=_STRIP_QUALITY, method=2)
        return record.preset_id, Strip(dest, len(captures))

    # Pillow decodes, scales and encodes without the interpreter's lock.
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as threads:
        return dict(threads.map(write, records))


def _some(frames: list[str]) -> list[str]:
    if len(frames) <= _MOST_CAPTURES:
        return frames
    return [frames[place * (len(frames) - 1) // (_MOST_CAPTURES - 1)] for place in range(_MOST_CAPTURES)]


def _side_by_side(sources: list[Path]) -> Image.Image:
    width, height = STRIP_TILE_PX
    strip = Image.new("RGB", (width * len(sources), height))
    for place, source in enumerate(sources):
        try:
            with Image.open(source) as picture:
                strip.paste(picture.convert("RGB").resize(STRIP_TILE_PX, Image.Resampling.BILINEAR), (place * width, 0))
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
            continue
    return strip
