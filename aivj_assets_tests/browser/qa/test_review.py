"""A whole review in a real browser: by keyboard alone, kept over a reload, exported, loaded again."""

from __future__ import annotations

import functools
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from aivj_assets.contracts.verdicts import VerdictsFile
from aivj_assets_tests.pages import page_until
from aivj_assets_tests.review_builders import KNOWN, ReviewBatch, review_batch, some_duplicates

pytestmark = pytest.mark.browser

K, PER = 5, 20


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> ReviewBatch:
    return review_batch(tmp_path_factory.mktemp("batch"), K, PER, side=32)


@pytest.fixture(scope="module")
def page_file(batch: ReviewBatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    batch.write(known=KNOWN, duplicates=some_duplicates(batch))
    # A person may copy the folder anywhere, also where its name needs escaping in an address.
    copied = tmp_path_factory.mktemp("copied") / "für die show #1"
    shutil.copytree(batch.folder.qa_dir, copied)
    shutil.rmtree(batch.folder.qa_dir)
    return copied / "index.html"


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context(viewport={"width": 1400, "height": 1000})
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext, page_file: Path) -> Page:
    return opened(context, page_file.as_uri())


def opened(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console",
        # Served pages are asked for an icon by the browser itself.
        lambda message: None if message.location["url"].endswith("favicon.ico") else problems.append(message.text),
    )
    # Choosers are caught from the start: asked for one by one, some are missed after a download.
    page.on("filechooser", lambda _: None)
    page.goto(address)
    page.problems = problems  # type: ignore[attr-defined]
    return page


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def exported(page: Page, folder: Path) -> dict[str, Any]:
    """Export by keyboard; the file is as the platform reads it."""
    with page.expect_download() as download:
        press(page, "e")
    assert download.value.suggested_filename == "verdicts.json"
    path = folder / "verdicts.json"
    download.value.save_as(path)
    VerdictsFile.load(path)
    return dict(json.loads(path.read_text(encoding="utf-8")))


def load(page: Page, path: Path) -> None:
    with page.expect_file_chooser() as chooser:
        press(page, "i")
    chooser.value.set_files(path)


def pressed(page: Page, cluster: str) -> list[str]:
    buttons = page.locator(f"#{cluster} .verdicts button[aria-pressed=true]")
    return [str(name) for name in buttons.evaluate_all("found => found.map(one => one.dataset.act)")]


def current(page: Page) -> str:
    return str(page.locator("section[aria-current]").get_attribute("id"))


def said(page: Page) -> str:
    return page.get_by_role("status").inner_text()


def test_a_batch_is_reviewed_by_keyboard_reloaded_exported_and_loaded_elsewhere(
    page: Page, browser: Browser, page_file: Path, tmp_path: Path
) -> None:
    expect(page.locator("#reviewed")).to_have_text(f"1 of {K}")
    press(page, "g", "r")
    page.keyboard.type("warp gates")
    press(page, "Enter", "j", "u", "m", "j")
    assert current(page) == "c02"
    expect(page.locator("#c02 .before")).to_contain_text("was bad")
    press(page, "b", "n")
    page.keyboard.type('same "picture" & <b>again</b> g m b')
    press(page, "Enter", "ArrowDown", "g", "ArrowUp", "ArrowDown", "j", "b")
    assert said(page).endswith("All 5 clusters are reviewed; e exports them.")
    verdicts = {"c00": ["good"], "c01": ["mixed"], "c02": ["bad"], "c03": ["good"], "c04": ["bad"]}
    assert {name: pressed(page, name) for name in verdicts} == verdicts

    page.reload()
    assert {name: pressed(page, name) for name in verdicts} == verdicts
    expect(page.locator("#c00 h2 .label")).to_have_text("warp gates")
    expect(page.locator("#c02 .note")).to_have_text('same "picture" & <b>again</b> g m b')
    expect(page.get_by_role("link", name="Cluster c04, 20 presets, bad")).to_have_count(1)
    press(page, "d", "2", "j", "1", "j", "x")
    file = exported(page, tmp_path)
    assert {name: entry["verdict"] for name, entry in file["clusters"].items()} == {
        name: found for name, (found,) in verdicts.items()
    }
    assert file["clusters"]["c00"]["label"] == "warp gates"
    assert file["clusters"]["c01"]["label"] == "blue tunnel"
    assert file["clusters"]["c02"]["note"] == 'same "picture" & <b>again</b> g m b'
    assert (file["lineage"], file["lineageVersion"], file["batch"], file["reviewer"]) == ("main", 3, "starter", None)
    assert [group["keep"] for group in file["keep"]] == ["starter-0005", "starter-0001"]
    assert file["blacklist"] == [{"presetId": "starter-0002", "reason": "misfit"}]
    # Ids only: a name may hold anything.
    assert "Geiss" not in json.dumps(file)

    fresh = browser.new_context()
    other = opened(fresh, page_file.as_uri())
    assert pressed(other, "c00") == []
    load(other, tmp_path / "verdicts.json")
    expect(other.get_by_role("status")).to_contain_text("5 clusters loaded.")
    assert {name: pressed(other, name) for name in verdicts} == verdicts
    (tmp_path / "second").mkdir()
    again = exported(other, tmp_path / "second")
    assert again | {"generatedAt": ""} == file | {"generatedAt": ""}
    assert page.problems == other.problems == []  # type: ignore[attr-defined]
    fresh.close()


def test_what_is_known_counts_until_it_is_asked_again_or_said_otherwise(page: Page, tmp_path: Path) -> None:
    assert pressed(page, "c01") == ["good"]
    expect(page.locator("#c01 h2 .label")).to_have_text("blue tunnel")
    expect(page.locator("#c01 .before")).to_have_text("given before")
    assert pressed(page, "c02") == []
    expect(page.locator("#c02 .note")).to_have_text("all the same")
    file = exported(page, tmp_path)
    # A verdict that was given before keeps its time; one that is asked again is not given again by exporting.
    assert file["clusters"]["c01"] == {
        "verdict": "good", "label": "blue tunnel", "note": None, "at": KNOWN["c01"]["at"],
    }  # fmt: skip
    assert file["clusters"]["c02"]["verdict"] is None
    assert set(file["clusters"]) == {"c01", "c02"}
    press(page, "j", "u")
    assert pressed(page, "c01") == []
    page.reload()
    assert pressed(page, "c01") == []
    expect(page.locator("#reviewed")).to_have_text(f"0 of {K}")


def test_names_that_people_give_are_text_and_such_as_the_platform_takes(page: Page, tmp_path: Path) -> None:
    hostile = "<img src=x onerror=\"document.title='taken'\">"
    for name in (hostile, "\u202eevil\u200b\tname  ", "e\u0301" + "y" * 300, "🦄 יופי"):
        press(page, "r")
        page.keyboard.press("Control+A")
        page.evaluate("name => { document.activeElement.value = name }", name)
        press(page, "Enter", "j")
    assert "taken" not in page.title()
    assert page.locator("main img[src=x]").count() == 0
    expect(page.locator("#c00 h2 .label")).to_have_text(hostile)
    labels = [entry["label"] for entry in exported(page, tmp_path)["clusters"].values()]
    assert labels[1:] == ["evil name", "é" + "y" * 79, "🦄 יופי"]


def test_escape_leaves_a_name_and_a_note_as_they_were(page: Page) -> None:
    press(page, "r")
    page.keyboard.type("not this")
    press(page, "Escape", "n")
    page.keyboard.type("nor this")
    press(page, "Escape")
    expect(page.locator("#c00 h2 .label")).to_have_text("style 0")
    expect(page.locator("#c00 .note")).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "c00"
    press(page, "g")
    assert pressed(page, "c00") == ["good"]


def test_everything_works_by_mouse_too(page: Page, tmp_path: Path) -> None:
    cluster = page.locator("#c03")
    cluster.get_by_role("button", name="good").click()
    assert pressed(page, "c03") == ["good"]
    cluster.get_by_role("button", name="good").click()
    assert pressed(page, "c03") == []
    cluster.get_by_role("button", name="Rename c03").click()
    page.keyboard.type("by mouse")
    cluster.locator(".size").click()
    expect(cluster.locator("h2 .label")).to_have_text("by mouse")
    page.get_by_role("button", name="keep this one").nth(1).click()
    expect(page.locator(".group").first.locator(".kept .title")).to_have_text("Title 5")
    assert page.locator(".group").first.locator(".dropped").count() == 2
    page.locator(".misfits").get_by_role("button", name="blacklist").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    download.value.save_as(tmp_path / "verdicts.json")
    file = VerdictsFile.load(tmp_path / "verdicts.json")
    assert file.clusters["c03"].label == "by mouse"
    assert [choice.keep for choice in file.keep] == ["starter-0005"]
    assert [choice.preset_id for choice in file.blacklist] == ["starter-0002"]
    # The link of a near cluster, and back by the key.
    link = cluster.locator(".about a").first
    wanted = str(link.get_attribute("href"))[1:]
    link.click()
    assert current(page) == wanted
    assert page.url.endswith(f"#{wanted}")


def test_filters_leave_what_fits_and_keys_pass_over_the_rest(page: Page) -> None:
    shown = page.locator("section.cluster:visible")
    press(page, "/")
    page.keyboard.type("Title 13")
    expect(shown).to_have_count(1)
    titles = page.locator("section.cluster:visible .tile:visible .title").all_inner_texts()
    assert titles == ["Title 13"]
    assert said(page) == "1 of 5 clusters shown."
    press(page, "Enter")
    assert current(page) == "c03"
    press(page, "g", "/", "Escape")
    expect(shown).to_have_count(K)
    page.get_by_label("Verdict", exact=True).select_option("todo")
    # c01 was judged before, c03 now; c02 is asked again.
    assert shown.evaluate_all("found => found.map(one => one.id)") == ["c00", "c02", "c04"]
    page.get_by_label("Verdict", exact=True).select_option("again")
    assert shown.evaluate_all("found => found.map(one => one.id)") == ["c02"]
    page.get_by_label("Verdict", exact=True).select_option("")
    page.get_by_label("Energy", exact=True).select_option("peak")
    energies = page.locator(".tile:visible").evaluate_all("found => found.map(one => one.dataset.energy)")
    assert set(energies) == {"peak"}
    page.get_by_label("Smallest size of a cluster, presets").fill("21")
    expect(page.get_by_text("No cluster fits the filter.")).to_be_visible()
    page.get_by_role("button", name="Clear the filter").click()
    expect(shown).to_have_count(K)


def test_the_order_follows_what_is_asked(page: Page) -> None:
    def order() -> list[str]:
        ids = page.locator("section.cluster").evaluate_all("found => found.map(one => one.id)")
        chips = page.locator("[data-chip]").evaluate_all("found => found.map(one => one.dataset.chip)")
        assert ids == chips
        return [str(name) for name in ids]

    sort = page.get_by_label("Sort", exact=True)
    sort.select_option("cohesion")
    cohesions = [
        float(text.partition("cohesion ")[2].split()[0]) for text in page.locator("section .means").all_text_contents()
    ]
    assert cohesions == sorted(cohesions)
    assert len(set(cohesions)) == K
    sort.select_option("changed")
    assert order()[0] == "c02"
    press(page, "Escape", "b")
    sort.select_option("verdict")
    assert order() == ["c02", "c01", "c00", "c03", "c04"]
    press(page, "Escape", "j")
    assert current(page) == "c01"
    assert page.locator("#c01 .steps a").evaluate_all("found => found.map(one => one.hash)") == ["#c02", "#c00"]
    sort.select_option("id")
    assert order() == [f"c0{number}" for number in range(K)]


def test_a_verdict_by_key_leads_on_when_that_is_wanted(page: Page) -> None:
    page.get_by_label("go on after a verdict").check()
    press(page, "g", "b", "m")
    assert current(page) == "c03"
    assert [pressed(page, f"c0{number}") for number in range(4)] == [["good"], ["bad"], ["mixed"], []]
    page.reload()
    expect(page.get_by_label("go on after a verdict")).to_be_checked()
    press(page, "t")
    assert current(page) == "c04"


FILM = "document.activeElement.querySelector('.film img')"


def test_the_other_captures_move_on_space_and_on_hover(page: Page) -> None:
    press(page, "l", "l", "Space")
    page_until(page, f"{FILM}?.naturalWidth === 576")
    assert page.evaluate(f"getComputedStyle({FILM}).animationName") == "film"
    assert page.evaluate(f"getComputedStyle({FILM}).animationTimingFunction") == "steps(3)"
    # Each capture fills the picture.
    assert page.evaluate(f"{FILM}.clientWidth / {FILM}.parentElement.clientWidth") == pytest.approx(3, abs=0.02)
    press(page, "Space")
    assert page.evaluate(f"{FILM} === null")
    tile = page.locator("#c00 .tile").nth(5)
    tile.hover()
    expect(tile.locator(".film")).to_have_count(1)
    page.locator("h1").hover()
    expect(page.locator(".film")).to_have_count(0)
    press(page, "j", "Space")
    expect(page.locator("#c01 .film")).to_have_count(page.locator("#c01 .tile").count())
    press(page, "j")
    expect(page.locator(".film")).to_have_count(0)


def test_who_wants_less_motion_sees_all_captures_side_by_side(browser: Browser, page_file: Path) -> None:
    context = browser.new_context(reduced_motion="reduce")
    page = opened(context, page_file.as_uri())
    press(page, "l")
    page_until(page, f"{FILM}?.naturalWidth === 576")
    assert page.evaluate(f"getComputedStyle({FILM}).animationName") == "none"
    assert page.evaluate(f"{FILM}.clientWidth === {FILM}.parentElement.clientWidth")
    context.close()


def test_a_browser_that_keeps_nothing_is_told_and_exports_all_the_same(
    context: BrowserContext, page_file: Path, tmp_path: Path
) -> None:
    context.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('', 'SecurityError'); } })"
    )
    page = opened(context, page_file.as_uri())
    expect(page.get_by_text("This browser keeps nothing for this page")).to_be_visible()
    press(page, "g")
    assert exported(page, tmp_path)["clusters"]["c00"]["verdict"] == "good"
    page.reload()
    assert pressed(page, "c00") == []
    load(page, tmp_path / "verdicts.json")
    expect(page.locator("#c00 .verdicts [data-act=good]")).to_have_attribute("aria-pressed", "true")
    assert page.problems == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda file: "{", "is no JSON"),
        (lambda file: json.dumps({"clusters": {}}), "no verdicts.json"),
        (lambda file: json.dumps([]), "no verdicts.json"),
        (lambda file: json.dumps(file | {"lineage": "other"}), "of lineage other, this page of main"),
        (lambda file: json.dumps(file | {"lineageVersion": 2}), "judged on version 2"),
        (
            lambda file: json.dumps(file | {"clusters": {"c99": file["clusters"]["c00"], "c00": None, "c01": []}}),
            "0 clusters loaded, 3 are not on this page",
        ),
    ],
)
def test_a_file_that_does_not_belong_here_is_told(
    page: Page, tmp_path: Path, change: Callable[[dict[str, Any]], str], told: str
) -> None:
    press(page, "g")
    file = exported(page, tmp_path)
    (tmp_path / "other.json").write_text(change(file), encoding="utf-8")
    load(page, tmp_path / "other.json")
    expect(page.get_by_role("status")).to_contain_text(told)
    assert pressed(page, "c00") == ["good"]
    assert page.problems == []  # type: ignore[attr-defined]


def test_of_a_file_and_this_browser_the_later_word_counts(page: Page, tmp_path: Path) -> None:
    press(page, "g")
    exported(page, tmp_path)
    press(page, "b")
    load(page, tmp_path / "verdicts.json")
    expect(page.get_by_role("status")).to_contain_text("loaded")
    assert pressed(page, "c00") == ["bad"]


@contextmanager
def served(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_served_it_asks_for_its_own_files_only_and_keeps_verdicts(context: BrowserContext, page_file: Path) -> None:
    with served(page_file.parent) as address:
        asked: list[str] = []
        context.on("request", lambda request: asked.append(request.url))
        page = opened(context, f"{address}/index.html#c02")
        assert current(page) == "c02"
        press(page, "g", "l", "Space")
        page_until(page, f"{FILM}?.naturalWidth === 576")
        page.reload()
        assert pressed(page, "c02") == ["good"]
        assert all(url.startswith(address) for url in asked)
        assert any("/strips/" in url for url in asked)
        assert page.problems == []  # type: ignore[attr-defined]
        page.close()


def test_without_scripts_the_pictures_are_there_and_nothing_that_would_do_nothing(
    browser: Browser, page_file: Path
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert page.locator("section.cluster .tile img").count() > K * 12
    assert page.get_by_role("button").count() == 0
    assert page.get_by_role("link", name="Next cluster, c01").count() == 1
    context.close()


def test_no_name_is_wider_than_its_picture(page: Page) -> None:
    for cluster in page.locator("section.cluster").all():
        cluster.scroll_into_view_if_needed()
        overhang = cluster.locator(".tile").evaluate_all(
            "all => all.map(tile => Math.max(...[...tile.querySelectorAll('figcaption *')]"
            ".map(one => one.getBoundingClientRect().right)) - tile.getBoundingClientRect().right)"
        )
        assert max(overhang) <= 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 1400


def test_a_screen_reader_hears_names_states_and_outcomes(page: Page) -> None:
    assert page.get_by_role("group", name="Verdict on c03").get_by_role("button").count() == 3
    assert page.get_by_role("region", name="c01 blue tunnel").count() == 1
    assert page.get_by_role("progressbar", name="Clusters reviewed").get_attribute("aria-valuenow") == "1"
    assert page.get_by_role("list", name="Outliers of c00").count() == 1
    assert page.get_by_role("group", name="Group 1 of 2: 3 alike in c00").count() == 1
    nameless = page.locator("button, select, input").evaluate_all(
        "all => all.filter(one => !(one.ariaLabel || one.labels?.length || one.textContent.trim())).length"
    )
    assert nameless == 0
    press(page, "j", "?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    press(page, "?")
    expect(page.get_by_role("dialog")).to_have_count(0)
    press(page, "m")
    assert said(page).startswith("c01 blue tunnel: mixed.")
    assert page.evaluate("document.activeElement.matches(':focus-visible')")
    assert page.locator("nav [aria-current]").get_attribute("href") == "#c01"
