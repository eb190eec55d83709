from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from aivj_assets.errors import UserError
from aivj_assets.report.matches import (
    BestLabel,
    MatchGroup,
    MatchView,
    SearchResult,
    picture_uri,
    print_result,
    render_page,
    write_page,
)
from aivj_assets_tests.builders import embeddings_meta, write_frame

HOSTILE = "<script>alert(1)</script> - <img src=x onerror=alert(2)> \x1b[31m[red]日本:fire:"


def view(number: int, **more: Any) -> MatchView:
    fields = {
        "preset_id": f"p-{number}",
        "label": f"Geiss - Title {number}",
        "batch": "pack",
        "cosine": 0.5,
        "rank": number,
    }
    return MatchView(**(fields | more))


def result(matches: list[MatchView], **more: Any) -> SearchResult:
    fields: dict[str, Any] = {
        "pack": "pack", "kind": "texts", "asked": ["blue <b>liquid</b>"], "groups": [MatchGroup(matches)],
        "card": embeddings_meta(1, 8).card, "presets": 1234, "batches": ["pack"],
    }  # fmt: skip
    return SearchResult(**(fields | more))


def printed(made: SearchResult, *, width: int = 80, terminal: bool = False, encoding: str = "utf-8") -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    print_result(Console(file=file, width=width, force_terminal=terminal, no_color=True), made)
    file.seek(0)
    return file.read()


def test_a_row_is_a_line_where_the_output_is_no_terminal() -> None:
    matches = [view(1, preset_id="x" * 90, label="Author - " + "y" * 90), view(2)]
    lines = printed(result(matches)).splitlines()
    [row] = [line for line in lines if "x" * 90 in line]
    assert "y" * 90 in row
    assert re.search(r"\b1\b.*0\.5000", row)
    # In a terminal nothing is cut either: it is folded.
    shown = re.sub(r"\x1b\[[0-9;]*m", "", printed(result(matches), terminal=True))
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.count("x") == 90


def test_what_was_asked_for_stands_first_and_what_was_left_out_is_a_line_each() -> None:
    made = result(
        [view(1)],
        kind="presets",
        asked=["p-9"],
        query=[view(9, rank=None, cosine=1.0)],
        left_out={"pack/batch-0002": "'frames': it is rejected.", "pack/batch-0003": "'embeddings': it is stale"},
    )
    lines = printed(made).splitlines()
    assert lines[:2] == [
        "Batch pack/batch-0002 is left out: 'frames': it is rejected.",
        "Batch pack/batch-0003 is left out: 'embeddings': it is stale.",
    ]
    rows = [line for line in lines if "p-" in line]
    assert "asked" in rows[0]
    assert "1.0000" in rows[0]
    assert "p-1" in rows[1]


def test_names_from_outside_cannot_steer_the_terminal() -> None:
    made = result([view(1, label=HOSTILE)])
    shown = printed(made)
    assert "\x1b" not in shown
    assert "[red]日本:fire:" in shown
    assert "[red]??:fire:" in printed(made, encoding="cp1252")


def test_a_pack_of_one_preset_has_no_other() -> None:
    made = result([], kind="presets", query=[view(1, rank=None)])
    assert printed(made) == "There is no other preset to compare with.\n"
    assert "There is no other preset to compare with." in render_page(made)


def labels_result() -> SearchResult:
    groups = [MatchGroup([view(1), view(2)], "tunnel & <i>", 700), MatchGroup([view(2, rank=1)], "plasma", 1)]
    best = [BestLabel("p-1", "pack", "plasma", 0.3, 0.1), BestLabel("p-2", "pack", "plasma", 0.2, float("nan"))]
    return result([], kind="labels", asked=["tunnel & <i>", "plasma"], groups=groups, best_labels=best)


def test_labels_are_a_row_each_with_how_many_they_suit() -> None:
    rows = [line for line in printed(labels_result()).splitlines() if "p-" in line]
    assert re.search(r"700 .*tunnel & <i>.*p-1", rows[0])
    assert re.search(r"\b1 .*plasma.*p-2", rows[1])


def test_json_says_all_of_it_and_is_json() -> None:
    made = labels_result()
    told = json.loads(json.dumps(made.to_json(), allow_nan=False))
    assert told["labels"] == ["tunnel & <i>", "plasma"]
    assert [match["presetId"] for match in told["groups"][0]["matches"]] == ["p-1", "p-2"]
    assert told["groups"][0]["suits"] == 700
    assert told["bestLabels"] == [
        {"presetId": "p-1", "batch": "pack", "label": "plasma", "cosine": 0.3, "margin": 0.1},
        {"presetId": "p-2", "batch": "pack", "label": "plasma", "cosine": 0.2},
    ]
    texts = result([view(1)]).to_json()
    assert texts["texts"] == ["blue <b>liquid</b>"]
    assert texts["matches"][0] == {
        "rank": 1, "presetId": "p-1", "label": "Geiss - Title 1", "batch": "pack", "cosine": 0.5,
    }  # fmt: skip


def test_the_page_holds_its_pictures_and_refers_to_nothing_else(tmp_path: Path) -> None:
    frame = tmp_path / "frame-001.webp"
    write_frame(frame, seed=1, luma=0.5)
    page = render_page(result([view(1, picture=frame, label=HOSTILE), view(2, picture=tmp_path / "gone.webp")]))
    [source] = re.findall(r'<img src="([^"]*)"', page)
    media, _, data = source.partition(";base64,")
    assert media == "data:image/webp"
    assert base64.b64decode(data) == frame.read_bytes()
    assert page.count("no picture on disk") == 1
    assert str(tmp_path) not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page
    assert "<b>" not in page
    assert "blue &lt;b&gt;liquid&lt;/b&gt;" in page


def test_large_pictures_become_small_and_others_stay_as_they_are(tmp_path: Path) -> None:
    large = tmp_path / "large.bmp"
    noise = np.random.default_rng(1).integers(0, 256, (900, 1600, 3)).astype(np.uint8)
    Image.fromarray(noise).save(large)
    uri = picture_uri(large)
    assert uri is not None
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as picture:
        assert picture.format == "WEBP"
        assert picture.size == (448, 252)
    small = tmp_path / "small.png"
    Image.new("RGB", (32, 18), (1, 2, 3)).save(small)
    assert str(picture_uri(small)).startswith("data:image/png;base64,")


@pytest.mark.parametrize("content", [b"", b"RIFF", b"no image at all", None])
def test_a_picture_that_cannot_be_read_is_none(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "frame.webp"
    if content is not None:
        path.write_bytes(content)
    else:
        write_frame(path, seed=1, luma=0.5, side=200)
        path.write_bytes(path.read_bytes()[:-500])
    assert picture_uri(path) is None


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"page .* cannot be written"):
        write_page(tmp_path / "file" / "page.html", result([]))
    write_page(tmp_path / "new" / "page.html", result([]))
    assert (tmp_path / "new" / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
