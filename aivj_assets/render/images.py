"""Captured images: verifying what a page returned, and the figures over them (CONTRACTS: Metrics).

Belongs here: bytes in, figures out. Does not belong here: storing them, talking to a page.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from aivj_assets.contracts.frames_index import GRAY_WEIGHTS, picture_flags
from aivj_assets.render.page_calls import max_image_bytes

_PILLOW_FORMATS = {"image/webp": "WEBP", "image/png": "PNG", "image/jpeg": "JPEG"}

STATIC_MAX_MOTION = 0.5 / 255
"""`static`: `motion` is below this: less than half a step of 8 bits on average."""


class BadImageError(ValueError):
    """An image is not what was asked for; the text says what it is."""


@dataclass(frozen=True)
class ImageFigures:
    """Figures over a preset's captures; all in 0..1."""

    avg_luma: float
    """Mean gray over all captures."""
    motion: float
    """Mean over captures of mean |gray - previous gray|."""
    luma_std: float
    """Mean over captures of the standard deviation of gray within the image."""
    flags: tuple[str, ...]
    """Of `black`, `flat`, `static`: what a person would want to look at."""


def decode_image(data: bytes, mime: str, out_size: int) -> NDArray[np.uint8]:
    """Return an encoded image as RGB, uint8 [out_size, out_size, 3]; alpha is dropped.

    Raises `BadImageError` unless the bytes are one whole still image of that format and exactly that size.
    """
    limit_bytes = max_image_bytes(out_size)
    if not data or len(data) > limit_bytes:
        raise BadImageError(f"an image of {len(data)} bytes (at most {limit_bytes})")
    try:
        with Image.open(io.BytesIO(data), formats=[_PILLOW_FORMATS[mime]]) as image:
            if image.size != (out_size, out_size):
                raise BadImageError(f"an image of {image.width}x{image.height} pixels, not {out_size}x{out_size}")
            if getattr(image, "n_frames", 1) != 1:
                raise BadImageError("an animated image")
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, BadImageError):
            raise
        raise BadImageError(f"no {mime}: {str(error)[:200]}") from None


def gray(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return 0.2126 R + 0.7152 G + 0.0722 B of an RGB image, float64 [height, width] in 0..1."""
    weighted: NDArray[np.float64] = (image @ np.array(GRAY_WEIGHTS)) / 255.0
    return weighted


def measure_images(captures: Sequence[NDArray[np.uint8]], reference: NDArray[np.uint8]) -> ImageFigures:
    """Return the figures of captures (at least one); `reference` is the last warm-up frame, before capture 0."""
    grays = [gray(image) for image in captures]
    previous = [gray(reference), *grays[:-1]]
    motion = float(np.mean([np.abs(now - before).mean() for now, before in zip(grays, previous, strict=True)]))
    return _figures(grays, motion)


def measure_with_motion(captures: Sequence[NDArray[np.uint8]], avg_luma: float, motion: float) -> ImageFigures:
    """Return the figures where a page told `avg_luma` and `motion` itself and returned no reference."""
    measured = _figures([gray(image) for image in captures], motion)
    return ImageFigures(avg_luma, motion, measured.luma_std, measured.flags)


def _figures(grays: Sequence[NDArray[np.float64]], motion: float) -> ImageFigures:
    means = [float(image.mean()) for image in grays]
    stds = [float(image.std()) for image in grays]
    flags: list[str] = [*picture_flags(means, stds)]
    if motion < STATIC_MAX_MOTION:
        flags.append("static")
    # Weights that sum to 1 only within rounding must not push a white image over 1.
    avg_luma = min(1.0, sum(means) / len(means))
    return ImageFigures(avg_luma, min(1.0, motion), sum(stds) / len(stds), tuple(flags))
