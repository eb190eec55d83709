"""How a session gets its browsers: one that was slow to start, one that lost WebGL for good."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aivj_assets.contracts.render_parameters import PageDescription, RenderParameters
from aivj_assets.errors import UserError
from aivj_assets.render import browser as browser_module
from aivj_assets.render.browser import (
    BrowserEndedAtStartError,
    BrowserStartTimeoutError,
    LiveBrowser,
    PageFailedError,
    start_browser,
)
from aivj_assets.render.environment import RenderEnvironment
from aivj_assets.render.event_loop import CallTimeoutError
from aivj_assets.render.session import RenderSession

ENVIRONMENT = RenderEnvironment(Path("chromium"), "system", Path("p"), Path("n"), is_root=False, platform="linux")
LLVMPIPE = "ANGLE (Mesa, llvmpipe)"


class Machine:
    """Stands in for `LiveBrowser`: browsers start as `starts` says and describe their page as `pages` says."""

    def __init__(self, starts: list[Exception | None], pages: list[PageDescription | Exception] | None = None) -> None:
        self.starts = starts
        self.pages = pages or []
        self.flags: list[tuple[str, ...]] = []
        self.running = 0

    def __call__(self, environment: Any, parameters: Any, flags: Any, env: Any) -> FakeBrowser:
        del environment, parameters, env
        self.flags.append(tuple(flags))
        return FakeBrowser(self, tuple(flags))


class FakeBrowser:
    """One browser of a `Machine`."""

    webgl_renderer = LLVMPIPE
    alive = True

    def __init__(self, machine: Machine, flags: tuple[str, ...]) -> None:
        self.machine = machine
        self.flags = flags

    def start(self) -> None:
        if (failure := self.machine.starts.pop(0)) is not None:
            raise failure
        self.machine.running += 1

    def open_page(self, timeout_s: float) -> None:
        assert timeout_s > 0

    def describe(self, timeout_s: float) -> PageDescription:
        assert timeout_s > 0
        page = self.machine.pages.pop(0)
        if isinstance(page, Exception):
            raise page
        return page

    def kill(self) -> None:
        self.machine.running -= 1

    def close(self) -> None:
        pass


def late() -> BrowserStartTimeoutError:
    return BrowserStartTimeoutError("chromium did not answer")


def install(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> Machine:
    monkeypatch.setattr(browser_module, "LiveBrowser", machine)
    return machine


def test_a_start_that_timed_out_is_tried_once_more_with_the_same_renderer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    machine = install(monkeypatch, Machine([late(), None]))
    with caplog.at_level(logging.WARNING):
        browser = start_browser(ENVIRONMENT, RenderParameters())
    assert browser.webgl_renderer == LLVMPIPE
    assert len(machine.flags) == 2
    assert machine.flags[0] == machine.flags[1]
    assert "once more" in caplog.text


def test_a_browser_that_never_answers_is_told_after_two_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = install(monkeypatch, Machine([late() for _ in range(2)]))
    with pytest.raises(UserError, match="did not answer"):
        start_browser(ENVIRONMENT, RenderParameters(), ["--one"])
    assert machine.flags == [("--one",), ("--one",)]


def test_a_browser_that_was_killed_at_its_start_is_started_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = install(monkeypatch, Machine([BrowserEndedAtStartError("chromium does not start"), None]))
    assert start_browser(ENVIRONMENT, RenderParameters(), ["--one"]).webgl_renderer == LLVMPIPE
    assert machine.flags == [("--one",), ("--one",)]


def test_a_browser_that_refuses_to_start_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = install(monkeypatch, Machine([UserError("chromium does not start")]))
    with pytest.raises(UserError, match="does not start"):
        start_browser(ENVIRONMENT, RenderParameters(), ["--one"])
    assert len(machine.flags) == 1


def test_a_browser_that_gives_no_webgl_any_more_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    page = PageDescription(engine="butterchurn", engine_version="3", page_version="1", renderer=LLVMPIPE)
    machine = install(monkeypatch, Machine([None, None], [page, PageFailedError("no WebGL2 any more"), page]))
    with RenderSession(ENVIRONMENT, RenderParameters()) as session:
        assert session.recover() == "browser"
        assert session.browsers_started == 2
        assert machine.running == 1
        assert machine.flags[1] == machine.flags[0]


class FakePage:
    """A page whose `__aivj_describe` answers `told`."""

    def __init__(self, told: Any) -> None:
        self.told = told

    async def evaluate(self, script: str) -> Any:
        assert "__aivj_describe" in script
        return self.told


@pytest.fixture
def live() -> Iterator[LiveBrowser]:
    """A browser object that was never started."""
    browser = LiveBrowser(ENVIRONMENT, RenderParameters(), [], {})
    browser.webgl_renderer = LLVMPIPE
    yield browser
    browser.close()


def test_our_own_page_without_webgl_is_no_page_to_render_in(live: LiveBrowser) -> None:
    told = {"engine": "butterchurn", "engineVersion": "3", "pageVersion": "1", "webgl2": True}
    live._page = FakePage({**told, "rendererUnmasked": LLVMPIPE})
    assert live.describe().renderer == LLVMPIPE
    live._page = FakePage({**told, "webgl2": False, "rendererUnmasked": None})
    with pytest.raises(PageFailedError, match="no WebGL2 any more"):
        live.describe()


def test_the_apps_page_tells_nothing_and_has_the_browsers_renderer() -> None:
    browser = LiveBrowser(ENVIRONMENT, RenderParameters(probe_url="http://127.0.0.1:5174/x.html"), [], {})
    browser.webgl_renderer = LLVMPIPE
    browser._page = FakePage(None)
    try:
        assert browser.describe().renderer == LLVMPIPE
    finally:
        browser.close()


def test_a_start_without_an_answer_is_told_apart_from_one_that_fails(
    live: LiveBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_answer(coroutine: Any, *_args: Any, **_options: Any) -> Any:
        coroutine.close()
        raise CallTimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(live, "_call", no_answer)
        with pytest.raises(BrowserStartTimeoutError, match="AIVJ_CHROMIUM"):
            live.start()
