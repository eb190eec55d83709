from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from aivj_assets.contracts.k_report import K_NOTES, KLeftOut, KReport
from aivj_assets.errors import UserError
from aivj_assets.report.k_report import k_plots, print_k_report, render_k_page, write_k_page
from aivj_assets_tests.k_report_builders import made_report


def printed(report: KReport, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_k_report(console, report)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_terminal_tells_each_figure_beside_its_control_what_was_left_out_and_the_suggestion() -> None:
    report = made_report(left_out={"big/batch-0003": "'frames': it is rejected by ok_rate."})
    report.ks_left_out = [KLeftOut(k=96, why="60 presets are fewer than 8 a cluster")]
    text = printed(report)
    lines = text.splitlines()
    assert lines[0] == "Batch big/batch-0003 is left out: 'frames': it is rejected by ok_rate."
    row = next(number for number, line in enumerate(lines) if line.split()[:2] == ["32", "31.2%"])
    assert lines[row].split() == ["32", "31.2%", "0.600", "0.500", "0.100", "0.700", "3.00", "400"]
    assert lines[row + 1].split() == ["0.300", "0.200", "-0.050", "0.000", "9.00", "900"]
    assert "k 96 is left out: 60 presets are fewer than 8 a cluster." in text
    assert "Not k 32: too fine." in text
    assert lines[-1] == "Suggested: k 16, it serves."
    assert "…" not in text


def test_each_note_has_a_picture_and_words_for_it() -> None:
    plots = k_plots(made_report())
    assert [plot.note for plot in plots] == list(K_NOTES)
    assert all(note.tells and note.cannot_tell for note in K_NOTES)
    words = {plot.note.name: plot.words for plot in plots}
    assert "median cluster goes from 0.55 at k 16 to 0.6 at k 32" in words["cohesion"]


class Page(HTMLParser):
    """Collects what a browser would load, show and run."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loaded: list[str] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "action"}]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def test_the_page_needs_nothing_but_itself_and_shows_every_figure() -> None:
    page = Page(render_k_page(made_report()))
    assert page.loaded
    assert len(page.loaded) == len(K_NOTES)
    for uri in page.loaded:
        kind, _, data = uri.partition(",")
        assert kind == "data:image/webp;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).width == 720
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    for note in K_NOTES:
        assert note.tells in page.text
        assert note.cannot_tell in page.text
    for words in ("k 16 : it serves.", "Not k 32: too fine.", "1,000 presets", "62.5", "0.600 0.300", "Seed 1; 12 s"):
        assert words in page.text


def test_text_from_outside_is_text_on_the_page() -> None:
    evil = '<img src=x onerror="alert(1)">'
    report = made_report(left_out={"b": evil}, model=evil)
    report.ks_left_out = [KLeftOut(k=96, why=evil)]
    html = render_k_page(report)
    page = Page(html)
    assert page.text.count(evil) == 3
    assert all(uri.startswith("data:") for uri in page.loaded)
    assert re.search(r'Content-Security-Policy" content="default-src \'none\'', html)


def test_a_page_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be written") as refused:
        write_k_page(tmp_path / "file" / "k-report.html", made_report())
    assert "\n" not in str(refused.value)
    write_k_page(tmp_path / "new" / "k-report.html", made_report())
    assert (tmp_path / "new" / "k-report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
