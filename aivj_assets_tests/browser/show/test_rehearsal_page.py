"""The rehearsal page as a person meets it: an hour from disk and from the UI's page server, by pointer and key."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from aivj_assets.contracts.show_log import PickLine, read_show_log
from aivj_assets.contracts.style import Selection
from aivj_assets.layout import DataRoot
from aivj_assets.orchestration.page_server import served_pages
from aivj_assets.show.rehearsal.page import clock
from aivj_assets.show.rehearsal.rehearse import Material, rehearse, write_rehearsal
from aivj_assets_tests.pages import page_until
from aivj_assets_tests.rehearsal_builders import entries_of, material_of, performance_of, set_of, write_pictures

pytestmark = pytest.mark.browser

HOSTILE = "Evil - <img src=x onerror=\"document.title='taken'\">"
READY = "#timeline[data-ready=yes]"
RULED = Selection.model_validate({})


def material(folder: Path) -> Material:
    names = [entry.preset_id for entry in entries_of(300, 24)]
    labels = {name: f"Author {name[-1]} - Title of {name}" for name in names} | {names[5]: HOSTILE}
    return replace(material_of(), labels=labels, frames=write_pictures(folder, names))


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rehearsal of an hour, copied to where its name needs escaping in an address."""
    base = tmp_path_factory.mktemp("rehearsal")
    performance, ours = performance_of(set_of(60), name="An hour"), material(base / "frames")
    write_rehearsal(base / "made", ours, performance, rehearse(ours, performance, seed=1))
    there = base / "für die show #1"
    shutil.copytree(base / "made", there)
    shutil.rmtree(base / "made")
    return there


def watch(page: Page, problems: list[str], *allowed: str) -> None:
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("request", lambda sent: problems.append(sent.url) if not sent.url.startswith(allowed) else None)


@pytest.fixture
def page(browser: Browser, hour: Path) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    shown = context.new_page()
    problems: list[str] = []
    watch(shown, problems, "file:", "data:", "blob:")
    shown.goto((hour / "index.html").as_uri())
    shown.wait_for_selector(READY)
    yield shown
    context.close()
    assert problems == []


def picks_of(folder: Path) -> list[PickLine]:
    return [line for line in read_show_log(folder / "picks.jsonl") if isinstance(line, PickLine)]


def x_of(page: Page, time_s: float) -> tuple[float, float]:
    """Return where a time of the track lies in the window, in the lane of the pictures."""
    box = page.locator("#timeline").bounding_box()
    assert box is not None
    return box["x"] + page.evaluate("t => aivjRehearsal.view.x(t)", time_s), box["y"] + box["height"] - 40


def test_pointing_at_a_pick_tells_why_and_a_click_keeps_it(page: Page, hour: Path) -> None:
    picks = picks_of(hour)
    pick = picks[120]
    middle_s = (pick.time_s + picks[121].time_s) / 2
    x, y = x_of(page, middle_s)
    page.mouse.move(x, y)
    expect(page.locator("#d-title")).to_have_text(f"Title of {pick.preset_id}")
    expect(page.locator("#d-author")).to_have_text(f"Author {pick.preset_id[-1]}")
    expect(page.locator("#d-when")).to_contain_text(f"Pick 121 of {len(picks)}")
    expect(page.locator("#d-choice")).to_contain_text(f"from {pick.candidate_count} that could be shown")
    expect(page.locator("#d-choice")).to_contain_text(f"its energy, {pick.energy}, is what the music asked for")
    listed = page.locator("#d-candidates li")
    names = [candidate.preset_id for candidate in pick.candidates]
    expect(listed).to_have_count(len(names) + (pick.preset_id not in names))
    expect(page.locator("#d-candidates .picked bdi")).to_have_text(
        f"Author {pick.preset_id[-1]} - Title of {pick.preset_id}"
    )
    expect(page.locator("#d-features dd").first).to_have_text(f"{pick.features['loudnessMean']:.3f}")
    # Elsewhere another is told; kept by a click, it stays.
    page.mouse.move(*x_of(page, 100.0))
    expect(page.locator("#d-when")).not_to_contain_text("Pick 121 ")
    page.mouse.click(x, y)
    page.mouse.move(*x_of(page, 100.0))
    expect(page.locator("#d-when")).to_contain_text("Pick 121 ")
    # The picture is that preset's own, from the sheet beside the page.
    assert "pictures/sheet-" in str(page.locator("#thumb").evaluate("one => getComputedStyle(one).backgroundImage"))


def test_every_reason_and_the_whole_track_can_be_reached_by_keyboard(page: Page, hour: Path) -> None:
    picks = picks_of(hour)
    page.locator("#timeline").focus()
    for number in range(1, 6):
        page.keyboard.press("ArrowRight")
        expect(page.locator("#d-when")).to_contain_text(f"Pick {number + 1} of {len(picks)}")
        expect(page.locator("#d-title")).to_have_text(
            HOSTILE.partition(" - ")[2] if picks[number].preset_id == "p0005" else f"Title of {picks[number].preset_id}"
        )
    expect(page.locator("#span")).to_have_text("0:00 \u2013 1:00:00")
    for _ in range(6):
        page.keyboard.press("+")
    span = float(page.evaluate("aivjRehearsal.view.span"))
    assert span == pytest.approx(3600 / 1.6**6, rel=0.01)
    begin, end = page.evaluate("[aivjRehearsal.view.from, aivjRehearsal.view.to]")
    assert begin <= picks[5].time_s <= end
    expect(page.locator("#span")).to_have_text(f"{clock(begin)} \u2013 {clock(end)}")
    # From pick to pick the view follows.
    page.keyboard.press("End")
    expect(page.locator("#d-when")).to_contain_text(f"Pick {len(picks)} of {len(picks)}")
    assert page.evaluate("aivjRehearsal.view.to") == pytest.approx(3600)
    page.keyboard.press("Shift+ArrowLeft")
    assert page.evaluate("aivjRehearsal.view.to") == pytest.approx(3600 - 0.2 * span, abs=0.1)
    page.keyboard.press("0")
    expect(page.locator("#span")).to_have_text("0:00 \u2013 1:00:00")


def test_wheel_drag_and_buttons_zoom_and_scroll(page: Page) -> None:
    x, y = x_of(page, 1800.0)
    page.mouse.move(x, y)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -600)
    page.keyboard.up("Control")
    expect(page.locator("#span")).not_to_have_text("0:00 \u2013 1:00:00")
    # What was under the pointer stays under it.
    assert x_of(page, 1800.0)[0] == pytest.approx(x, abs=2)
    page.mouse.down()
    page.mouse.move(x - 200, y, steps=4)
    page.mouse.up()
    assert x_of(page, 1800.0)[0] == pytest.approx(x - 200, abs=2)
    page.get_by_role("button", name="whole track").click()
    expect(page.locator("#span")).to_have_text("0:00 \u2013 1:00:00")
    page.get_by_role("button", name="Zoom in").click()
    box = page.locator("#overview").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] - 5, box["y"] + 10)
    assert page.evaluate("aivjRehearsal.view.to") == pytest.approx(3600)


def colour_at(page: Page, time_s: float, lane: str) -> list[int]:
    """Return the colour that is drawn at a time at the bottom of a lane."""
    return list(
        page.evaluate(
            """([time, name]) => { const canvas = document.querySelector("#timeline"), { view, draw } = aivjRehearsal;
            draw();
            const lane = makeLanes(canvas.clientHeight).find((one) => one.name === name), ratio = devicePixelRatio;
            const y = (lane.top + lane.height - 3) * ratio, x = view.x(time) * ratio;
            return [...canvas.getContext("2d").getImageData(Math.round(x), Math.round(y), 1, 1).data.slice(0, 3)]; }""",
            [time_s, lane],
        )
    )


def themed(browser: Browser, address: str, scheme: str) -> list[object]:
    """Return the ground of the page and the colours of the tiers as they were heard, which the other bands share."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector(READY)
    page.evaluate("aivjRehearsal.view.set(0, 120)")
    # Calm until 32 s, groove until 72, peak until 104, calm.
    tiers = {"calm": 10.3, "groove": 50.3, "peak": 90.3}
    heard = {tier: colour_at(page, at_s, "heard") for tier, at_s in tiers.items()}
    assert len({tuple(colour) for colour in heard.values()}) == 3
    for tier, at_s in tiers.items():
        assert colour_at(page, at_s, "made") == heard[tier]
        assert colour_at(page, at_s, "selector") == heard[tier]
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    context.close()
    return [ground, *heard.values()]


def test_bands_show_what_was_heard_what_was_made_and_what_was_on_screen_in_both_themes(
    browser: Browser, hour: Path, tmp_path: Path
) -> None:
    # From disk a browser does not let pictures be read back from a canvas.
    root = DataRoot(tmp_path / "root")
    shutil.copytree(hour, root.rehearsal_dir("big"))
    with served_pages(root, 0) as address:
        seen = {scheme: themed(browser, f"{address}/big/rehearsal/index.html", scheme) for scheme in ("dark", "light")}
    assert seen["dark"][0] != seen["light"][0]
    assert seen["dark"] != seen["light"]


def test_an_hour_is_a_page_of_less_than_a_megabyte(hour: Path) -> None:
    assert (hour / "index.html").stat().st_size < 1_000_000
    assert sum(path.stat().st_size for path in hour.rglob("*") if path.is_file()) < 5_000_000


def test_the_figures_stand_side_by_side_and_no_rule_is_broken(page: Page) -> None:
    expect(page.locator("#violations")).to_contain_text("None: no preset or cluster came back too soon")
    head = page.locator("#comparison thead th")
    expect(head).to_have_text(["figure", "selector", "next in list", "random"])
    row = page.locator("#comparison tbody tr").filter(has_text="rules broken")
    values = row.locator("td").all_text_contents()
    assert values[0] == "0"
    assert all(int(value.replace(",", "")) > 100 for value in values[1:])
    assert page.title() == "Rehearsal of pack: An hour"


@pytest.mark.parametrize("width", [1400, 420])
def test_nothing_is_wider_than_the_window(browser: Browser, hour: Path, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    page.goto((hour / "index.html").as_uri())
    page.wait_for_selector(READY)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()


def test_a_broken_rule_is_listed_and_a_click_leads_to_it(browser: Browser, tmp_path: Path) -> None:
    performance, ours = performance_of(set_of(8)), material(tmp_path / "frames")
    made = rehearse(ours, performance, seed=1)
    # Judged by stricter rules than it was picked by.
    strict = replace(
        ours, selection=Selection.model_validate({"minDwellSeconds": {"calm": 40, "groove": 16, "peak": 8}})
    )
    judged = rehearse(strict, performance, seed=1).rehearsal
    from aivj_assets.show.rehearsal.judge import Rules, judge

    broken = judge(made.shown["selector"], made.heard, Rules(ours.library, judged.selection))
    assert {one.rule for one in broken} == {"dwell"}
    told = made.rehearsal.model_copy(update={"violations": broken})
    write_rehearsal(tmp_path / "made", ours, performance, replace(made, rehearsal=told))
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    page.goto((tmp_path / "made" / "index.html").as_uri())
    page.wait_for_selector(READY)
    rows = page.locator("#violations tbody tr")
    expect(rows).to_have_count(len(broken))
    expect(rows.last).to_contain_text("calm asks for 40")
    rows.last.locator("button").click()
    number = [one.time_s for one in made.shown["selector"]].index(broken[-1].time_s) + 1
    expect(page.locator("#d-when")).to_contain_text(f"Pick {number} of")
    page.locator("#timeline").focus()
    page.keyboard.press("v")
    first = [one.time_s for one in made.shown["selector"]].index(broken[0].time_s) + 1
    expect(page.locator("#d-when")).to_contain_text(f"Pick {first} of")
    context.close()


def test_the_page_is_the_same_from_the_uis_page_server(browser: Browser, hour: Path, tmp_path: Path) -> None:
    root = DataRoot(tmp_path / "root")
    shutil.copytree(hour, root.rehearsal_dir("big"))
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    problems: list[str] = []
    with served_pages(root, 0) as address:
        assert address is not None
        watch(page, problems, address)
        page.goto(f"{address}/big/rehearsal/index.html")
        page.wait_for_selector(READY)
        page.locator("#timeline").focus()
        page.keyboard.press("ArrowRight")
        expect(page.locator("#d-when")).to_contain_text("Pick 2 of")
        page_until(page, "[...sheets.values()].some((image) => image.complete && image.naturalWidth > 0)")
    context.close()
    assert problems == []


def test_missing_pictures_are_said_and_the_rest_works(browser: Browser, hour: Path, tmp_path: Path) -> None:
    shutil.copy(hour / "index.html", tmp_path / "index.html")
    context = browser.new_context()
    page = context.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    page.wait_for_selector(READY)
    expect(page.locator("#problem")).to_have_text(
        "Pictures are missing in pictures/: copy the whole folder, then reload."
    )
    expect(page.locator("#d-title")).not_to_be_empty()
    context.close()
