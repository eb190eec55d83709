"""The style map as a person meets it: opened from a copied folder in a real browser, by pointer and by keyboard."""

import functools
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from aivj_assets.render.chromium import launch_flags
from aivj_assets_tests.map_builders import HOSTILE, map_points, write_map

pytestmark = pytest.mark.browser

PRESETS = 60
READY = "#map[data-names=ready]"
Launch = Callable[..., Browser]


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("made") / "qa"
    write_map(made, PRESETS)
    # A person may copy the folder anywhere, also where its name needs escaping in an address.
    there = tmp_path_factory.mktemp("copied") / "für die show #1"
    shutil.copytree(made, there)
    return there


@pytest.fixture(scope="module")
def launch(browser_choice: Any) -> Iterator[Launch]:
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    flags = launch_flags(sys.platform, "software", headless=True, is_root=is_root)[-1]
    with sync_playwright() as playwright:
        browsers: list[Browser] = []

        def launched(*more: str) -> Browser:
            browsers.append(
                playwright.chromium.launch(executable_path=str(browser_choice.executable), args=[*flags, *more])
            )
            return browsers[-1]

        yield launched
        for browser in browsers:
            browser.close()


@pytest.fixture(scope="module")
def drawing(launch: Launch) -> Browser:
    return launch()


@pytest.fixture
def page(drawing: Browser, copied: Path) -> Iterator[Page]:
    context = drawing.new_context(viewport={"width": 1400, "height": 900})
    shown = context.new_page()
    problems: list[str] = []
    shown.on("pageerror", lambda error: problems.append(str(error)))
    shown.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    shown.on("request", lambda sent: problems.append(sent.url) if not sent.url.startswith(("file:", "data:")) else None)
    shown.goto((copied / "map.html").as_uri())
    shown.wait_for_selector(READY)
    yield shown
    context.close()
    assert problems == []


def place(page: Page, preset_id: str) -> tuple[float, float]:
    """Return where a preset lies in the window, in pixels."""
    box = page.locator("#map").bounding_box()
    assert box is not None
    x, y = page.evaluate("id => aivjMap.view.ofPreset(aivjMap.names.ids.indexOf(id))", preset_id)
    return box["x"] + x, box["y"] + y


def pixel(page: Page, preset_id: str) -> tuple[int, int, int]:
    """Return the colour that is drawn where a preset lies."""
    return tuple(
        page.evaluate(
            """id => { const { view, painter, names, draw } = aivjMap, gl = painter.gl;
            draw();
            const [x, y] = view.ofPreset(names.ids.indexOf(id)), at = new Uint8Array(4);
            const [left, low] = [x * view.ratio, gl.drawingBufferHeight - y * view.ratio].map(Math.floor);
            gl.readPixels(left, low, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, at);
            return [...at.slice(0, 3)]; }""",
            preset_id,
        )
    )


def selected(page: Page) -> list[str]:
    return sorted(page.evaluate("aivjMap.state.chosen.map(i => aivjMap.names.ids[i])"))


def test_hovering_shows_the_picture_and_words_and_a_click_keeps_them(page: Page) -> None:
    expect(page.locator("#card")).to_be_hidden()
    page.mouse.move(*place(page, "big-p00002"))
    expect(page.locator("#card-title")).to_have_text("Ünïcødé Łódź Straße")
    expect(page.locator("#card-author")).to_have_text("Flexi")
    expect(page.locator("#card-facts")).to_have_text("c02 מראה · peak · motion 0.034")
    # The sprite that is shown is the blue one of its cluster, from the sheet beside the page.
    thumb = page.locator("#thumb")
    assert "map/sheet-000.webp" in str(thumb.evaluate("element => getComputedStyle(element).backgroundImage"))
    shown = page.evaluate(
        """async () => { const image = new Image(); image.src = facts.sheets[0].path; await image.decode();
        return [image.naturalWidth, image.naturalHeight, facts.sheets[0].width, facts.sheets[0].height]; }"""
    )
    assert shown[:2] == shown[2:]
    page.mouse.move(5, 5)
    expect(page.locator("#card")).to_be_hidden()
    page.mouse.click(*place(page, "big-p00002"))
    page.mouse.move(5, 5)
    link = page.locator("#card-link")
    expect(link).to_be_visible()
    assert link.get_attribute("href") == "../batch-0001/qa-samples/index.html#c02"


def test_names_are_text_wherever_they_are_shown(page: Page) -> None:
    title = page.title()
    for number, name in enumerate(HOSTILE):
        author, _, rest = name.partition(" - ")
        page.mouse.move(5, 5)
        page.mouse.move(*place(page, f"big-p{number:05d}"))
        expect(page.locator("#card-title")).to_have_text(rest)
        expect(page.locator("#card-author")).to_have_text(author)
    page.fill("#query", "img onerror")
    expect(page.locator("#hits button")).to_have_text([HOSTILE[0]])
    page.fill("#query", "עולם")
    expect(page.locator("#hits button")).to_have_text([HOSTILE[3]])
    expect(page.locator("#legend bdi").first).to_have_text("c00 <b>bold</b> tunnel")
    assert page.title() == title
    assert page.locator("#hits img, #card img, #legend b").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("query", ["unicode", "LODZ strasse", "flex", "BIG-P00002", "Łódź"])
def test_search_takes_parts_of_names_without_case_and_accents(page: Page, query: str) -> None:
    page.keyboard.press("/")
    page.keyboard.type(query)
    expect(page.locator("#found")).to_have_text("1 found")
    expect(page.locator("#hits button")).to_have_text([HOSTILE[2]])
    # The others are dimmed on the map.
    assert max(pixel(page, "big-p00002")) > 2 * max(pixel(page, "big-p00012"))
    page.keyboard.press("Enter")
    expect(page.locator("#card-title")).to_have_text("Ünïcødé Łódź Straße")
    page.keyboard.press("Escape")
    expect(page.locator("#found")).to_have_text("")


def test_colours_and_toggles(page: Page) -> None:
    blue, other = pixel(page, "big-p00012"), pixel(page, "big-p00013")
    assert blue != other
    page.check("#colours input[value='1']")
    assert pixel(page, "big-p00012") == (56, 189, 248)
    expect(page.locator("#legend bdi")).to_have_text(["calm", "groove", "peak"])
    page.locator("#legend input").first.uncheck()
    expect(page.locator("#shown")).to_have_text("40 of 60 shown")
    page.mouse.move(*place(page, "big-p00012"))
    # What is switched off is neither drawn nor found by the pointer.
    assert page.evaluate("aivjMap.state.at < 0 || aivjMap.names.ids[aivjMap.state.at] !== 'big-p00012'")
    page.get_by_role("button", name="only peak").click()
    expect(page.locator("#shown")).to_have_text("20 of 60 shown")
    page.check("#colours input[value='2']")
    expect(page.locator("#legend bdi")).to_have_text(["big/batch-0001", "big/batch-0002"])
    page.get_by_role("button", name="only big/batch-0002").click()
    expect(page.locator("#shown")).to_have_text("10 of 60 shown")


def test_a_lasso_counts_mixes_and_copies(page: Page) -> None:
    inside = [f"big-p{number:05d}" for number in range(0, PRESETS, 5)]
    spots = [place(page, name) for name in inside]
    left, right = min(x for x, _ in spots) - 8, max(x for x, _ in spots) + 8
    top, bottom = min(y for _, y in spots) - 8, max(y for _, y in spots) + 8
    page.check("input[value=lasso]")
    page.mouse.move(left, top)
    page.mouse.down()
    for corner in ((right, top), (right, bottom), (left, bottom), (left, top + 2)):
        page.mouse.move(*corner, steps=5)
    page.mouse.up()
    assert selected(page) == inside
    expect(page.locator("#count")).to_have_text("12 presets selected")
    expect(page.locator("#mix li")).to_have_text(["c00 <b>bold</b> tunnel12 · 100 %"])
    expect(page.locator("#mix-energy")).to_contain_text("calm 4")
    page.get_by_role("button", name="copy ids").click()
    expect(page.locator("#copied")).to_have_text("12 copied")
    page.locator("#query").focus()
    page.keyboard.press("ControlOrMeta+V")
    pasted = page.locator("#query").input_value()
    assert sorted(re.findall(r"big-p\d{5}", pasted)) == inside
    page.fill("#query", "")
    # A rectangle around all takes their place.
    page.check("input[value=box]")
    box = page.locator("#map").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 300, box["y"] + box["height"] - 2, steps=4)
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] - 2, steps=4)
    page.mouse.up()
    expect(page.locator("#count")).to_have_text("60 presets selected")
    expect(page.locator("#mix li")).to_have_count(5)
    page.get_by_role("button", name="clear").click()
    expect(page.locator("#chosen")).to_be_hidden()


def test_dragging_and_the_wheel_move_what_is_seen(page: Page) -> None:
    before = place(page, "big-p00007")
    page.mouse.move(400, 400)
    page.mouse.move(700, 500)
    page.mouse.down()
    page.mouse.move(760, 540, steps=4)
    page.mouse.up()
    after = place(page, "big-p00007")
    assert (round(after[0] - before[0]), round(after[1] - before[1])) == (60, 40)
    scale = page.evaluate("aivjMap.view.scale")
    page.mouse.move(*after)
    page.mouse.wheel(0, -400)
    expect(page.locator("#card")).to_be_visible()
    assert page.evaluate("aivjMap.view.scale") > scale
    # What lies under the pointer stays there.
    stayed = place(page, "big-p00007")
    assert abs(stayed[0] - after[0]) + abs(stayed[1] - after[1]) < 2


def test_the_keyboard_alone_goes_all_the_way(page: Page) -> None:
    page.locator("#map").focus()
    page.keyboard.press("0")
    expect(page.locator("#cross")).to_be_visible()
    page.evaluate("aivjMap.view.lookAt(aivjMap.names.ids.indexOf('big-p00007'), aivjMap.view.whole * 3)")
    for key in ("ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    expect(page.locator("#card-title")).to_have_text("Title 7")
    page.keyboard.press("Space")
    expect(page.locator("#count")).to_have_text("1 preset selected")
    assert selected(page) == ["big-p00007"]
    page.keyboard.press("0")
    page.keyboard.press("v")
    expect(page.locator("#count")).to_have_text("60 presets selected")
    page.keyboard.press("Escape")
    expect(page.locator("#chosen")).to_be_hidden()
    page.evaluate("aivjMap.view.lookAt(aivjMap.names.ids.indexOf('big-p00007'), aivjMap.view.whole * 3)")
    page.keyboard.press("+")
    link = page.locator("#card-link").get_attribute("href")
    assert link == "../batch-0002/qa-samples/index.html#c02"


def test_a_link_to_a_cluster_shows_that_cluster_alone(drawing: Browser, copied: Path) -> None:
    page = drawing.new_page()
    page.goto((copied / "map.html").as_uri() + "#c03")
    page.wait_for_selector(READY)
    expect(page.locator("#shown")).to_have_text("12 of 60 shown")
    page.close()


def test_without_webgl_a_line_says_so_and_search_and_table_work(launch: Launch, copied: Path) -> None:
    page = launch("--disable-3d-apis").new_page()
    page.goto((copied / "map.html").as_uri())
    page.wait_for_selector("#map[data-names=ready]", state="attached")
    expect(page.locator("#problem")).to_contain_text("WebGL 2 is not available")
    page.fill("#query", "lodz")
    page.locator("#hits button").click()
    expect(page.locator("#card-title")).to_have_text("Ünïcødé Łódź Straße")
    row = page.locator("#clusters tbody tr").nth(2)
    expect(row).to_contain_text("c02")
    expect(row.locator("a").first).to_have_attribute("href", "../batch-0001/qa-samples/index.html#c02")
    expect(row.locator("td")).to_contain_text(["מראה", "12", "4", "4", "4"])


def test_a_page_without_its_folder_says_what_is_missing(drawing: Browser, copied: Path, tmp_path: Path) -> None:
    shutil.copy(copied / "map.html", tmp_path / "map.html")
    page = drawing.new_page()
    page.goto((tmp_path / "map.html").as_uri())
    expect(page.locator("#problem")).to_contain_text("1 of 1 files of names in map/ are missing")
    page.close()


def test_a_served_folder_works_too(drawing: Browser, copied: Path) -> None:
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(copied))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = drawing.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/map.html")
        page.wait_for_selector(READY)
        page.fill("#query", "lodz")
        expect(page.locator("#hits button")).to_have_count(1)
        page.close()
        server.shutdown()


def test_every_preset_of_a_large_map_can_be_found(drawing: Browser, tmp_path: Path) -> None:
    count = 9_000
    write_map(tmp_path / "qa", count)
    page = drawing.new_page()
    page.goto((tmp_path / "qa" / "map.html").as_uri())
    page.wait_for_selector(READY)
    assert page.evaluate("aivjMap.names.ids.length") == count
    assert sorted(page.evaluate("aivjMap.names.ids")) == list(map_points(tmp_path / "again", count).ids)
    for wanted in ("big-p08999", "big-p04321"):
        page.fill("#query", wanted)
        hit = page.locator("#hits button")
        expect(hit).to_have_attribute("title", wanted)
        hit.click()
        expect(page.locator("#card-title")).to_have_text(f"Title {int(wanted[5:])}")
    page.close()
