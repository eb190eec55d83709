"""A show as a person meets it: real music, real presets, a real browser, and the log that stays."""

import io
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image, ImageChops
from playwright.sync_api import Page, expect

from aivj_assets.contracts.show_log import SessionLine
from aivj_assets.contracts.style import DwellSeconds
from aivj_assets.layout import DataRoot, sha256_file
from aivj_assets_tests.live_show_builders import QUICK, OpenShow, publish_model, publish_pack

pytestmark = pytest.mark.browser

Open = Callable[..., OpenShow]


@pytest.fixture
def root(tmp_path: Path, real_presets: list[Path]) -> DataRoot:
    """A published pack of twelve real presets."""
    made = DataRoot(tmp_path / "root")
    publish_pack(made, {f"p{at:02d}": path for at, path in enumerate(real_presets[40:52])})
    return made


def picture(page: Page) -> Image.Image:
    return Image.open(io.BytesIO(page.screenshot())).convert("L")


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of two pictures, 0..255."""
    histogram = ImageChops.difference(one, other).histogram()
    return sum(level * count for level, count in enumerate(histogram)) / sum(histogram)


def test_music_plays_and_presets_follow_it_until_the_page_is_closed(
    open_show: Open, root: DataRoot, music: Path
) -> None:
    show = open_show(root)
    page = show.page
    page.locator("#file").set_input_files(music)
    page.locator(".deck.on").first.wait_for(timeout=20_000)
    expect(page.locator("#track-name")).to_have_text("a set & more.wav")
    expect(page.locator(".tier[aria-current]")).to_have_count(1)
    page.keyboard.press("o")
    expect(page.locator("#panel")).to_be_hidden()
    before = picture(page)
    show.until(lambda: difference(before, picture(page)) > 1)
    page.keyboard.press("o")
    show.until(lambda: len(show.picks()) >= 3)
    name = page.locator("#preset-name")
    # Picks follow each other within seconds: what is shown and what is logged are read together, again and again.
    show.until(lambda: name.inner_text() == f"Author - {show.picks()[-1].preset_id}")
    expect(page.locator("#preset-style")).to_contain_text("style <b>")

    # Seeking is no time that passes, neither forth nor back.
    for place in ("30", "5"):
        page.locator("#seek").evaluate(
            "(seek, to) => { seek.value = to; seek.dispatchEvent(new Event('input')) }", place
        )
        count = len(show.picks())
        show.until(lambda count=count: len(show.picks()) > count)
    page.close(run_before_unload=True)
    show.until(lambda: show.ends() and show.ends()[-1].ended_by == "stop")

    session, *lines = show.lines()
    assert isinstance(session, SessionLine)
    assert session.track.name == "a set & more.wav"
    assert session.track.sha256 == sha256_file(music)
    assert session.index_hash == sha256_file(root.published("pack", "aivj-style-index.v1.json"))
    assert all(one.time_s <= other.time_s for one, other in pairwise(lines))
    assert lines[-1].time_s < 30
    picks, ends = show.picks(), show.ends()
    assert [pick.number for pick in picks] == [end.number for end in ends] == list(range(len(picks)))
    assert all(end.dwell_s >= 2 for end in ends[:-1])
    assert all(one.cluster != other.cluster for one, other in pairwise(picks) if "clusterCooldown" not in other.relaxed)
    log = next(root.shows_dir("pack").glob("*.log")).read_text(encoding="utf-8").splitlines()
    assert [line.split()[3] for line in log] == [pick.preset_id for pick in picks]
    assert show.problems == []


def test_keys_and_buttons_do_what_they_say_and_the_log_tells_it(open_show: Open, root: DataRoot) -> None:
    show = open_show(root)
    page = show.page
    show.play()
    page.keyboard.press("h")
    expect(page.locator("[data-action=hold]")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#dwell")).to_contain_text("Held until")
    page.keyboard.press("f")
    expect(page.locator("#favourite-mark")).to_have_text("★ ")
    show.until(lambda: [act.act for act in show.acts()] == ["hold", "favourite"])
    held = show.picks()[-1]
    page.wait_for_timeout(4000)
    assert show.picks()[-1] == held, "held longer than it would have stayed"
    page.keyboard.press("Space")
    expect(page.locator("[data-action=play]")).to_contain_text("Play")
    # A person may choose while the music pauses.
    page.keyboard.press("s")
    show.until(lambda: show.picks()[-1].number == held.number + 1)
    page.locator("[data-action=blacklist]").click()
    last = show.until(lambda: next((pick for pick in show.picks() if pick.number == held.number + 2), None))
    expect(page.locator("#preset-name")).to_have_text(f"Author - {last.preset_id}")
    assert last.reason == "skip"
    _, skipped, banned = show.picks()[-3:]
    assert [(act.act, act.preset_id) for act in show.acts()] == [
        ("hold", held.preset_id),
        ("favourite", held.preset_id),
        ("skip", held.preset_id),
        ("blacklist", skipped.preset_id),
    ]
    assert [(end.ended_by, end.held_s > 2) for end in show.ends()[-2:]] == [("skip", True), ("skip", False)]
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("s")
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    assert show.picks()[-1] == banned, "keys of a dialog are the dialog's"

    # What was said of presets is known after a reload, and each show has a log of its own.
    page.reload()
    show.play()
    show.until(lambda: len(list(root.shows_dir("pack").glob("*.jsonl"))) == 2)
    favourites = show.until(lambda: [pick for pick in show.picks() if pick.tier == held.energy])
    assert favourites[0].favourite
    assert favourites[0].preset_id == held.preset_id
    assert skipped.preset_id not in {pick.preset_id for pick in show.picks()}
    page.keyboard.press("?")
    expect(page.locator("#forget")).to_contain_text("blacklisted preset")
    assert show.problems == []


def test_presets_that_cannot_be_shown_are_passed_over_and_told(
    open_show: Open, tmp_path: Path, preset_text: Callable[..., str]
) -> None:
    root = DataRoot(tmp_path / "root")
    broken = {
        "missing": None,
        "no-preset": "{}",
        "bad-shader": preset_text("", warp="shader_body { ret = nonsense(uv); }"),
        "reaches-out": preset_text("fetch('http://127.0.0.1/');"),
    }
    calm = QUICK.model_copy(update={"min_dwell_seconds": DwellSeconds(calm=60, groove=60, peak=60)})
    publish_pack(root, {**broken, "good": preset_text("a.q1 = 1;")}, energy="groove", selection=calm)
    show = open_show(root)
    show.play()
    # Those that came before the good one have failed; a skip brings the others about.
    show.page.keyboard.press("s")
    show.until(lambda: {end.preset_id for end in show.ends() if end.ended_by == "failed"} == set(broken), 30)
    expect(show.page.locator("#preset-name")).to_have_text("Author - good")
    errors = {end.preset_id: end.error or "" for end in show.ends() if end.ended_by == "failed"}
    assert "pack/files/missing.json" in errors["missing"]
    assert "baseVals" in errors["no-preset"]
    assert "shader-compile-failed" in errors["bad-shader"]
    assert "not allowed" in errors["reaches-out"]
    assert sorted(pick.preset_id for pick in show.picks() if pick.preset_id != "good") == sorted(broken)
    expect(show.page.locator("#notices")).to_contain_text("Passed over Author - ")


def test_a_preset_that_hangs_is_taken_off_and_the_show_goes_on(
    open_show: Open, tmp_path: Path, preset_text: Callable[..., str]
) -> None:
    root = DataRoot(tmp_path / "root")
    hanging = {
        "hangs-at-once": preset_text("", init_eqs_str="while (true) {}"),
        "hangs-later": preset_text("while (a.frame > 30) { a.q1 = a.q1 + 1; }"),
    }
    calm = QUICK.model_copy(update={"min_dwell_seconds": DwellSeconds(calm=60, groove=60, peak=60)})
    working = {"good": preset_text("a.q1 = 1;"), "fine": preset_text("a.q1 = 2;")}
    publish_pack(root, {**hanging, **working}, energy="groove", selection=calm)
    show = open_show(root)
    page = show.page
    name = page.locator("#preset-name")

    def failed() -> dict[str, str]:
        return {end.preset_id: end.error or "" for end in show.ends() if end.ended_by == "failed"}

    def is_working_shown() -> bool:
        return show.picks()[-1].preset_id in working and page.locator(".deck.on").count() > 0

    page.locator("#play-given").click()
    show.until(show.picks)
    for least in range(1, len(hanging) + 1):
        while len(failed()) < least:
            show.until(lambda least=least: len(failed()) >= least or is_working_shown(), 30)
            if len(failed()) < least:
                page.keyboard.press("s")
                page.wait_for_timeout(500)
    assert set(failed()) == set(hanging)
    assert all("nothing was heard of it" in error for error in failed().values())
    expect(page.locator("#notices")).to_contain_text("Passed over Author - hangs-")
    # The show goes on, on stages that were made anew.
    show.until(is_working_shown)
    shown = name.inner_text()
    page.keyboard.press("s")
    expect(name).to_have_text("Author - fine" if shown == "Author - good" else "Author - good")
    page.locator(".deck.on").first.wait_for()


def test_a_file_that_is_no_music_is_one_line_and_another_can_be_chosen(
    open_show: Open, root: DataRoot, tmp_path: Path, music: Path
) -> None:
    notes = tmp_path / "notes.wav"
    notes.write_text("no music", encoding="utf-8")
    show = open_show(root)
    show.page.locator("#file").set_input_files(notes)
    expect(show.page.locator("#start-problem")).to_contain_text("wav, flac, ogg or mp3")
    expect(show.page.locator("#panel")).to_be_hidden()
    show.page.locator("#file").set_input_files(music)
    expect(show.page.locator("#start")).to_be_hidden()
    assert show.until(show.picks)


def test_presets_run_where_nothing_can_be_reached(open_show: Open, root: DataRoot) -> None:
    show = open_show(root)
    show.play()
    show.until(lambda: len(show.page.frames) == 3)
    for stage in show.page.frames[1:]:
        assert stage.evaluate("globalThis.origin") == "null"
        reached = """() => { try { return String(parent.document) } catch (error) { return error.name } }"""
        assert stage.evaluate(reached) == "SecurityError"
        image = """async () => await new Promise((resolve) => {
            const image = document.createElement('img'); image.onload = () => resolve('loaded');
            image.onerror = () => resolve('refused'); image.src = new URL('/audio/given', location.href).href })"""
        assert stage.evaluate(image) == "refused"
    # A process of its own: one that hangs does not stop the other.
    first, second = (frame.url.partition("/stage")[0] for frame in show.page.frames[1:])
    assert first != second


def test_a_narrow_window_shows_everything_without_scrolling_sideways(open_show: Open, root: DataRoot) -> None:
    show = open_show(root, width=420, height=800)
    show.play()
    page = show.page
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    for button in page.locator("#controls button:visible").all():
        box = button.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 420
        assert box["height"] >= 36
    page.keyboard.press("o")
    page.locator("#show-panel").click()
    expect(page.locator("#panel")).to_be_visible()


def test_a_published_model_takes_part_until_it_is_switched_off(
    open_show: Open, tmp_path: Path, preset_text: Callable[..., str]
) -> None:
    root = DataRoot(tmp_path / "root")
    publish_pack(root, {f"p{at:02d}": preset_text(f"a.q1 = {at};") for at in range(12)}, energy="groove")
    model = publish_model(root, favoured="c02")
    show = open_show(root)
    show.play()
    first = show.until(show.picks)[0]
    assert first.candidates[0].cluster == "c02"
    assert first.candidates[0].probability > 0.25
    session = show.lines()[0]
    assert session.model_hash == sha256_file(model)
    show.page.keyboard.press("m")
    # Whether the model takes part is a show's first line: the show ends and another begins.
    show.until(lambda: len(list(root.shows_dir("pack").glob("*.jsonl"))) == 2 and show.picks())
    assert show.lines()[0].model_hash is None
    assert show.picks()[0].candidates[0].probability < 0.25
    assert show.problems == []
