"""The style map's files: sizes, sheets, names, what is escaped."""

import base64
import gzip
import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

from aivj_assets.layout import StyleMapDir
from aivj_assets.qa.map_page import morton_order, quantised
from aivj_assets.qa.map_sprites import SPRITE_PX, write_sheets
from aivj_assets_tests.map_builders import COLOURS, HOSTILE, map_points, write_map


def names_of(path: Path) -> dict[str, list[str]]:
    called = re.fullmatch(r'aivjMapNames\("[0-9a-f]{64}", \d+, "([A-Za-z0-9+/=]+)"\);\n', path.read_text("utf-8"))
    assert called
    found: dict[str, list[str]] = json.loads(gzip.decompress(base64.b64decode(called.group(1))))
    return found


def test_names_are_only_in_packed_files_and_labels_are_escaped(tmp_path: Path) -> None:
    written = write_map(tmp_path / "qa")
    page = (tmp_path / "qa" / "map.html").read_text(encoding="utf-8")
    assert page == written.page
    for name in HOSTILE:
        assert name.partition(" - ")[2] not in page
    assert "<b>bold" not in page
    assert "&lt;b&gt;bold&lt;/b&gt; tunnel" in page
    assert "\\u003cb>bold" in page
    side = StyleMapDir(tmp_path / "qa").files
    found = names_of(side.names(0))
    listed = {
        name: (author, title)
        for name, author, title in zip(found["ids"], found["authors"], found["titles"], strict=True)
    }
    assert len(listed) == 60
    assert listed["big-p00002"] == ("Flexi", "Ünïcødé Łódź Straße")
    assert listed["big-p00000"][0] == "<script>document.title = 'taken'</script>"


def test_the_same_presets_give_the_same_files(tmp_path: Path) -> None:
    first, second = (write_map(tmp_path / name / "qa") for name in ("one", "two"))
    assert first.digest == second.digest
    for path in (tmp_path / "one" / "qa" / "map").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / "qa" / "map" / path.name).read_bytes()


def test_every_preset_has_its_own_place_on_the_sheets(tmp_path: Path) -> None:
    pictures = map_points(tmp_path, 5).pictures
    missing = tmp_path / "missing.webp"
    broken = tmp_path / "broken.webp"
    broken.write_bytes(b"RIFF\x10\0\0\0WEBPVP8 ")
    wanted = [pictures[number % 5] for number in range(4200)]
    wanted[70:72] = [missing, broken]
    told: list[tuple[int, int]] = []

    def sheet_path(number: int) -> Path:
        return tmp_path / f"sheet-{number}.webp"

    unread = write_sheets(wanted, sheet_path, progress=lambda *two: told.append(two))
    assert unread == [70, 71]
    assert told[-1] == (4200, 4200)
    with Image.open(tmp_path / "sheet-0.webp") as first, Image.open(tmp_path / "sheet-1.webp") as last:
        assert first.size == (64 * SPRITE_PX, 64 * SPRITE_PX)
        assert last.size == (64 * SPRITE_PX, 2 * SPRITE_PX)
        for sheet, number in ((first, 0), (first, 130), (last, 4097), (last, 4199)):
            at = number % 4096
            middle = (at % 64 * SPRITE_PX + SPRITE_PX // 2, at // 64 * SPRITE_PX + SPRITE_PX // 2)
            pixel = sheet.convert("RGB").getpixel(middle)
            assert isinstance(pixel, tuple)
            assert max(abs(a - b) for a, b in zip(pixel, COLOURS[number % 5], strict=True)) < 40


def test_places_keep_their_shape_and_neighbours_their_sheet() -> None:
    grid = quantised(np.array([[0.0, 0.0], [10.0, 5.0], [5.0, 2.5]]))
    assert grid[:, 0].tolist() == [0, 65535, 32768]
    assert np.ptp(grid[:, 1].astype(int)) in {32767, 32768}
    assert quantised(np.zeros((2, 2))).tolist() == [[32768, 32768]] * 2
    corners = np.array([[65535, 65535], [0, 0], [65535, 0], [1, 1], [0, 65535]], dtype=np.uint16)
    assert morton_order(corners).tolist() == [1, 3, 2, 4, 0]
