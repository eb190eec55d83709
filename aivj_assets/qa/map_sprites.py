"""Sprite sheets of the style map: a thumbnail of every preset, so that no page ever loads 130,000 files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from PIL import Image, UnidentifiedImageError

SPRITE_PX = 32
"""Side of a thumbnail. Stored captures are squares and are shown at 16:9, as they were rendered."""
SHEET_COLUMNS = 64
SPRITES_PER_SHEET = SHEET_COLUMNS * SHEET_COLUMNS

_QUALITY = 50
_METHOD = 4
_GROUND = (16, 16, 24)
_THREADS = 4

Progress = Callable[[int, int], None]


def write_sheets(
    pictures: Sequence[Path | None],
    sheet_path: Callable[[int], Path],
    *,
    progress: Progress | None = None,
) -> list[int]:
    """Draw the pictures onto sheets of 4096, 64 a row, and return those that could not be read (their numbers).

    `sheet_path` gives the place of a sheet by its number. The last sheet is as high as its rows. A picture that is
    missing or broken leaves its place empty. `progress` hears (drawn, all) after each row.
    """
    unread: list[int] = []
    tell = progress or (lambda _done, _total: None)
    with ThreadPoolExecutor(_THREADS) as workers:
        for begin in range(0, len(pictures), SPRITES_PER_SHEET):
            part = pictures[begin : begin + SPRITES_PER_SHEET]
            rows = -(-len(part) // SHEET_COLUMNS)
            size = (min(len(part), SHEET_COLUMNS) * SPRITE_PX, rows * SPRITE_PX)
            with Image.new("RGB", size, _GROUND) as sheet:
                for first in range(0, len(part), SHEET_COLUMNS):
                    row = part[first : first + SHEET_COLUMNS]
                    for column, sprite in enumerate(workers.map(_sprite, row)):
                        if sprite is None:
                            unread.append(begin + first + column)
                            continue
                        with closing(sprite):
                            sheet.paste(sprite, (column * SPRITE_PX, first // SHEET_COLUMNS * SPRITE_PX))
                    tell(begin + first + len(row), len(pictures))
                sheet.save(sheet_path(begin // SPRITES_PER_SHEET), "WEBP", quality=_QUALITY, method=_METHOD)
    return unread


def _sprite(path: Path | None) -> Image.Image | None:
    if path is None:
        return None
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB").resize((SPRITE_PX, SPRITE_PX), Image.Resampling.BOX)
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError):
        return None
