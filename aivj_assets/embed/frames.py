"""Reading the captured images of presets: a frame's bytes and digest, then the picture that a model takes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from aivj_assets.contracts.frames_index import OkRecord
from aivj_assets.embed.model import Pixels

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class FrameFile:
    """The file of a preset's frame as it is stored; `row` is the preset's place, `position` the frame's."""

    row: int
    position: int
    name: str
    sha1: bytes
    data: bytes


@dataclass(frozen=True)
class FrameProblem:
    """Why a frame of the preset in place `row` cannot be used."""

    row: int
    text: str


def read_frame(folder: Path, row: int, position: int, name: str) -> FrameFile | FrameProblem:
    """Read a frame's file and its SHA-1; `name` is relative to the batch's folder. Never raises for a bad file."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or ":" in name or "\\" in name or "\0" in name:
        return FrameProblem(row, f"{path.name}: the path leaves the batch's folder")
    try:
        data = (folder / path).read_bytes()
    except FileNotFoundError:
        return FrameProblem(row, f"{path.name}: missing on disk")
    except OSError as error:
        return FrameProblem(row, f"{path.name}: cannot be read ({error.strerror or type(error).__name__})")
    if not data:
        return FrameProblem(row, f"{path.name}: the file is empty")
    return FrameFile(row, position, path.name, hashlib.sha1(data, usedforsecurity=False).digest(), data)


def decode_frame(frame: FrameFile, prepare: Callable[[Image.Image], Pixels]) -> Pixels | FrameProblem:
    """Decode a frame to the model's picture, uint8 [size, size, 3]. Never raises for a damaged image."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(frame.data)) as image:
            return prepare(image)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        # Pillow's decoders answer damaged files with any of these.
        reason = str(error).partition(" <")[0] or type(error).__name__
        return FrameProblem(frame.row, f"{frame.name}: cannot be decoded ({reason})")


def frame_names(records: Sequence[OkRecord], max_frames: int) -> Iterator[tuple[int, int, str]]:
    """Yield (row, position, name) of every frame that counts, in order."""
    for row, record in enumerate(records):
        for position, name in enumerate(record.frames[:max_frames]):
            yield row, position, name


def frames_state(folder: Path, records: Sequence[OkRecord], max_frames: int) -> str:
    """Return a digest over the frames' names, sizes and times of change: whether their contents need a look.

    Half a million files take seconds; reading them takes minutes.
    """
    digest = hashlib.sha256()
    for _, _, name in frame_names(records, max_frames):
        try:
            stat = (folder / name).stat()
        except (OSError, ValueError):
            digest.update(f"{name}\0-\n".encode())
        else:
            digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def sample_frames(
    folder: Path, records: Sequence[OkRecord], prepare: Callable[[Image.Image], Pixels], count: int
) -> list[Pixels]:
    """Return the first frames of up to `count` presets, spread evenly, prepared; those that cannot be read left out."""
    step = max(1, len(records) // count)
    pictures = []
    for row in range(0, len(records), step):
        frame = read_frame(folder, row, 0, records[row].frames[0]) if records[row].frames else None
        picture = decode_frame(frame, prepare) if isinstance(frame, FrameFile) else None
        if picture is not None and not isinstance(picture, FrameProblem):
            pictures.append(picture)
    return pictures[:count]
