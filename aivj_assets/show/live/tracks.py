"""Music that a person chose: it comes to this machine's own server, is heard here and goes nowhere else."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from aivj_assets.errors import UserError

MAX_AUDIO_BYTES = 2 << 30
_BLOCK_BYTES = 1 << 20
_MAX_NAME = 200
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")


def shown_name(given: str) -> str:
    """Return a file's name as it goes into the log: its last part, one line, at most 200 characters."""
    last = re.split(r"[\\/]", given)[-1]
    printable = "".join(character for character in last if character.isprintable())
    return printable.strip()[:_MAX_NAME] or "track"


@contextmanager
def received(body: BinaryIO, length: int, name: str) -> Iterator[Path]:
    """Store `length` bytes of a request in a temporary file; it is deleted when the block ends.

    Raises `UserError` when it is empty or larger than `MAX_AUDIO_BYTES`, when it ends early, or when there is no room.
    """
    if length <= 0:
        raise UserError(f"{name} is empty: choose a wav, flac, ogg or mp3 file.")
    if length > MAX_AUDIO_BYTES:
        raise UserError(f"{name} is larger than {MAX_AUDIO_BYTES >> 30} GiB: choose a shorter or compressed file.")
    suffix = Path(name).suffix
    with tempfile.TemporaryDirectory(prefix="aivj-show-", ignore_cleanup_errors=True) as folder:
        # Never the name that was given: it may be anything.
        path = Path(folder) / f"track{suffix if _SUFFIX.fullmatch(suffix) else ''}"
        try:
            _store(body, length, path)
        except OSError as error:
            raise UserError(f"{name} cannot be stored in {folder}: {error.strerror or error}.") from None
        yield path


def _store(body: BinaryIO, length: int, path: Path) -> None:
    left = length
    with path.open("wb") as file:
        while left > 0:
            block = body.read(min(_BLOCK_BYTES, left))
            if not block:
                raise UserError("The browser stopped sending the music.")
            file.write(block)
            left -= len(block)


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return (first, last) of a `Range` header over a file of `size` bytes; None: the whole file.

    Raises `ValueError` for a range that lies outside. Only one range is understood, as browsers ask for media.
    """
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", (header or "").strip())
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        wanted = min(int(last), size)
        if wanted == 0:
            raise ValueError("an empty range")
        return size - wanted, size - 1
    if int(first) >= size or (last and int(last) < int(first)):
        raise ValueError("a range outside of the file")
    return int(first), min(int(last), size - 1) if last else size - 1
