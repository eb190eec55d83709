"""The page of the gates as a person meets it: opened from disk, without a network, with one batch or 130."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from aivj_assets.contracts.gate_report import (
    BatchNumbers,
    BatchProgress,
    BatchState,
    BatchStatus,
    CheckResult,
    GateReport,
    GateResult,
)
from aivj_assets.contracts.gates import GATES
from aivj_assets.report.gates_page import write_gates_page

pytestmark = pytest.mark.browser

PACK = "a-pack-whose-name-is-as-long-as-names-of-packs-may-be-" + "x" * 46
HOSTILE = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title='taken'\">"
GOOD = (0.99, 0.03, 0.7, 0.4)


def results(values: tuple[float, ...] | None) -> list[GateResult]:
    return [
        GateResult(
            gate=gate.name, rule=gate.rule, comparison=gate.comparison, threshold=gate.threshold,
            value=values[number] if values else None, passed=gate.holds(values[number]) if values else None,
            at="2026-01-31T12:00:00Z" if values else None, evidence={"ok": 990, "failed": 10} if values else {},
        )
        for number, gate in enumerate(GATES)
    ]  # fmt: skip


def status(key: str, state: BatchState, values: tuple[float, ...] | None = None, **more: Any) -> BatchStatus:
    numbers = BatchNumbers()
    if values is not None:
        numbers = BatchNumbers(
            presets=1000, ok=990, ok_rate=values[0], top_same=values[1], luma_min=0.05, luma_max=0.05 + values[2],
            luma_range=values[2], motion_min=0.01, motion_max=0.01 + values[3], motion_range=values[3],
            presets_per_s=3.0,
        )  # fmt: skip
    accepted = state == "accepted"
    return BatchStatus(
        batch=key, accepted=accepted, state=state, gates=results(values), numbers=numbers,
        checks=[CheckResult(stage="embeddings", check="shape", blocking=True, passed=accepted or None)], **more,
    )  # fmt: skip


def many(count: int) -> list[BatchStatus]:
    """Return batches of which every tenth is rejected, the third incomplete and the last waits."""
    found = []
    for number in range(1, count + 1):
        key = f"{PACK}/batch-{number:04d}"
        if number == 3:
            progress = BatchProgress(done=312, total=400)
            found.append(status(key, "incomplete", progress=progress, problem="stopped", next="aivj run it"))
        elif number == count and count > 3:
            found.append(
                status(key, "waiting", waiting_for=["pack '15k' (12 of 13 batches accepted)"], problem="waits")
            )
        elif number % 10 == 0:
            found.append(status(key, "rejected", (0.5, *GOOD[1:]), failure_reasons={HOSTILE: 7}, problem=HOSTILE))
        else:
            page = f"{key}/qa-samples/index.html"
            found.append(status(key, "accepted", GOOD, qa_page=page, last_run_id="0a1b", run_record=f"{key}/run.json"))
    return found


def written(folder: Path, batches: list[BatchStatus]) -> Path:
    path = folder / "artifacts für die show #1" / "gates.html"
    report = GateReport(
        generated_at="2026-01-31T12:00:00.000Z", ui_url="http://127.0.0.1:3000", batches=batches,
        counts=dict(Counter(str(one.state) for one in batches)),
    )  # fmt: skip
    write_gates_page(path, report)
    report.save(path.with_suffix(".json"))
    for one in batches:
        for name in (one.qa_page, one.run_record):
            if name is not None:
                target = path.parent / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text("<title>samples</title>", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("big"), many(130))


@pytest.fixture
def page(browser: Browser, big: Path) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1440, "height": 900})
    opened.goto(big.as_uri())
    yield opened
    opened.close()


@pytest.mark.parametrize("count", [0, 1, 13, 130])
def test_it_needs_nothing_but_itself_and_fits_whatever_there_is(browser: Browser, tmp_path: Path, count: int) -> None:
    path = written(tmp_path, many(count))
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(path.as_uri())
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    assert (asked, complaints) == ([path.as_uri()], [])
    assert page.locator(".matrix tbody tr[id]").count() == count
    assert page.evaluate("document.documentElement.scrollWidth") <= 1440
    assert page.locator("svg[data-trend]").count() == (7 if count else 0)
    if not count:
        expect(page.get_by_text("No batch yet")).to_be_visible()
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


def colour(page: Page, row: str, gate: str) -> tuple[int, ...]:
    column = [one.name for one in GATES].index(gate)
    cell = page.locator(f"{row} td.cell").nth(column)
    found = re.findall(r"\d+", cell.evaluate("cell => getComputedStyle(cell).backgroundColor"))
    return tuple(int(part) for part in found[:3])


def test_a_cell_shows_value_verdict_and_margin(browser: Browser, tmp_path: Path) -> None:
    path = written(tmp_path, [
        status("far", "accepted", (1.0, 0.01, 0.9, 0.8)),
        status("near", "accepted", (0.951, 0.199, 0.301, 0.051)),
        status("short", "rejected", (0.949, *GOOD[1:])),
        status("bad", "rejected", (0.02, *GOOD[1:])),
        status("none", "not run"),
    ])  # fmt: skip
    page = browser.new_page()
    page.goto(path.as_uri())
    far, near, short, bad = (colour(page, f"#b{number}", "ok_rate") for number in (1, 2, 3, 4))
    # Passed is greener than red, failed redder than green; four margins are four colours.
    assert all(green > red for red, green, _ in (far,))
    assert all(red > green for red, green, _ in (short, bad))
    assert near[0] <= near[1] < near[0] + 20
    assert len({far, near, short, bad}) == 4
    # Without colours: words and a sign, the value and the width of the bar.
    expect(page.locator("#b2 td.cell").first).to_contain_text("0.9510 ✓ passed")
    expect(page.locator("#b4 td.cell").first).to_contain_text("0.0200 ✗ failed")
    expect(page.locator("#b5 td.cell").first).to_contain_text("no result")
    widths = page.evaluate(
        "['b1', 'b2', 'b4'].map(id => document.querySelector(`#${id} .room span`).getBoundingClientRect().width)"
    )
    assert widths[1] < 5 < widths[2]
    assert widths[0] > 40
    told = page.locator("#b4 td.cell").first.get_attribute("title")
    assert told is not None
    for part in ("ok presets / presets of the submitted manifest >= 0.95", "0.93 from", "failed: 10", "12:00 UTC"):
        assert part in told, part
    assert page.locator("#b1 td").first.inner_text().strip().endswith("accepted")
    page.close()


def test_links_lead_to_pages_that_are_there_and_to_runs(page: Page) -> None:
    hrefs = page.locator(".matrix td.links a").evaluate_all("links => links.map(link => link.href)")
    local = {href for href in hrefs if href.startswith("file:")}
    assert len(local) == 2 * sum(one.state == "accepted" for one in many(130))
    assert set(hrefs) - local == {"http://127.0.0.1:3000/runs/0a1b"}
    page.locator("#b1").get_by_role("link", name="QA page").click()
    assert page.title() == "samples"
    page.go_back()
    page.get_by_role("link", name="gates.json").click()
    assert page.url.endswith("gates.json")
    page.go_back()
    # A point of a curve and a batch in a list lead to the row.
    page.locator("svg[data-trend=ok_rate] a").last.click()
    assert page.url.endswith("#b129")
    page.locator(".todo").get_by_role("link", name="batch-0010").click()
    assert page.url.endswith("#b10")


def test_130_batches_are_usable(page: Page) -> None:
    assert [dt.strip() for dt in page.locator(".figures dt").all_inner_texts()] == [
        "batches", "✓ accepted", "✗ rejected", "◔ incomplete", "… waiting",
    ]  # fmt: skip
    assert page.locator(".figures dd").all_inner_texts() == ["130", "116", "12", "1", "1"]
    # The heads of the columns stay in sight.
    page.locator("#b100").scroll_into_view_if_needed()
    assert 0 <= page.locator(".matrix thead th").first.evaluate("head => head.getBoundingClientRect().top") < 10
    page.get_by_label("only batches that are not accepted").check()
    shown = page.locator(".matrix tbody tr[id]").evaluate_all("rows => rows.filter(row => row.offsetHeight).length")
    assert shown == 14
    assert page.locator("svg[data-trend=ok_rate] .cross").count() == 12
    assert page.locator("svg[data-trend=luma_range] .cross").count() == 0
    assert page.locator("svg[data-trend=ok_rate] .threshold").count() == 1
    assert page.locator("progress").evaluate("bar => [bar.value, bar.max]") == [312, 400]
    expect(page.get_by_text("pack '15k' (12 of 13 batches accepted)")).to_be_visible()
    remedies = page.locator("section[aria-labelledby=h-remedies]")
    expect(remedies).to_contain_text("timeoutMs 45000")
    assert remedies.get_by_role("link").count() == 12


def test_what_checks_and_presets_say_runs_nothing(page: Page) -> None:
    assert page.title() == "Gates: 116 of 130 batches accepted"
    assert page.locator("script, img").count() == 0
    reasons = page.locator("section[aria-labelledby=h-reasons]")
    expect(reasons.get_by_role("row").nth(1)).to_contain_text(HOSTILE)
    assert reasons.get_by_role("row").nth(1).locator("td").last.inner_text() == "12"


def test_a_screen_reader_hears_which_batch_and_gate_a_cell_is_of(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the batches"
    assert page.get_by_role("columnheader", name="top_same").count() == 1
    assert page.get_by_role("rowheader", name="batch-0042").count() == 1
    chart = page.get_by_role("group", name=re.compile(r"^ok rate: .* between 0\.5 and 0\.99 in 128 of 130 batches"))
    assert chart.count() == 1
