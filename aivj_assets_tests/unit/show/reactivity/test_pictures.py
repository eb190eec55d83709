from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from aivj_assets.errors import UserError
from aivj_assets.show.reactivity.pictures import movement


def written(folder: Path, colours: list[tuple[int, int, int]]) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{number}.png" for number in range(len(colours))]
    for path, colour in zip(paths, colours, strict=True):
        Image.new("RGB", (8, 8), colour).save(path)
    return paths


def test_figures_are_mean_gray_differences_to_the_picture_before_and_to_silence(tmp_path: Path) -> None:
    silence = written(tmp_path / "silence", [(0, 0, 0)] * 3)
    flash = written(tmp_path / "flash", [(0, 0, 0), (255, 255, 255), (0, 255, 0)])
    found = movement({"flash": flash, "same": silence}, silence)
    assert found.differences["flash"] == pytest.approx([1, 1 - 0.7152], abs=1e-6)
    assert not found.differences["same"].any()
    assert not found.silence.any()
    assert found.difference == pytest.approx((0 + 1 + 0.7152) / 3 / 2, abs=1e-6)


def test_a_picture_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    silence = written(tmp_path / "silence", [(0, 0, 0)] * 2)
    silence[1].write_bytes(silence[1].read_bytes()[:20])
    with pytest.raises(UserError, match=r"1\.png is no picture any more .*: delete it and run again"):
        movement({"a": silence}, silence)
