import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from aivj_assets.style.appearance import (
    COLOURS,
    FIGURES,
    HEIGHT,
    NEUTRALS,
    WIDTH,
    Picture,
    PresetFrames,
    measure_clusters,
    measure_picture,
    oklch,
    read_picture,
)

Draw = Callable[[ImageDraw.ImageDraw], None]


def measured(draw: Draw, background: str = "black") -> Picture:
    """Draw on a picture of 640 x 360, squeeze it to the stored square, and measure it as a frame is measured."""
    image = Image.new("RGB", (640, 360), background)
    draw(ImageDraw.Draw(image))
    square = image.resize((224, 224), Image.Resampling.BICUBIC)
    return measure_picture(np.asarray(square.resize((WIDTH, HEIGHT), Image.Resampling.BOX)))


def flat(colour: str) -> Picture:
    return measured(lambda draw: None, colour)


def petals(count: int, start_degrees: float = 10) -> Draw:
    def draw(canvas: ImageDraw.ImageDraw) -> None:
        for number in range(count):
            begin = start_degrees + 360 / count * number
            canvas.pieslice((150, 10, 490, 350), begin, begin + 180 / count, fill="white")

    return draw


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ("#ff0000", "red"), ("#800000", "red"), ("#ff8000", "orange"), ("#8b4513", "orange"), ("#ffff00", "yellow"),
        ("#d4af37", "yellow"), ("#aaff00", "lime"), ("#00ff00", "green"), ("#228b22", "green"), ("#008080", "teal"),
        ("#00ffff", "cyan"), ("#0000ff", "blue"), ("#0080ff", "blue"), ("#8000ff", "violet"), ("#ff00ff", "magenta"),
        ("#ff0080", "pink"), ("#ff69b4", "pink"), ("#000000", "black"), ("#808080", "gray"), ("#ffffff", "white"),
    ],
)  # fmt: skip
def test_colours_have_the_names_that_a_person_gives_them(colour: str, name: str) -> None:
    colours = flat(colour).colours
    assert max(colours, key=lambda key: colours[key]) == name
    assert set(colours) == {*COLOURS, *NEUTRALS}


def test_oklch_of_the_primaries() -> None:
    # Ottosson's own figures for sRGB red, green and blue, from their OKLab coordinates.
    lightness, chroma, hue = oklch(np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8))
    np.testing.assert_allclose(lightness, [0.62796, 0.86644, 0.45201], atol=1e-4)
    np.testing.assert_allclose(chroma, [0.25768, 0.29483, 0.31321], atol=1e-4)
    np.testing.assert_allclose(hue, [29.23, 142.50, 264.05], atol=0.05)


def test_a_thin_red_line_on_black_is_red() -> None:
    line = measured(lambda draw: draw.line((0, 100, 640, 300), fill="#ff0000", width=12))
    assert line.colours["red"] > 3 * max(line.colours[name] for name in COLOURS if name != "red")
    assert line.figures["chroma"] > 0.15
    assert line.figures["darkness"] > 0.8
    assert line.figures["luma"] < 0.05


def test_light_and_contrast() -> None:
    assert flat("white").figures["luma"] == pytest.approx(1)
    assert flat("#00ff00").figures["luma"] == pytest.approx(0.7152, abs=0.001)
    half = measured(lambda draw: draw.rectangle((0, 0, 319, 359), fill="white"))
    assert half.figures["contrast"] == pytest.approx(0.5, abs=0.02)
    assert flat("gray").figures["contrast"] == pytest.approx(0, abs=1e-6)


def test_many_hues_are_told_from_one_and_from_gray() -> None:
    def stripes(draw: ImageDraw.ImageDraw) -> None:
        for number, colour in enumerate(("red", "orange", "yellow", "lime", "cyan", "blue", "magenta", "#8000ff")):
            draw.rectangle((number * 80, 0, number * 80 + 79, 359), fill=colour)

    assert measured(stripes).figures["hue_variety"] > 0.7
    assert flat("blue").figures["hue_variety"] < 0.05
    assert flat("gray").figures["hue_variety"] == 0


def test_mirror_symmetry_is_told_by_its_axis() -> None:
    def wings(draw: ImageDraw.ImageDraw) -> None:
        draw.polygon([(40, 30), (200, 80), (120, 200)], fill="white")
        draw.polygon([(599, 30), (439, 80), (519, 200)], fill="white")

    def one_wing(draw: ImageDraw.ImageDraw) -> None:
        draw.polygon([(40, 30), (200, 80), (120, 200)], fill="white")

    both, one = measured(wings).figures, measured(one_wing).figures
    assert both["left_right"] > 0.95
    assert both["top_bottom"] < 0.2
    assert one["left_right"] < 0.1


@pytest.mark.parametrize("count", [3, 4, 5, 6, 8])
def test_petals_turn_into_themselves(count: int) -> None:
    assert measured(petals(count)).figures["rotation"] > 0.8


@pytest.mark.parametrize("count", [1, 2, 7])
def test_what_has_no_turn_that_is_looked_for_has_little_rotation(count: int) -> None:
    assert measured(petals(count)).figures["rotation"] < 0.2


def test_circles_of_the_squeezed_picture_are_circles_again() -> None:
    def rings(draw: ImageDraw.ImageDraw) -> None:
        for radius in range(160, 0, -40):
            fill = "white" if radius % 80 else "black"
            draw.ellipse((320 - radius, 180 - radius, 320 + radius, 180 + radius), fill=fill)

    def ovals(draw: ImageDraw.ImageDraw) -> None:
        # What circles of the square would be.
        for radius in range(160, 0, -40):
            fill = "white" if radius % 80 else "black"
            draw.ellipse((320 - radius * 16 / 9, 180 - radius, 320 + radius * 16 / 9, 180 + radius), fill=fill)

    assert measured(rings).figures["rings"] > 0.8
    assert measured(ovals).figures["rings"] < measured(rings).figures["rings"] - 0.3


def test_lines_have_a_direction_and_a_disk_has_none() -> None:
    def level(draw: ImageDraw.ImageDraw) -> None:
        for y in range(0, 360, 40):
            draw.rectangle((0, y, 639, y + 19), fill="white")

    def upright(draw: ImageDraw.ImageDraw) -> None:
        for x in range(0, 640, 40):
            draw.rectangle((x, 0, x + 19, 359), fill="white")

    assert measured(level).figures["direction"] > 0.9
    assert measured(upright).figures["direction"] < -0.9
    disk = measured(lambda draw: draw.ellipse((200, 60, 440, 300), fill="white"))
    assert abs(disk.figures["direction"]) < 0.05


def test_a_glow_and_a_hole_in_the_middle() -> None:
    glow = measured(lambda draw: draw.ellipse((220, 80, 420, 280), fill="white"))
    hole = measured(lambda draw: draw.ellipse((220, 80, 420, 280), fill="black"), "white")
    assert glow.figures["center"] > 0.5
    assert hole.figures["center"] < -0.5


def test_fine_texture_is_told_from_broad_shapes() -> None:
    def dots(draw: ImageDraw.ImageDraw) -> None:
        for x in range(0, 640, 24):
            for y in range(0, 360, 24):
                draw.rectangle((x, y, x + 11, y + 11), fill="white")

    broad = measured(lambda draw: draw.rectangle((0, 0, 319, 359), fill="white")).figures
    fine = measured(dots).figures
    assert fine["fineness"] > 0.5
    assert broad["fineness"] < 0.2
    assert fine["detail"] > 5 * broad["detail"]


@pytest.mark.parametrize("colour", ["black", "white", "#7f0000"])
def test_an_empty_picture_has_finite_figures_and_no_symmetry_to_speak_of(colour: str) -> None:
    figures = flat(colour).figures
    assert set(figures) == set(FIGURES)
    assert all(math.isfinite(value) for value in figures.values())
    assert all(figures[name] == pytest.approx(0, abs=1e-6) for name in ("left_right", "rotation", "rings", "fineness"))


def write_frame(path: Path, colour: str = "blue", mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (224, 224), colour).save(path)
    return path


@pytest.mark.parametrize(
    ("suffix", "mode"), [("webp", "RGB"), ("png", "P"), ("png", "RGBA"), ("png", "L"), ("jpg", "L")]
)
def test_frames_of_every_kind_are_read(tmp_path: Path, suffix: str, mode: str) -> None:
    rgb = read_picture(write_frame(tmp_path / f"frame.{suffix}", "white", mode))
    assert isinstance(rgb, np.ndarray)
    assert rgb.shape == (HEIGHT, WIDTH, 3)
    assert rgb.min() >= 250


def test_frames_that_cannot_be_used_are_told_and_never_raise(tmp_path: Path) -> None:
    whole = write_frame(tmp_path / "whole.webp").read_bytes()
    (tmp_path / "cut.webp").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.webp").write_bytes(b"")
    (tmp_path / "text.webp").write_text("<html>")
    Image.new("RGB", (8, 8)).save(tmp_path / "frame.bmp")
    (tmp_path / "folder.webp").mkdir()
    for name in ("cut.webp", "empty.webp", "text.webp", "frame.bmp"):
        problem = read_picture(tmp_path / name)
        assert isinstance(problem, str), name
        assert problem.startswith("cannot be decoded")
    assert read_picture(tmp_path / "folder.webp") == "is no file"
    assert read_picture(tmp_path / "nowhere.webp") == "missing on disk"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes in folders")
@pytest.mark.timeout(10)
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "frame.webp")
    assert read_picture(tmp_path / "frame.webp") == "is no file"


def test_bad_frames_are_skipped_and_a_cluster_without_any_says_why(tmp_path: Path) -> None:
    good = write_frame(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG")
    looks = measure_clusters(
        {
            "c00": [
                PresetFrames("a", [tmp_path / "bad.png", good], 0.25),
                PresetFrames("b", [tmp_path / "bad.png"], 0.5),
                PresetFrames("c", [good]),
            ],
            "c01": [PresetFrames("d", [tmp_path / "bad.png", tmp_path / "gone.png"])],
            "c02": [],
        }
    )
    assert looks["c00"].presets[0]["motion"] == 0.25
    assert len(looks["c00"].presets) == 2
    assert math.isnan(looks["c00"].presets[1]["motion"])
    assert looks["c00"].skipped_frames == 2
    assert looks["c00"].problem is None
    assert looks["c01"].presets == ()
    assert looks["c01"].problem is not None
    assert looks["c01"].problem.startswith("none of 2 frames can be read (d, bad.png: cannot be decoded")
    assert looks["c02"].problem == "it was given no frames"


def test_a_preset_is_the_mean_of_its_frames(tmp_path: Path) -> None:
    frames = [write_frame(tmp_path / "a.png", "white"), write_frame(tmp_path / "b.png", "black")]
    (preset,) = measure_clusters({"c00": [PresetFrames("a", frames)]})["c00"].presets
    assert preset["luma"] == pytest.approx(0.5)
    assert preset["black"] == pytest.approx(0.5)
