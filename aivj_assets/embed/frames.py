"""Reading the captured images of presets: a frame's bytes and digest, then the picture that a model takes."""

from __future__ import annotations

import hashlib
import io
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from aivj_assets.contracts.frames_index import OkRecord
from aivj_assets.embed.model import Pixels

if TYPE_CHECKING:
    from PIL import Image

IMAGE_FORMATS = ("WEBP", "PNG", "JPEG")
"""What frames are stored as. Pillow's other decoders are not tried: some start programs."""
MAX_FILE_BYTES = 2**26
MAX_PIXELS = 2**25
"""As many as a picture of 8K has: a few hundred kilobytes may claim many times more."""
MAX_ASPECT_RATIO = 100
"""Longer side over shorter: resizing makes the shorter one the model's, and the longer one as much larger."""
UNREADABLE = "cannot be read"
"""In the reason for a file that is there and that the system does not let be read: another time it may."""


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
    data = _contents(folder / path)
    if isinstance(data, str):
        return FrameProblem(row, f"{path.name}: {data}")
    return FrameFile(row, position, path.name, hashlib.sha1(data, usedforsecurity=False).digest(), data)


def _contents(path: Path) -> bytes | str:
    """Return a file's bytes, or why they cannot be used."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            # A pipe would be waited for, and a device has no end.
            return "is no file"
        if status.st_size > MAX_FILE_BYTES:
            return f"{status.st_size} bytes, more than {MAX_FILE_BYTES}"
        return path.read_bytes() or "the file is empty"
    except FileNotFoundError:
        return "missing on disk"
    except OSError as error:
        return f"{UNREADABLE} ({error.strerror or type(error).__name__})"


def decode_frame(frame: FrameFile, prepare: Callable[[Image.Image], Pixels]) -> Pixels | FrameProblem:
    """Decode a frame to the model's picture, uint8 [size, size, 3]. Never raises for a damaged image."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(frame.data), formats=IMAGE_FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS or max(width, height) > MAX_ASPECT_RATIO * min(width, height):
                return FrameProblem(frame.row, f"{frame.name}: cannot be decoded ({width} x {height} pixels)")
            return prepare(_eight_bit(image))
    except Exception as error:  # noqa: BLE001 - a damaged file makes a decoder raise whatever it happens to meet
        reason = str(error).partition(" <")[0].partition("\n")[0] or type(error).__name__
        return FrameProblem(frame.row, f"{frame.name}: cannot be decoded ({reason})")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Return a picture of 16 bits of gray as one of 8; Pillow's own conversion turns all but the darkest white."""
    if not image.mode.startswith("I"):
        return image
    from PIL import Image as Pillow

    return Pillow.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))


def frame_names(records: Sequence[OkRecord], max_frames: int) -> Iterator[tuple[int, int, str]]:
    """Yield (row, position, name) of every frame that counts, in order."""
    for row, record in enumerate(records):
        for position, name in enumerate(record.frames[:max_frames]):
            yield row, position, name


def frames_state(folder: Path, records: Sequence[OkRecord], max_frames: int) -> str:
    """Return a digest over the frames' names, sizes and times of change: whether their contents need a look.

    Half a million files take seconds; reading them takes minutes. A copy that takes the time of its original along is
    told by the time at which the system itself noted the change (on Windows: at which the file was made).
    """
    digest = hashlib.sha256()
    for _, _, name in frame_names(records, max_frames):
        try:
            status = (folder / name).stat()
        except (OSError, ValueError):
            digest.update(f"{name}\0-\n".encode())
        else:
            digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}\n".encode())
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
