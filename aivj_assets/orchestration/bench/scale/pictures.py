"""What the stand-in engine draws: a picture that follows from a preset's text, of one of many styles."""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

STYLES = 60
FAILING_EVERY = 67
"""One preset of so many does not compile: 1.5 %, where 5 % may fail."""

Picture = npt.NDArray[np.uint8]
_WAVES = 3
_FIELD = re.compile(r"^(style|seed)=(\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Style:
    """What the presets of a style share."""

    cycles: npt.NDArray[np.float64]
    """Waves across and down, [waves, 2]."""
    colours: npt.NDArray[np.float64]
    """Red, green and blue of each wave, [waves, 3], in 0..1."""
    brightness: float
    """Mean of the picture, in 0..1."""
    speed: float
    """Radians by which waves move on from a capture to the next."""


@functools.lru_cache(maxsize=STYLES)
def style_of(number: int) -> Style:
    """Return a style by its number."""
    random = np.random.default_rng([7, number])
    return Style(
        cycles=random.uniform(0.5, 9, (_WAVES, 2)),
        colours=random.uniform(0, 1, (_WAVES, 3)),
        brightness=float(random.uniform(0.08, 0.7)),
        speed=float(random.uniform(0.02, 1.6)),
    )


def preset_text(number: int) -> str:
    """Return the text of the library's preset `number`: a `.milk` file that tells its style and its seed."""
    random = np.random.default_rng([11, number])
    style, seed = int(random.integers(STYLES)), int(random.integers(2**31))
    failing = 1 if number % FAILING_EVERY == FAILING_EVERY - 1 else 0
    return f"[preset00]\nfDecay=0.98\nnWaveMode={number % 8}\nfails={failing}\nstyle={style}\nseed={seed}\n"


def fails(text: str) -> bool:
    """Whether the stand-in engine refuses a preset."""
    return "\nfails=1\n" in text


def draw(text: str, size: int, count: int) -> list[Picture]:
    """Return `count` pictures, uint8 [size, size, 3], of a preset a moment apart; a text without a style is black."""
    told = {name: int(value) for name, value in _FIELD.findall(text)}
    if "style" not in told:
        return [np.zeros((size, size, 3), np.uint8)] * count
    style, random = style_of(told["style"]), np.random.default_rng([13, told.get("seed", 0)])
    cycles = style.cycles * random.uniform(0.9, 1.1, style.cycles.shape)
    colours = np.clip(style.colours + random.normal(0, 0.06, style.colours.shape), 0, 1)
    brightness = style.brightness * random.uniform(0.85, 1.15)
    speed, phases = style.speed * random.uniform(0.7, 1.3), random.uniform(0, 2 * math.pi, _WAVES)
    return [_moment(size, cycles, colours, brightness, phases + number * speed) for number in range(count)]


def _moment(size: int, cycles: Any, colours: Any, brightness: float, phases: Any) -> Picture:
    """Return the sum of the waves in their colours; each is sin(ax + by), made of the sines along either side."""
    across = np.linspace(0, 2 * math.pi, size, endpoint=False)
    field = np.zeros((size, size, 3))
    for (horizontal, vertical), colour, phase in zip(cycles, colours, phases, strict=True):
        right, down = horizontal * across + phase, vertical * across
        wave = np.outer(np.cos(down), np.sin(right)) + np.outer(np.sin(down), np.cos(right))
        field += (0.5 + 0.5 * wave)[:, :, None] * colour
    mean = float(field.mean()) or 1.0
    made: Picture = np.clip(field * (255 * brightness / mean), 0, 255).astype(np.uint8)
    return made
