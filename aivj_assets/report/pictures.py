"""Pictures for metadata: contact sheets, histograms, bars, scatter plots, on a dark ground of their own.

Drawn with Pillow and its built-in font, so that they look the same on every machine. That font knows little more than
ASCII: other letters are shown without their accents, else as "?".
"""

from __future__ import annotations

import base64
import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

Colour = tuple[int, int, int]
GROUND: Colour = (12, 12, 18)
PANEL: Colour = (24, 24, 34)
LINE: Colour = (52, 52, 68)
INK: Colour = (236, 236, 243)
SOFT: Colour = (163, 163, 181)
ACCENT: Colour = (56, 189, 248)

_TEXT_PX = 13
_TITLE_PX = 16
_MARGIN = 14
_PLOT_SIZE = (720, 300)
_SUPERSAMPLE = 3
_GAP, _CAPTION_PX, _HEADING_PX, _WORDS_PX = 4, 17, 27, 10


@dataclass(frozen=True)
class _Box:
    """A plot's inner area in pixels, y downwards."""

    left: int
    top: int
    right: int
    bottom: int

    def x(self, fraction: float) -> float:
        """Return the pixel of 0..1 from left to right."""
        return self.left + fraction * (self.right - self.left)

    def y(self, fraction: float) -> float:
        """Return the pixel of 0..1 from bottom to top."""
        return self.bottom - fraction * (self.bottom - self.top)


@dataclass(frozen=True)
class Tile:
    """One place of a contact sheet: a picture, or words where there is none."""

    caption: str
    path: str | None = None
    """Of the picture, relative to the batch's folder."""
    words: str = ""


def contact_sheet(
    batch_dir: Path, items: Sequence[tuple[str, str]], columns: int = 8, tile: tuple[int, int] = (128, 72)
) -> Image.Image:
    """Return a grid of pictures with captions.

    `items` are (path relative to `batch_dir`, caption); a picture that cannot be read is drawn as a crossed tile.
    Stored squares are stretched to `tile` (width, height in pixels), by default 16:9 as they were rendered.
    """
    tiles = [Tile(caption, path) for path, caption in items]
    return sectioned_sheet(batch_dir, [("", tiles)], columns=min(columns, len(tiles)) if tiles else columns, tile=tile)


def sectioned_sheet(
    batch_dir: Path,
    sections: Sequence[tuple[str, Sequence[Tile]]],
    columns: int = 8,
    tile: tuple[int, int] = (128, 72),
) -> Image.Image:
    """Return grids of tiles one below the other, each under its heading (none, when it is empty).

    Sections without tiles are left out. Tiles are drawn as by `contact_sheet`; one without a picture shows its words,
    and one without anything leaves its place empty.
    """
    if columns < 1:
        raise ValueError("a contact sheet has at least one column")
    filled = [(heading, tiles) for heading, tiles in sections if tiles]
    if not filled:
        return _empty("Contact sheet", "no pictures")
    row_px = tile[1] + _CAPTION_PX + _GAP
    heights = [(_HEADING_PX if heading else 0) + -(-len(tiles) // columns) * row_px for heading, tiles in filled]
    sheet = Image.new("RGB", (columns * (tile[0] + _GAP) + _GAP, sum(heights) + _GAP), GROUND)
    draw = ImageDraw.Draw(sheet)
    top = _GAP
    for (heading, tiles), height in zip(filled, heights, strict=True):
        if heading:
            draw.text((_GAP + 1, top + 5), _fitted(heading, _font(_TEXT_PX), sheet.width - 12), INK, _font(_TEXT_PX))
        first = top + (_HEADING_PX if heading else 0)
        for number, each in enumerate(tiles):
            if each == Tile(""):
                continue
            x, y = _GAP + number % columns * (tile[0] + _GAP), first + number // columns * row_px
            _draw_tile(sheet, draw, batch_dir, each, at=(x, y), size=tile)
        top += height
    return sheet


def _draw_tile(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    batch_dir: Path,
    each: Tile,
    *,
    at: tuple[int, int],
    size: tuple[int, int],
) -> None:
    (x, y), (width, height) = at, size
    picture = _read_tile(batch_dir.joinpath(*PurePosixPath(each.path).parts), size) if each.path else None
    if picture is not None:
        sheet.paste(picture, at)
    else:
        draw.rectangle((x, y, x + width - 1, y + height - 1), fill=PANEL, outline=LINE)
        if each.path is None:
            draw.multiline_text((x + 5, y + 4), _wrapped(each.words, width - 10, height - 8), SOFT, _font(_WORDS_PX))
        else:
            draw.line((x, y, x + width - 1, y + height - 1), fill=LINE)
            draw.line((x, y + height - 1, x + width - 1, y), fill=LINE)
    font = _font(11)
    draw.text((x + 1, y + height + 2), _fitted(each.caption, font, width - 2), font=font, fill=SOFT)


def _wrapped(words: str, width_px: int, height_px: int) -> str:
    """Return words broken into lines that fit, as many as there is room for; long words are cut."""
    font = _font(_WORDS_PX)
    lines: list[str] = []
    left = _plain(words)[:400]
    room = max(1, height_px // (_WORDS_PX + 4))
    while left and len(lines) < room:
        end = len(left)
        while font.getlength(left[:end]) > width_px:
            blank = left.rfind(" ", 1, end)
            end = blank if blank > 0 else end - 1
        lines.append(left[:end])
        left = left[end:].lstrip()
    if left and lines:
        lines[-1] = _fitted(f"{lines[-1]} {left}", font, width_px)
    return "\n".join(lines)


def histogram(
    values: Sequence[float], bins: int, title: str, x_label: str, *, span: tuple[float, float] | None = None
) -> Image.Image:
    """Return a histogram of finite values with counts on the y axis; title line tells n, median and range.

    The x axis covers the values, and `span` too where it is given: so that two pictures can be compared.
    """
    finite = np.asarray([value for value in values if np.isfinite(value)], dtype=np.float64)
    if not finite.size:
        return _empty(title, "no values")
    low, high = float(finite.min()), float(finite.max())
    if span is not None:
        low, high = min(low, span[0]), max(high, span[1])
    if low == high:
        # One value: a single bar in the middle of an axis around it.
        low, high = low - 0.5, high + 0.5
    counts, edges = np.histogram(finite, bins=max(1, bins), range=(low, high))
    note = f"n {finite.size:,}, median {np.median(finite):.3g}, range {finite.min():.3g} to {finite.max():.3g}"
    image, draw, box = _frame(title, note, x_label)
    ticks = _nice_ticks(0, float(counts.max()), 4, whole=True)
    _y_axis(draw, box, ticks)
    for tick in _nice_ticks(low, high, 6):
        if low <= tick <= high:
            _x_tick(draw, box, (tick - low) / (high - low), f"{tick:.4g}")
    for number, count in enumerate(counts):
        left, right = (box.x((edges[number + side] - low) / (high - low)) for side in (0, 1))
        if count:
            draw.rectangle(
                (left + 1, min(box.y(count / ticks[-1]), box.bottom - 2), right - 1, box.bottom), fill=ACCENT
            )
    return image


def bar_chart(labels: Sequence[str], values: Sequence[float], title: str, *, note: str | None = None) -> Image.Image:
    """Return one vertical bar a label, in the order given, values (0 and above) over the bars where there is room.

    `note` stands below the title, by default how many there are and their sum.
    """
    if len(labels) != len(values):
        raise ValueError("as many labels as values")
    if not labels:
        return _empty(title, "no values")
    told = f"n {len(labels):,}, sum {sum(values):,.6g}" if note is None else note
    image, draw, box = _frame(title, told, "")
    ticks = _nice_ticks(0, max(*values, 0), 4, whole=all(float(value).is_integer() for value in values))
    _y_axis(draw, box, ticks)
    slot = (box.right - box.left) / len(labels)
    small = _font(11)
    widest = max(small.getlength(_plain(label)) for label in labels)
    every = max(1, int(-(-(widest + 6) // slot)))
    numbers = [f"{value:.4g}" for value in values]
    numbered = max(small.getlength(number) for number in numbers) + 4 < slot
    half = min(slot / 2 - min(2, slot * 0.1), 36)
    for index, (label, value) in enumerate(zip(labels, values, strict=True)):
        middle, top = box.left + (index + 0.5) * slot, box.y(max(0.0, value) / ticks[-1])
        draw.rectangle((middle - half, top, middle + half - 1, box.bottom), fill=ACCENT)
        if index % every == 0:
            text = _fitted(label, small, max(slot * every - 4, 24))
            draw.text((middle, box.bottom + 6), text, font=small, fill=SOFT, anchor="ma")
        if numbered:
            draw.text((middle, top - 3), numbers[index], font=small, fill=INK, anchor="md")
    return image


def scatter(points: npt.NDArray[np.floating], groups: Sequence[str], title: str) -> Image.Image:
    """Return points [n, 2] coloured by group; each group's name, in its colour, stands at the median of its points.

    Both axes have the same scale. Colours are by the group's place in sorted order: the same names, the same colours.
    """
    if points.ndim != 2 or points.shape[1] != 2 or len(points) != len(groups):
        raise ValueError(f"points {points.shape} for {len(groups)} groups, expected [n, 2]")
    if not len(points):
        return _empty(title, "no points")
    names = sorted(set(groups))
    colour = {name: _group_colour(number) for number, name in enumerate(names)}
    size = (720, 560)
    box = _Box(_MARGIN, 56, size[0] - _MARGIN, size[1] - _MARGIN)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = 0.94 * min(
        (box.right - box.left) / max(high[0] - low[0], 1e-9), (box.bottom - box.top) / max(high[1] - low[1], 1e-9)
    )
    middle = (low + high) / 2
    centre = np.array([(box.left + box.right) / 2, (box.top + box.bottom) / 2])
    placed = centre + (points - middle) * scale * np.array([1, -1])
    image = _dots(size, box, placed, [colour[name] for name in groups])
    draw = ImageDraw.Draw(image)
    _heading(draw, title, f"n {len(points):,}, groups {len(names):,}")
    font, group_of = _font(12), np.asarray(groups)
    for name in names:
        at = np.median(placed[group_of == name], axis=0)
        draw.text(
            tuple(at), _plain(name), font=font, fill=colour[name], anchor="mm", stroke_width=3, stroke_fill=GROUND
        )
    return image


def project_2d(vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return the first two principal components [n, 2] of rows [n, d]; zeros where there are fewer.

    Exact solvers with fixed signs: the same rows give the same picture.
    """
    from sklearn.decomposition import PCA

    projected = np.zeros((len(vectors), 2))
    components = min(2, *vectors.shape)
    if len(vectors) > 1:
        solver = "covariance_eigh" if len(vectors) > vectors.shape[1] else "full"
        projected[:, :components] = PCA(n_components=components, svd_solver=solver).fit_transform(vectors)
    return projected


def as_markdown_image(image: Image.Image, *, alt: str, limit_bytes: int = 200_000) -> str:
    """Return Markdown that holds the image as a WebP data URI, at most `limit_bytes` of text.

    Quality is lowered first, then the size, until it fits. Raises `ValueError` when not even a thumbnail does.
    """
    words = _plain(alt)
    for bracket in "[]()<>\\":
        words = words.replace(bracket, " ")
    opaque = image.convert("RGB")
    while min(opaque.size) >= 8:
        for quality in (88, 75, 60, 45):
            buffer = io.BytesIO()
            opaque.save(buffer, "WEBP", quality=quality, method=4)
            text = f"![{words}](data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')})"
            if len(text) <= limit_bytes:
                return text
        # Bytes go with the area.
        scale = min(0.85, (limit_bytes / len(text)) ** 0.5)
        opaque = opaque.resize((int(opaque.width * scale), int(opaque.height * scale)), Image.Resampling.LANCZOS)
    raise ValueError(f"the picture does not fit into {limit_bytes} bytes")


@cache
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)


def _plain(text: str) -> str:
    """Return `text` in the letters of the built-in font, on one line."""
    decomposed = unicodedata.normalize("NFKD", text)
    kept = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    ascii_only = kept.encode("ascii", "replace").decode("ascii")
    return " ".join("".join(letter if letter.isprintable() else " " for letter in ascii_only).split())


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width_px: float) -> str:
    """Return `text`, cut with ".." where it is wider than `width_px`."""
    plain = _plain(text)[:400]
    if font.getlength(plain) <= width_px:
        return plain
    while plain and font.getlength(f"{plain}..") > width_px:
        plain = plain[:-1]
    return f"{plain.rstrip()}.." if plain else ""


def _read_tile(path: Path, tile: tuple[int, int]) -> Image.Image | None:
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB").resize(tile, Image.Resampling.LANCZOS)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return None


def _heading(draw: ImageDraw.ImageDraw, title: str, note: str) -> None:
    draw.text((_MARGIN, 10), _plain(title), font=_font(_TITLE_PX), fill=INK)
    draw.text((_MARGIN, 31), _plain(note), font=_font(_TEXT_PX - 1), fill=SOFT)


def _empty(title: str, note: str) -> Image.Image:
    image = Image.new("RGB", (360, 60), GROUND)
    _heading(ImageDraw.Draw(image), title, note)
    return image


def _frame(title: str, note: str, x_label: str) -> tuple[Image.Image, ImageDraw.ImageDraw, _Box]:
    width, height = _PLOT_SIZE
    image = Image.new("RGB", _PLOT_SIZE, GROUND)
    draw = ImageDraw.Draw(image)
    _heading(draw, title, note)
    box = _Box(56, 66, width - _MARGIN - 8, height - (46 if x_label else 30))
    if x_label:
        draw.text(
            ((box.left + box.right) / 2, height - 7), _plain(x_label), font=_font(_TEXT_PX), fill=SOFT, anchor="md"
        )
    return image, draw, box


def _y_axis(draw: ImageDraw.ImageDraw, box: _Box, ticks: Sequence[float]) -> None:
    for tick in ticks:
        y = box.y(tick / ticks[-1])
        draw.line((box.left, y, box.right, y), fill=LINE)
        draw.text((box.left - 8, y), f"{tick:,.6g}", font=_font(_TEXT_PX - 1), fill=SOFT, anchor="rm")


def _x_tick(draw: ImageDraw.ImageDraw, box: _Box, fraction: float, text: str) -> None:
    x = box.x(fraction)
    draw.line((x, box.bottom, x, box.bottom + 4), fill=SOFT)
    draw.text((x, box.bottom + 7), text, font=_font(_TEXT_PX - 1), fill=SOFT, anchor="ma")


def _nice_ticks(low: float, high: float, about: int, *, whole: bool = False) -> list[float]:
    """Return ticks of step 1, 2 or 5 times a power of ten that cover `low`..`high` (Heckbert 1990)."""
    raw = max(high - low, 1e-9) / about
    magnitude = 10.0 ** np.floor(np.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= raw * 0.999)
    if whole:
        step = max(1.0, step)
    first, last = int(np.floor(low / step + 1e-9)), int(np.ceil(high / step - 1e-9))
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def _group_colour(number: int) -> Colour:
    """Return well-spread hues: steps of the golden angle, with three lightnesses in turn."""
    import colorsys

    red, green, blue = colorsys.hls_to_rgb(number * 0.381966 % 1, (0.66, 0.58, 0.76)[number % 3], 0.8)
    return round(red * 255), round(green * 255), round(blue * 255)


def _dots(size: tuple[int, int], box: _Box, placed: npt.NDArray[np.floating], colours: Sequence[Colour]) -> Image.Image:
    """Return the ground with one dot a point; drawn larger and scaled down, as Pillow's circles have hard edges."""
    big = Image.new("RGB", (size[0] * _SUPERSAMPLE, size[1] * _SUPERSAMPLE), GROUND)
    draw = ImageDraw.Draw(big)
    draw.rectangle([edge * _SUPERSAMPLE for edge in (box.left, box.top, box.right, box.bottom)], fill=PANEL)
    radius = (4.0 if len(placed) <= 500 else 2.6 if len(placed) <= 5000 else 1.6) * _SUPERSAMPLE
    for (x, y), colour in zip(placed * _SUPERSAMPLE, colours, strict=True):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return big.resize(size, Image.Resampling.LANCZOS)
