"""The page of a search as a person meets it: opened from disk, anywhere, without a network."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from aivj_assets.report.matches import MatchGroup, MatchView, SearchResult, write_page
from aivj_assets_tests.builders import embeddings_meta
from aivj_assets_tests.pages import page_until

pytestmark = pytest.mark.browser

COUNT = 24
NAMES = [
    "<script>document.title = 'taken'</script> - <img src=x onerror=\"document.title='taken'\">",
    "Author - " + "x" * 300,
    "🔥🦄 - ночь 日本",
    "\"quotes\" & 'more' - </li></ol></main>",
]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frames")
    random = np.random.default_rng(1)

    def view(number: int, rank: int | None) -> MatchView:
        picture = folder / f"{number}.webp"
        Image.new("RGB", (224, 224), tuple(random.integers(0, 256, 3).tolist())).save(picture)
        label = NAMES[number] if number < len(NAMES) else f"Geiss - Title {number}"
        return MatchView(f"starter-{number:03d}", label, "starter", 0.9 - number / 100, rank, picture)

    made = SearchResult(
        pack="starter",
        kind="presets",
        asked=["starter-030"],
        groups=[MatchGroup([view(number, number + 1) for number in range(COUNT)])],
        card=embeddings_meta(1, 8).card,
        presets=1234,
        batches=["starter"],
        query=[view(30, None)],
    )
    path = tmp_path_factory.mktemp("copied") / "für die show #1" / "found.html"
    write_page(path, made)
    # The page holds its pictures: what it was made from may go.
    for frame in folder.iterdir():
        frame.unlink()
    return path


@pytest.fixture
def page(browser: Browser, page_file: Path) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1440, "height": 900})
    opened.goto(page_file.as_uri())
    yield opened
    opened.close()


def test_pictures_come_with_the_page_and_nothing_else_is_asked_for(browser: Browser, page_file: Path) -> None:
    page = browser.new_page()
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(page_file.as_uri())
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    page_until(page, "() => [...document.images].every(image => image.complete && image.naturalWidth)")
    sizes = page.evaluate("[...document.images].map(image => [image.clientWidth, image.clientHeight])")
    page.close()
    assert len(sizes) == COUNT + 1
    assert all(width / height == pytest.approx(16 / 9, rel=0.02) for width, height in sizes)
    assert complaints == []
    assert {url for url in asked if not url.startswith("data:image/")} == {page_file.as_uri()}


def test_names_are_shown_as_they_are_and_run_nothing(page: Page) -> None:
    assert "taken" not in page.title()
    assert page.locator("script").count() == 0
    assert page.locator("main .sheet li").count() == COUNT + 1
    shown = page.locator("main").inner_text()
    for label in NAMES:
        for part in label.split(" - "):
            assert part in shown
    widths = set(page.evaluate("[...document.querySelectorAll('.sheet li')].map(tile => tile.clientWidth)"))
    assert max(widths) - min(widths) <= 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 1440


def test_the_keyboard_leads_from_preset_to_preset_and_a_screen_reader_hears_which(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the presets"
    page.keyboard.press("Enter")
    heard = []
    for _ in range(6):
        page.keyboard.press("Tab")
        heard.append(page.evaluate("document.activeElement.getAttribute('aria-label')"))
    assert heard[0] == "asked for: Title 30 by Geiss, cosine 0.600"
    assert heard[5] == "Rank 5: Title 4 by Geiss, cosine 0.860"
    page.keyboard.press("Enter")
    assert page.url.endswith("#m1-5")
    assert page.get_by_role("img", name="by Geiss").count() == COUNT + 1 - len(NAMES)
    assert page.get_by_role("region", name="Presets, best first").count() == 1


def test_a_click_on_an_id_selects_it_whole(page: Page) -> None:
    page.locator("code", has_text="starter-007").click()
    assert page.evaluate("getSelection().toString()").strip() == "starter-007"


def test_it_fits_a_phone(browser: Browser, page_file: Path) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(page_file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()
