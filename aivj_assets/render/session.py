"""A rendering session: one browser at a time, replaced when it fails, and never left behind."""

from __future__ import annotations

import base64
import functools
import logging
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal, Self

import psutil

from aivj_assets.contracts.render_parameters import PageDescription, RenderParameters
from aivj_assets.contracts.sound_file import Sound
from aivj_assets.errors import UserError
from aivj_assets.render.browser import (
    PAGE_TIMEOUT_S,
    BrowserDiedError,
    BrowserError,
    PageCrashedError,
    PageFailedError,
)
from aivj_assets.render.chromium import classify_renderer
from aivj_assets.render.environment import Browser, BrowserReport, RenderEnvironment
from aivj_assets.render.event_loop import CallTimeoutError
from aivj_assets.render.processes import tree_memory_bytes

__all__ = [
    "BrowserDiedError",
    "BrowserError",
    "PageCrashedError",
    "PageFailedError",
    "PageUnavailableError",
    "ProbeTimeoutError",
    "RenderSession",
]
logger = logging.getLogger(__name__)

_START_ATTEMPTS = 2
# A browser that works shows a fresh page in about a second; one whose GPU process hangs never does.
_FRESH_PAGE_TIMEOUT_S = 20.0
_MEMORY_LIMIT_BYTES = 4 * 1024**3


class ProbeTimeoutError(BrowserError):
    """The page gave no answer within the outer deadline."""


class PageUnavailableError(UserError):
    """The browser works, and its render page cannot be had."""


class RenderSession:
    """A context manager that renders presets one after the other in a browser.

    `dump` raises a `BrowserError` when something happened to the page; the caller then calls `recover` and goes on.
    Starting raises `UserError`: no WebGL2, no browser, another renderer than before.
    """

    def __init__(self, environment: RenderEnvironment, parameters: RenderParameters) -> None:
        self._environment = environment
        self._parameters = parameters
        self._browser: Browser | None = None
        self._flags: tuple[str, ...] | None = None
        self._page: PageDescription | None = None
        self._memory_limit_bytes = min(_MEMORY_LIMIT_BYTES, psutil.virtual_memory().total // 2)
        self.browsers_started = 0

    def __enter__(self) -> Self:
        if self._environment.is_root:
            _warn_about_root()
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the browser; may be called twice."""
        browser, self._browser = self._browser, None
        if browser is not None:
            browser.close()

    def describe(self) -> BrowserReport:
        """Return what browser and page say of themselves."""
        browser = self._live()
        if self._page is None:
            raise RuntimeError("the session was not entered")
        return BrowserReport(
            page=self._page,
            renderer_class=classify_renderer(self._page.renderer),
            browser_version=browser.version,
            flags=browser.flags,
        )

    @property
    def last_stage(self) -> str:
        """What the page reported last while rendering, for the text of a timeout."""
        return self._live().last_stage

    def dump(self, payload: Mapping[str, Any], timeout_s: float) -> Any:
        """Have one preset rendered and return the page's answer, unchecked.

        Raises `ProbeTimeoutError`, `PageFailedError`, `PageCrashedError` or `BrowserDiedError`.
        """
        browser = self._live()
        try:
            return browser.dump(payload, timeout_s, watch=lambda: self._check_memory(browser))
        except CallTimeoutError:
            stage = f", last stage '{browser.last_stage}'" if browser.last_stage else ""
            raise ProbeTimeoutError(f"no answer within {timeout_s:.1f} s{stage}") from None

    def synthetic_sound(self, audio: str, seconds: float) -> Sound:
        """Return what presets hear of a synthetic sound with the session's tempo and seed; raises `BrowserError`.

        To be asked of a session that has rendered no preset: the page makes it.
        """
        settings = {"mode": audio, "bpm": self._parameters.bpm, "seed": self._parameters.audio_seed}
        return Sound.of_bytes(base64.b64decode(self._live().sound(settings, seconds)), channels=2)

    def recover(self, *, replace_browser: bool = False) -> Literal["page", "browser"]:
        """Get a fresh page: in the same browser where that works, else in a new one; returns which it took.

        Raises `UserError` when a new browser does not start or has another renderer than the first one.
        """
        browser = self._live()
        if browser.alive and not replace_browser:
            try:
                self._open_page(browser, _FRESH_PAGE_TIMEOUT_S)
            except BrowserError as error:
                logger.info("replacing the browser: %s", error)
            else:
                return "page"
        self.close_by_force()
        self._start()
        return "browser"

    def close_by_force(self) -> None:
        """Kill the browser's processes, then tidy up: for a browser that may not answer."""
        browser, self._browser = self._browser, None
        if browser is not None:
            browser.kill()
            browser.close()

    def _start(self) -> None:
        for attempt in range(1, _START_ATTEMPTS + 1):
            browser = self._environment.start_browser(self._parameters, self._flags)
            self._browser = browser
            self.browsers_started += 1
            try:
                self._open_page(browser)
            except BrowserError as error:
                self.close_by_force()
                if attempt == _START_ATTEMPTS:
                    raise PageUnavailableError(_explain_page(browser, error)) from None
            else:
                self._flags = browser.flags
                return

    def _open_page(self, browser: Browser, timeout_s: float = PAGE_TIMEOUT_S) -> None:
        browser.open_page(timeout_s)
        page = browser.describe(timeout_s)
        if self._page is not None and page != self._page:
            raise UserError(
                f"The browser came back with renderer '{page.renderer}' in place of '{self._page.renderer}': "
                "frames of two renderers are never mixed. Free the GPU and run again; what is rendered is kept."
            )
        self._page = page

    def _check_memory(self, browser: Browser) -> None:
        memory = tree_memory_bytes(browser.processes)
        if memory and max(memory.values()) > self._memory_limit_bytes:
            used_mb = max(memory.values()) / 1e6
            browser.kill()
            raise BrowserDiedError(f"a browser process took {used_mb:.0f} MB of memory and was ended")

    def _live(self) -> Browser:
        if self._browser is None:
            raise RuntimeError("the session is not open")
        return self._browser


@functools.cache
def _warn_about_root() -> None:
    logger.warning("Chromium's sandbox is off (it does not run as root): use an ordinary user for foreign presets.")


def _explain_page(browser: Browser, error: BrowserError) -> str:
    if browser.host.is_own:
        return f"The render page does not load ({error}): install the web engine again, or report this."
    return (
        f"The page at {browser.host.url} offers no dumpPresetFrames ({error}): start the app's server, or correct "
        "probeUrl."
    )
