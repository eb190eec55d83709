import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aivj_assets.report.pictures import (
    ACCENT,
    GROUND,
    INK,
    PANEL,
    Tile,
    as_markdown_image,
    bar_chart,
    contact_sheet,
    histogram,
    project_2d,
    scatter,
    sectioned_sheet,
)


def decoded(markdown: str) -> Image.Image:
    found = re.fullmatch(r"!\[[^\[\]]*\]\(data:image/webp;base64,([A-Za-z0-9+/=]+)\)", markdown)
    assert found
    return Image.open(io.BytesIO(base64.b64decode(found[1])))


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def bar_heights(image: Image.Image) -> list[int]:
    """Heights in pixels of the runs of accent-coloured columns, from left to right."""
    columns = (np.asarray(image) == ACCENT).all(axis=2).sum(axis=0)
    heights: list[int] = []
    for before, now in zip([0, *columns[:-1]], columns, strict=True):
        if now and not before:
            heights.append(int(now))
        elif now:
            heights[-1] = max(heights[-1], int(now))
    return heights


def test_a_contact_sheet_shows_each_picture_in_its_place(tmp_path: Path) -> None:
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    for number, colour in enumerate(colours):
        Image.new("RGB", (224, 224), colour).save(tmp_path / f"{number}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    items = [(f"{number}.png", f"name {number}") for number in range(3)]
    sheet = contact_sheet(tmp_path, [*items, ("broken.png", "日本 <b>"), ("gone.png", "")], columns=3)
    assert sheet.width >= 3 * 128
    centres = [sheet.getpixel((4 + column * 132 + 64, 4 + 30)) for column in range(3)]
    assert centres == colours
    # Below: the two that cannot be read, drawn as tiles that differ from the ground and from any picture.
    assert sheet.getpixel((4 + 64 + 20, 4 + 93 + 20)) not in [*colours, GROUND]
    assert contact_sheet(tmp_path, []).width > 0


def test_a_tile_without_anything_leaves_its_place_empty(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), (250, 0, 0)).save(tmp_path / "a.png")
    sheet = sectioned_sheet(tmp_path, [("", [Tile("a", "a.png"), Tile(""), Tile("c", "a.png")])], columns=2)
    assert sheet.crop((4 + 132, 4, sheet.width, 4 + 72 + 17)).getcolors() == [((sheet.width - 136) * 89, GROUND)]
    assert sheet.getpixel((4 + 64, 4 + 93 + 30)) == (250, 0, 0)


def test_sections_stand_below_each_other_with_their_headings(tmp_path: Path) -> None:
    for number, colour in enumerate([(250, 0, 0), (0, 250, 0)]):
        Image.new("RGB", (64, 64), colour).save(tmp_path / f"{number}.png")
    words = Tile("broken preset", words="warp shader: undeclared identifier " * 8)
    sections = [("two ok", [Tile("a", "0.png"), Tile("b", "1.png")]), ("black: 0", []), ("failed: 1", [words])]
    sheet = sectioned_sheet(tmp_path, sections, columns=2)
    plain = sectioned_sheet(tmp_path, [("", sections[0][1]), ("", [words])], columns=2)
    assert sheet.height > plain.height
    assert sheet.getpixel((4 + 64, sheet.height - plain.height + 10)) == (250, 0, 0)
    # A row of headings holds the headings' colour, a tile of words its panel and nothing of the picture above.
    rows = np.asarray(sheet)
    inked = [(row == INK).all(axis=1).any() for row in rows]
    runs = sum(now and not before for before, now in zip([False, *inked[:-1]], inked, strict=True))
    assert runs == 2
    last = rows[-90:-20]
    assert (last == PANEL).all(axis=2).sum() > 2000
    assert not ((last[..., 0] > 200) & (last[..., 1] < 50)).any()
    # Words stay inside their tile, however long they are.
    long = sectioned_sheet(tmp_path, [("", [Tile("x", words="w" * 3000), Tile("y", words="")])], columns=2)
    right = np.asarray(long)[6:74, 4 + 128 : 4 + 128 + 4]
    assert (right == GROUND).all()


def test_histogram_bars_stand_for_counts() -> None:
    image = histogram([0.1] * 2 + [0.3] * 4 + [0.5] * 1 + [float("nan")], bins=3, title="Motion", x_label="motion")
    heights = bar_heights(image)
    assert len(heights) == 3
    assert heights[0] / heights[1] == pytest.approx(0.5, abs=0.02)
    assert heights[2] / heights[1] == pytest.approx(0.25, abs=0.02)


def test_a_span_makes_histograms_comparable_and_cuts_nothing_off() -> None:
    narrow, wide = [0.9, 0.91], [0.0, 0.5, 1.0]
    assert np.array_equal(
        np.asarray(histogram(wide, 10, "t", "x")), np.asarray(histogram(wide, 10, "t", "x", span=(0.0, 1.0)))
    )
    assert len(bar_heights(histogram(narrow, 10, "t", "x"))) == 2
    assert len(bar_heights(histogram(narrow, 10, "t", "x", span=(0.0, 1.0)))) == 1
    assert len(bar_heights(histogram([-0.5, *wide], 3, "t", "x", span=(0.0, 1.0)))) == 3


@pytest.mark.parametrize("values", [[], [float("inf")], [0.3] * 5, [0.0], [1e-12, 2e-12], [0.0, 1.0], [-3.0, 1e9]])
def test_histograms_of_odd_values(values: list[float]) -> None:
    assert bar_heights(histogram(values, 20, "t", "x")) or not np.isfinite(values).any()


def test_bars_stand_for_values_in_the_order_given() -> None:
    heights = bar_heights(bar_chart(["a", "b", "c"], [10, 5, 2.5], "Sizes"))
    assert heights[1] / heights[0] == pytest.approx(0.5, abs=0.02)
    assert heights[2] / heights[0] == pytest.approx(0.25, abs=0.02)
    assert len(bar_heights(bar_chart([f"c{number:02d}" for number in range(64)], [9] * 64, "Sizes"))) == 64
    assert bar_chart(["a"], [0], "t").size == bar_chart(["x" * 400], [1], "t").size
    assert bar_chart([], [], "t").width > 0


def test_scatter_keeps_groups_apart_by_colour_and_place() -> None:
    around = np.array([[0.0, 0.0], [1, 1], [1, -1], [-1, 1], [-1, -1]])
    points = np.concatenate([around, around + np.array([10, 0])])
    image = np.asarray(scatter(points, ["c00"] * 5 + ["c01"] * 5, "Map")).astype(int)
    inside = image[60:540, 20:700]
    vivid = inside.max(axis=2) - inside.min(axis=2) > 90
    left, right = inside[:, :340][vivid[:, :340]], inside[:, 340:][vivid[:, 340:]]
    assert len(left) > 20
    assert len(right) > 20
    assert np.abs(left.mean(axis=0) - right.mean(axis=0)).max() > 60
    assert scatter(np.zeros((1, 2)), ["c00"], "one").size == (720, 560)
    assert scatter(np.zeros((0, 2)), [], "none").width > 0


def test_projection_keeps_the_widest_directions_and_repeats() -> None:
    random = np.random.default_rng(1)
    for count in (10, 200):
        rows = random.normal(size=(count, 50)) * 0.01
        rows[:, 7] += np.linspace(-5, 5, count)
        projected = project_2d(rows)
        assert projected.shape == (count, 2)
        assert abs(np.corrcoef(projected[:, 0], rows[:, 7])[0, 1]) > 0.999
        np.testing.assert_array_equal(projected, project_2d(rows.copy()))
    np.testing.assert_array_equal(project_2d(np.ones((1, 5))), [[0, 0]])
    assert project_2d(np.ones((0, 5))).shape == (0, 2)


def test_an_image_fits_into_the_limit_and_decodes_again() -> None:
    plain = as_markdown_image(Image.new("RGB", (640, 360), (10, 200, 30)), alt="a [sheet](x) of <b>\nframes")
    assert decoded(plain).size == (640, 360)
    heavy = as_markdown_image(noise(900, 700), alt="noise")
    assert len(heavy) <= 200_000
    assert decoded(heavy).width > 200
    small = as_markdown_image(noise(800, 600), alt="noise", limit_bytes=5_000)
    assert len(small) <= 5_000
    with pytest.raises(ValueError, match="does not fit"):
        as_markdown_image(noise(100, 100), alt="noise", limit_bytes=50)
