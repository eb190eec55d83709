from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from aivj_assets.report.curves import CONTROL, Curve, line_plot
from aivj_assets.report.pictures import ACCENT, INK

KS = [16, 32, 64]
# Below title and legend, above and beside the axes' figures.
PLOT_TOP_PX, PLOT_BOTTOM_PX, PLOT_LEFT_PX = 64, 258, 58


def of_colour(image: Image.Image, colour: tuple[int, int, int], tolerance: int = 2) -> np.ndarray:
    """Return (x, y) of the pixels of a colour inside the plot."""
    pixels = np.asarray(image).astype(int)[PLOT_TOP_PX:PLOT_BOTTOM_PX, PLOT_LEFT_PX:]
    y, x = np.nonzero((np.abs(pixels - np.array(colour)) <= tolerance).all(axis=2))
    return np.stack([x + PLOT_LEFT_PX, y + PLOT_TOP_PX], axis=1)


def test_a_curve_goes_through_its_values_at_even_ratios_of_x() -> None:
    image = line_plot(KS, [Curve("rising", [0.0, 1.0, 4.0])], "T", "k")
    points = of_colour(image, ACCENT)
    left, right = points[:, 0].min(), points[:, 0].max()
    middle = points[np.abs(points[:, 0] - (left + right) / 2) <= 1]
    start, end = points[points[:, 0] <= left + 4][:, 1].mean(), points[points[:, 0] >= right - 4][:, 1].mean()
    # y grows downwards; the value at the middle is a quarter of the way up.
    assert (start - middle[:, 1].mean()) / (start - end) == pytest.approx(0.25, abs=0.03)


def test_a_control_is_grey_and_dashed_and_a_gap_breaks_a_curve() -> None:
    image = line_plot(KS, [Curve("c", [1, 1, 1], is_control=True), Curve("v", [2, float("nan"), 2])], "T", "k")
    # Thin lines are blended with the ground.
    control, value = of_colour(image, CONTROL, tolerance=40), of_colour(image, ACCENT)
    columns = np.unique(control[:, 0])
    assert (np.diff(columns) > 2).sum() > 10
    assert np.ptp(columns) > 500
    # The curve of two values with a gap between them is two dots.
    assert np.diff(np.unique(value[:, 0])).max() > 200


def test_the_marked_x_has_a_line() -> None:
    curves = [Curve("v", [1, 2, 3])]
    marked, plain = (of_colour(line_plot(KS, curves, "T", "k", marked=at), INK) for at in (32, None))
    assert len(plain) == 0
    assert len(np.unique(marked[:, 0])) == 1
    assert np.ptp(marked[:, 1]) > 100


@pytest.mark.parametrize("values", [[1.0], [0.0], [-1e9], [float("nan")]])
def test_plots_of_one_value(values: list[float]) -> None:
    assert line_plot([16], [Curve("v", values)], "T", "k", marked=16).width > 0


def test_equal_and_tiny_values_and_no_curve_have_a_picture() -> None:
    assert of_colour(line_plot(KS, [Curve("v", [0.3] * 3)], "T", "k"), ACCENT).size
    assert of_colour(line_plot(KS, [Curve("v", [1e-12, 2e-12, 3e-12])], "T", "k"), ACCENT).size
    assert line_plot(KS, [], "T", "k").width > 0


@pytest.mark.parametrize(("x", "values"), [([1, 2], [1]), ([2, 1], [1, 1]), ([1, 1], [1, 1]), ([0, 1], [1, 1])])
def test_x_rises_and_has_a_value_each(x: list[float], values: list[float]) -> None:
    with pytest.raises(ValueError, match="x"):
        line_plot(x, [Curve("v", values)], "T", "k")
