"""What a preset's frames look like, as figures: colours, light, detail, symmetry. Pillow and NumPy, no model.

Frames are stored as squares into which the whole 16:9 picture was squeezed. They are measured at 16:9 again: mirror
symmetry does not depend on it, but circles, rotations and the scale of a texture do.
"""

from __future__ import annotations

import io
import math
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

IMAGE_FORMATS = ("WEBP", "PNG", "JPEG")
"""What frames are stored as. Pillow's other decoders are not tried: some start programs."""
MAX_FILE_BYTES = 2**26
MAX_PIXELS = 2**25
WIDTH, HEIGHT = 160, 90
"""The size at which pictures are measured, in pixels."""
COLOURS = ("red", "orange", "yellow", "lime", "green", "teal", "cyan", "blue", "violet", "magenta", "pink")
NEUTRALS = ("black", "gray", "white")
FIGURES = (
    "luma", "contrast", "chroma", "hue_variety", "detail", "fineness", "left_right", "top_bottom", "rotation", "rings",
    "center", "darkness", "direction",
)  # fmt: skip
"""Figures of a frame beside its colours; `measure_picture` says what each is."""
# Hues in degrees of OKLCH at which one colour gives way to the next: between the sRGB colours that carry the names.
_HUE_STARTS = (
    (12.0, "red"), (42.0, "orange"), (88.0, "yellow"), (118.0, "lime"), (136.0, "green"), (164.0, "teal"),
    (182.0, "cyan"), (228.0, "blue"), (282.0, "violet"), (314.0, "magenta"), (345.0, "pink"),
)  # fmt: skip
_LEAST_CHROMA = 0.035
"""Below this chroma of OKLCH (at most 0.32 in sRGB) a pixel has no colour worth a name."""
_DARK_LIGHTNESS = 0.25
_LIGHT_LIGHTNESS = 0.85
_CYAN_LIGHTNESS = 0.62
"""Cyan that is darker than this is called teal."""
_FOLDS = (3, 4, 5, 6, 8)
_NOISE = 1e-4
"""Variance of gray that compression leaves in an empty picture: shares of less than that mean nothing."""
_ANGLES = 240
_RADII = 32


@dataclass(frozen=True)
class Picture:
    """Figures of one frame: `figures` by the names of `FIGURES`, `colours` by those of `COLOURS` and `NEUTRALS`.

    A colour's figure is its chroma summed over its pixels, divided by all pixels; a neutral's is its share of pixels.
    """

    figures: dict[str, float]
    colours: dict[str, float]


def read_picture(path: Path) -> npt.NDArray[np.uint8] | str:
    """Return a frame as RGB uint8 [HEIGHT, WIDTH, 3], or why it cannot be used. Never raises for a bad file."""
    from PIL import Image

    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            # A pipe would be waited for.
            return "is no file"
        if status.st_size > MAX_FILE_BYTES:
            return f"{status.st_size} bytes, more than {MAX_FILE_BYTES}"
        with Image.open(io.BytesIO(path.read_bytes()), formats=IMAGE_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                return f"{image.width} x {image.height} pixels are too many"
            small = image.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BOX)
            return np.asarray(small, dtype=np.uint8)
    except FileNotFoundError:
        return "missing on disk"
    except Exception as error:  # noqa: BLE001 - a damaged file makes a decoder raise whatever it happens to meet
        reason = str(error).partition(" <")[0].partition("\n")[0] or type(error).__name__
        return f"cannot be decoded ({reason})"


def oklch(rgb: npt.NDArray[np.uint8]) -> tuple[Floats, Floats, Floats]:
    """Return lightness 0..1, chroma 0..0.32 and hue 0..360 degrees of sRGB uint8 [..., 3].

    Ottosson 2020, "A perceptual color space for image processing" (OKLab in polar form).
    """
    linear = _linear_light()[rgb]
    to_lms = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    to_lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    lab = np.cbrt(linear @ to_lms.T) @ to_lab.T
    hue = np.degrees(np.arctan2(lab[..., 2], lab[..., 1])) % 360
    return lab[..., 0], np.hypot(lab[..., 1], lab[..., 2]), hue


@cache
def _linear_light() -> Floats:
    """Return linear light for each of the 256 values of an sRGB channel."""
    value = np.arange(256) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def measure_picture(rgb: npt.NDArray[np.uint8]) -> Picture:
    """Measure a picture RGB uint8 [HEIGHT, WIDTH, 3] at 16:9.

    - `luma`: mean gray 0..1 as in the frames' metrics; `contrast`: its standard deviation, 0..0.5.
    - `darkness`: share of pixels that are nearly black, whatever their hue.
    - `chroma`: mean chroma of OKLCH over the other pixels, 0..0.32: a thin red line on black is as red as a red wall;
      `hue_variety`: how evenly chroma is spread over the named colours, 0..1 (normalised entropy, less where there is
      hardly any chroma).
    - `detail`: mean length of the gray gradient, in gray a pixel, 0..1; `fineness`: the share of the contrast
      (variance) that a blur of 1/10 of the height takes away, 0..1.
    - `direction`: whether gray changes from top to bottom or from left to right: 1 for horizontal lines, -1 for
      vertical ones.
    - `left_right`, `top_bottom`: correlation of gray with its mirror image, -1..1, the mean of the picture's own and
      that of its fine structure.
    - `rotation`: mean correlation of the largest circle with itself turned by all multiples of 1/n, its rings' means
      taken away, -0.5..1; the best of n = 3, 4, 5, 6, 8. `rings`: share of the circle's variance that the distance from
      its centre explains, 0..1. `center`: mean gray of the middle less that of the border, -1..1.
    """
    lightness, chroma, hue = oklch(rgb)
    gray: Floats = rgb @ np.array([0.2126, 0.7152, 0.0722]) / 255
    lit = lightness >= _DARK_LIGHTNESS
    colours = _colour_masses(lightness, chroma, hue)
    blurred = _blurred(gray, 4)
    fine = gray - blurred
    variance = float(gray.var())
    rows, columns = np.gradient(gray)
    rise, run = float((rows**2).mean()), float((columns**2).mean())
    polar: Floats = gray[_polar_places()]
    coloured = sum(colours[name] for name in COLOURS)
    figures = {
        "luma": float(gray.mean()),
        "contrast": math.sqrt(variance),
        "darkness": float(1 - lit.mean()),
        "chroma": float(chroma[lit].mean()) if lit.any() else 0.0,
        "hue_variety": _evenness([colours[name] for name in COLOURS]) * min(1, coloured / _LEAST_CHROMA),
        "direction": (rise - run) / (rise + run + _NOISE),
        "detail": float(np.hypot(rows, columns).mean()),
        "fineness": min(1.0, float(fine.var()) / (variance + _NOISE)),
        "left_right": (_correlation(gray, gray[:, ::-1]) + _correlation(fine, fine[:, ::-1])) / 2,
        "top_bottom": (_correlation(gray, gray[::-1]) + _correlation(fine, fine[::-1])) / 2,
        "rotation": _rotation(polar),
        "rings": float(polar.mean(axis=1).var()) / (float(polar.var()) + _NOISE),
        "center": float(gray[_middle()].mean() - gray[~_middle()].mean()),
    }
    return Picture(figures, colours)


def _colour_masses(lightness: Floats, chroma: Floats, hue: Floats) -> dict[str, float]:
    starts = np.array([start for start, _ in _HUE_STARTS])
    # Below the first start lies what began before 360 degrees.
    names = [name for _, name in _HUE_STARTS]
    place = (np.searchsorted(starts, hue, side="right") - 1) % len(names)
    coloured = chroma >= _LEAST_CHROMA
    masses = {}
    is_cyan = place == names.index("cyan")
    place = np.where(is_cyan & (lightness < _CYAN_LIGHTNESS), names.index("teal"), place)
    for number, name in enumerate(names):
        masses[name] = float(chroma[coloured & (place == number)].sum()) / chroma.size
    dark, light = lightness < _DARK_LIGHTNESS, lightness > _LIGHT_LIGHTNESS
    masses["black"] = float((~coloured & dark).mean())
    masses["white"] = float((~coloured & light).mean())
    masses["gray"] = float((~coloured & ~dark & ~light).mean())
    return masses


def _evenness(masses: Sequence[float]) -> float:
    total = sum(masses)
    if total <= 0:
        return 0.0
    shares = [mass / total for mass in masses if mass > 0]
    return -sum(share * math.log(share) for share in shares) / math.log(len(masses))


def _blurred(gray: Floats, radius: int) -> Floats:
    """Return the mean over squares of side 2·radius + 1, the border repeated; by summed areas."""
    side = 2 * radius + 1
    sums = np.pad(np.pad(gray, radius, mode="edge").cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    means: Floats = (sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]) / side**2
    return means


def _correlation(one: Floats, other: Floats) -> float:
    """Return the normalised correlation, -1..1; 0 for a picture without any contrast."""
    a, b = one - one.mean(), other - other.mean()
    norm = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
    return float((a * b).sum()) / norm if norm > 1e-6 * one.size else 0.0


@cache
def _polar_places() -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return rows and columns [_RADII, _ANGLES] of points on circles around the middle of the picture."""
    radius = np.linspace(0.12, 0.96, _RADII)[:, None] * (HEIGHT / 2)
    angle = np.arange(_ANGLES)[None, :] * (2 * math.pi / _ANGLES)
    rows = np.rint((HEIGHT - 1) / 2 + radius * np.sin(angle)).astype(np.intp)
    columns = np.rint((WIDTH - 1) / 2 + radius * np.cos(angle)).astype(np.intp)
    return rows, columns


def _rotation(polar: Floats) -> float:
    """Return the n-fold symmetry of rings [radii, angles] as `measure_picture` says.

    By the angular power spectrum: a turn by 1/n leaves harmonics n, 2n, … as they are, and over all its multiples the
    others cancel out. With s the share of those harmonics the mean correlation is (n·s - 1) / (n - 1).
    """
    power = (np.abs(np.fft.rfft(polar, axis=1)) ** 2).sum(axis=0)
    total = float(power[1:].sum())
    if total < _NOISE * polar.size * _ANGLES / 2:
        return 0.0
    return max((n * float(power[n::n].sum()) / total - 1) / (n - 1) for n in _FOLDS)


@cache
def _middle() -> npt.NDArray[np.bool_]:
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    inside: npt.NDArray[np.bool_] = np.hypot(rows - (HEIGHT - 1) / 2, columns - (WIDTH - 1) / 2) < HEIGHT / 3
    return inside


@dataclass(frozen=True)
class PresetFrames:
    """A preset that stands for its cluster: the files of its frames, and its motion 0..1 (None where unknown)."""

    preset_id: str
    frames: Sequence[Path]
    motion: float | None = None


@dataclass(frozen=True)
class Appearance:
    """What a cluster looks like: one dict of figures a preset that could be read, means over its frames.

    Keys are `FIGURES`, `COLOURS`, `NEUTRALS` and `motion` (NaN where unknown). `problem` tells why there is none.
    """

    presets: tuple[dict[str, float], ...]
    problem: str | None = None
    skipped_frames: int = 0


def measure_clusters(clusters: Mapping[str, Sequence[PresetFrames]]) -> dict[str, Appearance]:
    """Measure the frames of presets that stand for their clusters, {cluster id: presets}.

    About 4 ms a frame. Two frames of up to 24 presets a cluster, drawn at random, give words that another draw gives
    again; more frames a preset add little. Frames that are missing or damaged are left out and counted; a cluster
    without a single readable frame has a `problem` instead of figures.
    """
    return {cluster_id: _measure_cluster(presets) for cluster_id, presets in clusters.items()}


def _measure_cluster(presets: Sequence[PresetFrames]) -> Appearance:
    measured: list[dict[str, float]] = []
    problems: list[str] = []
    for preset in presets:
        pictures: list[Picture] = []
        for path in preset.frames:
            rgb = read_picture(path)
            if isinstance(rgb, str):
                problems.append(f"{preset.preset_id}, {path.name}: {rgb}")
            else:
                pictures.append(measure_picture(rgb))
        if pictures:
            rows = [picture.figures | picture.colours for picture in pictures]
            means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
            measured.append(means | {"motion": math.nan if preset.motion is None else float(preset.motion)})
    if measured:
        return Appearance(tuple(measured), skipped_frames=len(problems))
    reason = f"none of {len(problems)} frames can be read ({problems[0]})" if problems else "it was given no frames"
    return Appearance((), reason, len(problems))
