"""Figures against values computed by hand, and images that are not what was asked for."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from aivj_assets.render.images import BadImageError, decode_image, gray, measure_images, measure_with_motion


def solid(red: int, green: int, blue: int, side: int = 4) -> np.ndarray:
    return np.full((side, side, 3), (red, green, blue), dtype=np.uint8)


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def test_gray_weighs_the_channels_as_rec_709() -> None:
    assert gray(solid(255, 0, 0))[0, 0] == pytest.approx(0.2126)
    assert gray(solid(0, 255, 0))[0, 0] == pytest.approx(0.7152)
    assert gray(solid(0, 0, 255))[0, 0] == pytest.approx(0.0722)
    assert gray(solid(255, 255, 255))[0, 0] == pytest.approx(1.0)


def test_luma_and_motion_of_a_pulse() -> None:
    # reference black; captures: white, black, mid gray 51/255 = 0.2
    figures = measure_images([solid(255, 255, 255), solid(0, 0, 0), solid(51, 51, 51)], solid(0, 0, 0))
    assert figures.avg_luma == pytest.approx((1 + 0 + 0.2) / 3)
    assert figures.motion == pytest.approx((1 + 1 + 0.2) / 3)
    assert figures.luma_std == pytest.approx(0)
    assert figures.flags == ("flat",)


def test_motion_is_per_pixel_not_of_the_means() -> None:
    left, right = solid(0, 0, 0), solid(0, 0, 0)
    left[:, :2], right[:, 2:] = 255, 255
    figures = measure_images([right], left)
    assert figures.motion == pytest.approx(1.0)
    assert figures.avg_luma == pytest.approx(0.5)
    assert figures.luma_std == pytest.approx(0.5)
    assert figures.flags == ()


def test_one_capture_has_a_motion() -> None:
    assert measure_images([solid(51, 51, 51)], solid(0, 0, 0)).motion == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("captures", "reference", "flags"),
    [
        ([solid(0, 0, 0)] * 2, solid(0, 0, 0), ("black", "flat", "static")),
        ([solid(2, 2, 2)] * 2, solid(9, 9, 9), ("black", "flat")),
        ([solid(2, 2, 2), solid(4, 4, 4)], solid(9, 9, 9), ("flat",)),  # one frame is bright enough
        ([solid(200, 0, 0)] * 2, solid(200, 0, 0), ("flat", "static")),
    ],
)
def test_flags(captures: list[np.ndarray], reference: np.ndarray, flags: tuple[str, ...]) -> None:
    assert measure_images(captures, reference).flags == flags


def test_white_never_exceeds_one() -> None:
    figures = measure_images([solid(255, 255, 255)] * 3, solid(0, 0, 0))
    assert figures.avg_luma <= 1
    assert figures.motion <= 1


def test_a_pages_own_figures_are_kept() -> None:
    figures = measure_with_motion([solid(0, 0, 0)], 0.25, 0.5)
    assert (figures.avg_luma, figures.motion) == (0.25, 0.5)
    assert figures.flags == ("black", "flat")


@pytest.mark.parametrize(
    ("mime", "image_format"), [("image/webp", "WEBP"), ("image/png", "PNG"), ("image/jpeg", "JPEG")]
)
def test_decoding_gives_the_stored_pixels(mime: str, image_format: str) -> None:
    data = encoded(Image.fromarray(solid(128, 128, 128, 16)), image_format)
    image = decode_image(data, mime, 16)
    assert image.shape == (16, 16, 3)
    assert abs(int(image[3, 3, 0]) - 128) <= 2


def test_alpha_is_dropped() -> None:
    image = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    assert decode_image(encoded(image, "PNG"), "image/png", 8)[0, 0].tolist() == [10, 20, 30]


def bad_images() -> list[tuple[str, bytes, str]]:
    square = Image.new("RGB", (8, 8))
    animated = encoded(
        square, "WEBP", save_all=True, append_images=[Image.new("RGB", (8, 8), (255, 0, 0))], lossless=True
    )
    return [
        ("other size", encoded(Image.new("RGB", (9, 8)), "WEBP"), "9x8 pixels, not 8x8"),
        ("other format", encoded(square, "PNG"), "no image/webp"),
        ("animated", animated, "animated"),
        ("torn", encoded(Image.effect_noise((8, 8), 50).convert("RGB"), "WEBP", lossless=True)[:-40], "no image/webp"),
        ("nothing", b"", "0 bytes"),
        ("rubbish", b"RIFF\x00\x00\x00\x00WEBPxxxx", "no image/webp"),
        ("too large", b"x" * 1_000_000, "1000000 bytes"),
    ]


@pytest.mark.parametrize(("data", "says"), [case[1:] for case in bad_images()], ids=[case[0] for case in bad_images()])
def test_bad_images_are_refused(data: bytes, says: str) -> None:
    with pytest.raises(BadImageError, match=says):
        decode_image(data, "image/webp", 8)
