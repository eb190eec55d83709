"""Small pictures of what was on screen, on sheets beside the page, and the page's waveform."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from aivj_assets.contracts.audio_timeline import ROW_S
from aivj_assets.show.audio.source import Track

SPRITE_WIDTH_PX, SPRITE_HEIGHT_PX = 192, 108
"""Stored captures are squares and are shown at 16:9, as they were rendered."""
SHEET_COLUMNS, SHEET_ROWS = 8, 8
SPRITES_PER_SHEET = SHEET_COLUMNS * SHEET_ROWS
_QUALITY, _METHOD = 62, 4
_GROUND = (16, 16, 24)
# A whole number of samples at any whole rate, and few enough to hold.
_BLOCK_S = 10.0

Progress = Callable[[int, int], None]


def sheet_name(number: int) -> str:
    """Return the file name of a sheet."""
    return f"sheet-{number:03d}.webp"


def write_sheets(pictures: Sequence[Path | None], folder: Path, *, progress: Progress | None = None) -> list[int]:
    """Draw pictures onto sheets of 64, 8 a row, and return the numbers of those that could not be read.

    The last sheet is as high as its rows. A picture that is missing or broken leaves its place empty.
    """
    unread: list[int] = []
    folder.mkdir(parents=True, exist_ok=True)
    for begin in range(0, len(pictures), SPRITES_PER_SHEET):
        part = pictures[begin : begin + SPRITES_PER_SHEET]
        with Image.new("RGB", sheet_size(len(part)), _GROUND) as sheet:
            for place, path in enumerate(part):
                sprite = read_frame(path, (SPRITE_WIDTH_PX, SPRITE_HEIGHT_PX))
                if sprite is None:
                    unread.append(begin + place)
                else:
                    row, column = divmod(place, SHEET_COLUMNS)
                    sheet.paste(sprite, (column * SPRITE_WIDTH_PX, row * SPRITE_HEIGHT_PX))
                    sprite.close()
                if progress is not None:
                    progress(begin + place + 1, len(pictures))
            sheet.save(folder / sheet_name(begin // SPRITES_PER_SHEET), "WEBP", quality=_QUALITY, method=_METHOD)
    return unread


def sheet_size(count: int) -> tuple[int, int]:
    """Return width and height of a sheet of so many pictures, px."""
    return min(count, SHEET_COLUMNS) * SPRITE_WIDTH_PX, -(-count // SHEET_COLUMNS) * SPRITE_HEIGHT_PX


def read_frame(path: Path | None, size: tuple[int, int]) -> Image.Image | None:
    """Return a capture as RGB of this size; None where there is none that can be read."""
    if path is None:
        return None
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError):
        return None


def peaks_of(track: Track, rows: int) -> npt.NDArray[np.int8]:
    """Return the least and the largest sample of each row of 50 ms, int8 [rows, 2]; the loudest sample is ±127."""
    peaks = np.zeros((rows, 2), dtype=np.float32)
    per_block = round(_BLOCK_S / ROW_S)
    for number, block in enumerate(track.blocks(_BLOCK_S)):
        begin = number * per_block
        edges = np.round(np.arange(per_block) * ROW_S * track.sample_rate_hz).astype(np.int64)
        edges = edges[edges < len(block)][: max(0, rows - begin)]
        if not edges.size:
            break
        peaks[begin : begin + edges.size, 0] = np.minimum.reduceat(block, edges)
        peaks[begin : begin + edges.size, 1] = np.maximum.reduceat(block, edges)
    loudest = float(np.abs(peaks).max(initial=0.0))
    scaled: npt.NDArray[np.int8] = np.round(peaks * (127 / loudest if loudest > 0 else 0)).astype(np.int8)
    return scaled
