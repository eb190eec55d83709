"""A frame's file becomes the model's picture, or a reason; never an exception, never much memory."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aivj_assets.contracts.frames_index import FrameMetrics, OkRecord
from aivj_assets.embed import frames
from aivj_assets.embed.embed import _window_for
from aivj_assets.embed.frames import FrameFile, FrameProblem, decode_frame, frames_state, read_frame
from aivj_assets.embed.model import Pixels

NAME = "frame-000.webp"


def encoded(image: Image.Image, format_: str) -> bytes:
    target = io.BytesIO()
    image.save(target, format_)
    return target.getvalue()


def small(image: Image.Image) -> Pixels:
    return np.asarray(image.convert("RGB").resize((8, 8)), dtype=np.uint8)


def outcome(data: bytes) -> Pixels | str:
    found = decode_frame(FrameFile(0, 0, NAME, b"", data), small)
    return found.text if isinstance(found, FrameProblem) else found


@pytest.mark.parametrize(
    ("size", "format_"),
    [((7000, 7000), "PNG"), ((1, 16_000), "WEBP"), ((60_000, 2), "PNG")],
)
def test_a_small_file_that_claims_a_huge_picture_is_a_reason(size: tuple[int, int], format_: str) -> None:
    data = encoded(Image.new("RGB" if format_ == "WEBP" else "1", size), format_)
    assert len(data) < 200_000
    assert outcome(data) == f"{NAME}: cannot be decoded ({size[0]} x {size[1]} pixels)"
    assert isinstance(outcome(encoded(Image.new("RGB", (300, 10)), format_)), np.ndarray)


def test_formats_that_frames_never_have_are_not_decoded() -> None:
    for format_ in ("TIFF", "GIF", "BMP", "EPS"):
        assert "cannot identify" in str(outcome(encoded(Image.new("RGB", (8, 8)), format_)))


def test_whatever_a_decoder_raises_is_a_reason() -> None:
    def fail(_image: Image.Image) -> Pixels:
        raise NotImplementedError("no such variant\nof the format")

    found = decode_frame(FrameFile(3, 0, NAME, b"", encoded(Image.new("RGB", (8, 8)), "PNG")), fail)
    assert found == FrameProblem(3, f"{NAME}: cannot be decoded (no such variant)")


def test_sixteen_bits_of_gray_keep_their_tones() -> None:
    tones = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040
    deep, plain = Image.fromarray(tones), Image.fromarray((tones >> 8).astype(np.uint8))
    np.testing.assert_array_equal(outcome(encoded(deep, "PNG")), outcome(encoded(plain, "PNG")))


def test_only_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    makers: list[Callable[[Path], object]] = [Path.mkdir]
    if os.name != "nt":
        makers.append(os.mkfifo)
    for make in makers:
        make(tmp_path / NAME)
        assert read_frame(tmp_path, 0, 0, NAME) == FrameProblem(0, f"{NAME}: is no file")
        (tmp_path / NAME).rmdir() if make is Path.mkdir else (tmp_path / NAME).unlink()
    (tmp_path / NAME).write_bytes(b"123456")
    assert isinstance(read_frame(tmp_path, 0, 0, NAME), FrameFile)
    monkeypatch.setattr(frames, "MAX_FILE_BYTES", 5)
    assert read_frame(tmp_path, 0, 0, NAME) == FrameProblem(0, f"{NAME}: 6 bytes, more than 5")


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps no time at which a file's description changed")
def test_other_bytes_of_the_same_size_and_time_are_noticed(tmp_path: Path) -> None:
    record = OkRecord(
        preset_id="p", rel_path="p", file_path="p", id_hash="0" * 16, frames=[NAME],
        metrics=FrameMetrics(avg_luma=0.5, motion=0.1),
    )  # fmt: skip
    path = tmp_path / NAME
    path.write_bytes(b"one")
    before = path.stat()
    state = frames_state(tmp_path, [record], 3)
    assert frames_state(tmp_path, [record], 3) == state
    path.write_bytes(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert frames_state(tmp_path, [record], 3) != state


def test_fewer_large_frames_are_held_in_memory() -> None:
    def window(size_bytes: int) -> int:
        return _window_for([FrameFile(0, 0, NAME, b"", bytes(size_bytes)), FrameProblem(1, "missing")])

    assert window(20_000) == 768
    assert window(3_000_000) == 22
    assert window(60_000_000) == 16
    assert _window_for([FrameProblem(1, "missing")]) == 768
