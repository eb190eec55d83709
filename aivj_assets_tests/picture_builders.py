"""Pictures that look like a preset's: waves and rings from a seed, and what becomes of a picture on its way."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


def drawn(seed: int, *, side: int = 224, phase: float = 0.0) -> Image.Image:
    """Return the picture of one author's preset `seed`; `phase` moves it on."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side
    channels = []
    waves = [(*draw.uniform(-4, 4, 2), draw.uniform(0, 6), draw.uniform(0.3, 1)) for _ in range(9)]
    centre, rings = draw.uniform(0.2, 0.8, 2), draw.uniform(3, 12)
    for channel in range(3):
        value = sum(
            power * np.sin(2 * np.pi * (a * x + b * y) + start + phase + channel / 2) for a, b, start, power in waves
        )
        value = value + 1.5 * np.cos(rings * np.hypot(x - centre[0], y - centre[1]) * np.pi - phase)
        channels.append((value - value.min()) / (value.max() - value.min()))
    return Image.fromarray((np.stack(channels, axis=2) * 255).astype(np.uint8))


def re_encoded(image: Image.Image, kind: str, quality: int) -> Image.Image:
    """Return what is left of a picture after it was stored with loss."""
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def scaled(image: Image.Image, side: int) -> Image.Image:
    """Return a picture that went through another size, back at its own."""
    return image.resize((side, side), Image.Resampling.BILINEAR).resize(image.size, Image.Resampling.BICUBIC)


def cropped(image: Image.Image, pixels: int) -> Image.Image:
    """Return a picture without its outermost pixels, at its own size again: as if it was drawn a little larger."""
    width, height = image.size
    return image.crop((pixels, pixels, width - pixels, height - pixels)).resize(image.size, Image.Resampling.BICUBIC)


def tinted(image: Image.Image, red: float, green: float, blue: float) -> Image.Image:
    """Return a picture with its channels weighed."""
    return Image.fromarray((np.asarray(image) * [red, green, blue]).clip(0, 255).astype(np.uint8))


def stored(image: Image.Image, path: Path, quality: int = 92) -> Path:
    """Write a picture as the frames are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, "WEBP", quality=quality)
    return path
