"""One started browser: driver, browser process, context and render page. Everything that waits has a deadline."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psutil

from aivj_assets.contracts.render_parameters import PageDescription, RenderParameters
from aivj_assets.errors import UserError
from aivj_assets.render.chromium import accepts, launch_environment, launch_flags
from aivj_assets.render.environment import RenderEnvironment
from aivj_assets.render.event_loop import CallTimeoutError, EventLoopThread
from aivj_assets.render.page_calls import (
    APP_FUNCTION_JS,
    CALL_DUMP_JS,
    DESCRIBE_JS,
    OWN_FUNCTION_JS,
    SOUND_JS,
    WEBGL_RENDERER_JS,
    answer_limits,
    has_webgl,
    read_description,
)
from aivj_assets.render.page_host import PageHost
from aivj_assets.render.processes import (
    child_of_ours,
    find_browser_process,
    is_alive,
    kill_processes,
    process_tree,
    temporary_folders,
)
from aivj_assets.render.start_failure import explain_start_failure, renderer_advice

logger = logging.getLogger(__name__)
T = TypeVar("T")

START_TIMEOUT_S = 60.0
PAGE_TIMEOUT_S = 60.0
CLOSE_TIMEOUT_S = 5.0
_START_ATTEMPTS = 2


class BrowserError(Exception):
    """Something happened to the browser or its page in the middle of a call."""


class PageFailedError(BrowserError):
    """The page threw, navigated away or reloaded."""


class PageCrashedError(BrowserError):
    """The page's renderer process crashed."""


class BrowserDiedError(BrowserError):
    """The browser process ended, or does not answer any more."""


class BrowserStartTimeoutError(UserError):
    """A browser did not answer in time after its start: the machine may have been busy for the moment."""


class BrowserEndedAtStartError(UserError):
    """A browser's process ended while it started: it may have been killed, by the system for lack of memory, say."""


class LiveBrowser:
    """A running browser with one context and one render page.

    Not thread-safe. `close` must be called; it leaves no process behind, whatever state the browser is in.
    """

    def __init__(
        self, environment: RenderEnvironment, parameters: RenderParameters, flags: Sequence[str], env: Mapping[str, str]
    ) -> None:
        self.flags = tuple(flags)
        self.host = PageHost(environment.page_dir, environment.node_modules, parameters.probe_url)
        self.webgl_renderer: str | None = None
        self.version = ""
        self.last_stage = ""
        self._environment = environment
        self._parameters = parameters
        self._env = dict(env)
        self._marker = f"--aivj-session={uuid.uuid4().hex}"
        self._loop = EventLoopThread()
        self._playwright: Any = None
        self._browser: Any = None
        self._context: Any = None
        self._page: Any = None
        self._dump: Any = None
        self._navigating = False
        self._process: psutil.Process | None = None
        self._driver: psutil.Process | None = None
        self._temporary: list[Path] = []

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Start driver and browser and read the WebGL renderer.

        Raises `UserError` when the browser does not start, `BrowserStartTimeoutError` when it does not in time,
        `BrowserEndedAtStartError` when its process ended on the way.
        """
        try:
            self._call(self._launch(), START_TIMEOUT_S)
            self._process = find_browser_process(self._marker)
            self._temporary = temporary_folders(self._process) if self._process else []
            self._driver = child_of_ours(self._process)
            self.webgl_renderer = self._call(self._read_webgl_renderer(), PAGE_TIMEOUT_S)
        except CallTimeoutError:
            self.close()
            raise BrowserStartTimeoutError(
                f"{self._environment.executable} did not answer within {START_TIMEOUT_S:.0f} s of its start: "
                "close other programs and try again, or name another browser with AIVJ_CHROMIUM."
            ) from None
        except playwright_error() as error:
            self.close()
            why = explain_start_failure(str(error), self._environment, headless=self._parameters.headless)
            ended = "has been closed" in str(error).partition("\n")[0]
            raise (BrowserEndedAtStartError if ended else UserError)(why) from None
        except BaseException:
            self.close()
            raise

    def open_page(self, timeout_s: float = PAGE_TIMEOUT_S) -> None:
        """Load the render page afresh, closing one that is open; raises `BrowserError` when it cannot be had."""
        try:
            self._call(self._open_page(), timeout_s)
        except (CallTimeoutError, TimeoutError):
            raise BrowserDiedError("the browser did not load the render page in time") from None
        except playwright_error() as error:
            raise self._page_error(error) from None

    def close(self) -> None:
        """End page, browser and driver, by force where they do not answer; no process of theirs stays."""
        process = self._process or find_browser_process(self._marker)
        driver = self._driver or child_of_ours(process)
        tree = process_tree(process) if process else []
        try:
            if self._browser is not None and tree:
                with contextlib.suppress(CallTimeoutError, playwright_error()):
                    self._call(self._browser.close(), CLOSE_TIMEOUT_S)
            self._kill(tree)
            if self._playwright is not None:
                # The driver removes the temporary profile once it has seen the browser end.
                with contextlib.suppress(CallTimeoutError, playwright_error()):
                    self._call(self._playwright.stop(), CLOSE_TIMEOUT_S)
        finally:
            self._kill(tree)
            if driver is not None:
                self._kill(process_tree(driver))
            self._loop.stop()
            for folder in self._temporary:
                shutil.rmtree(folder, ignore_errors=True)
            self._browser = self._page = self._playwright = None

    def kill(self) -> None:
        """End the browser's processes at once, without asking it."""
        if self._process is not None:
            self._kill(process_tree(self._process))

    @property
    def alive(self) -> bool:
        """Tell whether the browser process runs and the driver is connected to it."""
        return self._process is not None and is_alive(self._process) and bool(self._browser.is_connected())

    @property
    def processes(self) -> list[psutil.Process]:
        """The browser's processes, its main process first."""
        return process_tree(self._process) if self._process else []

    # ------------------------------------------------------------------ calls

    def describe(self, timeout_s: float = PAGE_TIMEOUT_S) -> PageDescription:
        """Ask the page what it is; the app's page does not tell more than its renderer.

        Raises `BrowserError`, also when our own page gets no WebGL any more: only a new browser gives it one then.
        """
        told = self._ask(timeout_s, DESCRIBE_JS)
        if self.host.is_own and not has_webgl(told):
            raise PageFailedError("the browser gives the render page no WebGL2 any more")
        return read_description(told, self.webgl_renderer or "")

    def dump(self, payload: Mapping[str, Any], timeout_s: float, watch: Callable[[], None] | None = None) -> Any:
        """Have one preset rendered; returns the page's answer as it came, cut to size.

        Raises `CallTimeoutError`, `PageFailedError`, `PageCrashedError` or `BrowserDiedError`.
        """
        self.last_stage = ""
        try:
            return self._call(self._call_dump(payload), timeout_s, watch=watch, watch_every_s=0.5)
        except playwright_error() as error:
            raise self._page_error(error) from None

    def sound(self, settings: Mapping[str, Any], seconds: float) -> str:
        """Ask our own page for the beginning of a synthetic sound: base64, two channels of 8 bits that alternate.

        Raises `BrowserError`.
        """
        return str(self._ask(PAGE_TIMEOUT_S, SOUND_JS, [dict(settings), seconds]))

    def _ask(self, timeout_s: float, script: str, *arguments: Any) -> Any:
        try:
            return self._call(self._page.evaluate(script, *arguments), timeout_s)
        except CallTimeoutError:
            raise BrowserDiedError("the render page does not answer") from None
        except playwright_error() as error:
            raise self._page_error(error) from None

    # ------------------------------------------------------------------ on the loop

    async def _launch(self) -> None:
        from playwright.async_api import async_playwright

        self._playwright = await async_playwright().start()
        self._browser = await self._playwright.chromium.launch(
            executable_path=str(self._environment.executable),
            headless=self._parameters.headless,
            args=[*self.flags, *self.host.network_flags(), "--disable-domain-blocking-for-3d-apis", self._marker],
            chromium_sandbox=not self._environment.is_root,
            env={**os.environ, **self._env},
            timeout=START_TIMEOUT_S * 1000,
        )
        self.version = f"Chromium {self._browser.version}"
        self._context = await self._browser.new_context(
            viewport={"width": 640, "height": 480},
            accept_downloads=False,
            service_workers="block" if self.host.is_own else "allow",
            permissions=[],
            offline=self.host.is_own,
        )
        self._context.set_default_timeout(PAGE_TIMEOUT_S * 1000)
        self._context.on("page", self._close_popup)
        await self._context.route("**/*", self._on_request)
        await self._context.route_web_socket("**/*", self._on_web_socket)
        if not self.host.is_own:
            await self._context.expose_binding("__nw_reportProgress", self._on_progress)

    async def _read_webgl_renderer(self) -> str | None:
        page = await self._new_page()
        try:
            found = await page.evaluate(WEBGL_RENDERER_JS)
            return found if isinstance(found, str) else None
        finally:
            await page.close()

    async def _new_page(self) -> Any:
        self._page = None
        page = await self._context.new_page()
        self._page = page
        return page

    async def _open_page(self) -> None:
        if self._page is not None and not self._page.is_closed():
            await asyncio.wait_for(self._page.close(), CLOSE_TIMEOUT_S)
        page = await self._new_page()
        self._navigating = True
        try:
            await page.goto(self.host.url, wait_until="load")
        finally:
            self._navigating = False
        # A preset may replace the global: the function is held from before any preset ran.
        self._dump = await page.evaluate_handle(OWN_FUNCTION_JS if self.host.is_own else APP_FUNCTION_JS)

    async def _call_dump(self, payload: Mapping[str, Any]) -> Any:
        crashed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def settle(what: str) -> None:
            if not crashed.done():
                crashed.set_result(what)

        def on_crash(_page: Any) -> None:
            settle("page")

        def on_disconnect(_browser: Any) -> None:
            settle("browser")

        page, browser = self._page, self._browser
        page.on("crash", on_crash)
        browser.on("disconnected", on_disconnect)
        arguments = [self._dump, dict(payload), answer_limits(self._parameters)]
        answer = asyncio.ensure_future(page.evaluate(CALL_DUMP_JS, arguments))
        try:
            await asyncio.wait({answer, crashed}, return_when=asyncio.FIRST_COMPLETED)
            if crashed.done():
                if crashed.result() == "browser":
                    raise BrowserDiedError("the browser process ended")
                raise PageCrashedError("the page's process crashed")
            return answer.result()
        finally:
            page.remove_listener("crash", on_crash)
            browser.remove_listener("disconnected", on_disconnect)
            if not answer.done():
                answer.cancel()
            else:
                answer.cancelled() or answer.exception()  # read it, or asyncio logs it as lost

    async def _on_request(self, route: Any) -> None:
        with contextlib.suppress(playwright_error()):  # the page may be gone
            if self.host.is_own and route.request.is_navigation_request() and not self._navigating:
                # A preset's doing. "aborted" leaves the page as it is; other codes would show an error page.
                await route.abort("aborted")
                return
            served = self.host.serve(route.request.url)
            if served is not None:
                await route.fulfill(status=200, body=served.body, headers=dict(served.headers))
            elif self.host.passes(route.request.url):
                await route.continue_()
            else:
                logger.debug("refused a request of the render page: %s", route.request.url[:200])
                await route.abort("blockedbyclient")

    async def _on_web_socket(self, socket: Any) -> None:
        with contextlib.suppress(playwright_error()):
            if self.host.passes(socket.url):
                socket.connect_to_server()
            else:
                await socket.close(code=1008)

    async def _close_popup(self, page: Any) -> None:
        if self._page is not None and page is not self._page:
            with contextlib.suppress(playwright_error()):
                await page.close()

    async def _on_progress(self, _source: Any, value: Any) -> None:
        stage = value.get("stage") if isinstance(value, dict) else None
        if isinstance(stage, str):
            self.last_stage = stage[:100]

    # ------------------------------------------------------------------ helpers

    def _call(self, coroutine: Coroutine[Any, Any, T], timeout_s: float, **watch: Any) -> T:
        return self._loop.call(coroutine, timeout_s, **watch)

    def _page_error(self, error: Exception) -> BrowserError:
        text = str(error).splitlines()[0][:500] if str(error) else type(error).__name__
        if not self.alive:
            return BrowserDiedError("the browser process ended")
        if "crash" in text.lower():
            return PageCrashedError("the page's process crashed")
        return PageFailedError(text)

    @staticmethod
    def _kill(tree: list[psutil.Process]) -> None:
        if tree and (left := kill_processes(tree)):
            logger.warning("browser processes that do not end: %s", ", ".join(str(process.pid) for process in left))


def start_browser(
    environment: RenderEnvironment, parameters: RenderParameters, preferred_flags: Sequence[str] | None = None
) -> LiveBrowser:
    """Start a browser whose WebGL2 renderer is what the parameters ask for, trying candidate flags in order.

    `preferred_flags` (what worked before) are the only candidate when given. A start that timed out, or whose process
    ended on the way, is tried once more before the next candidate, which may be another renderer. Raises `UserError`
    when none serves.
    """
    candidates = [list(preferred_flags)] if preferred_flags is not None else _candidates(environment, parameters)
    env = launch_environment(environment.platform, parameters.renderer)
    failure: UserError | None = None
    seen: list[str] = []
    for flags in candidates:
        try:
            browser = _started(environment, parameters, flags, env)
        except UserError as error:
            failure = error
            continue
        if accepts(parameters.renderer, browser.webgl_renderer):
            return browser
        seen.append(browser.webgl_renderer or "no WebGL2")
        browser.close()
    if failure is not None and not seen:
        raise failure
    wanted = "a GPU" if parameters.renderer == "gpu" else "WebGL2"
    raise UserError(
        f"{environment.executable} offers {'; '.join(seen)}, where {wanted} is needed: "
        f"{renderer_advice(environment.platform)}."
    )


def _started(
    environment: RenderEnvironment, parameters: RenderParameters, flags: Sequence[str], env: Mapping[str, str]
) -> LiveBrowser:
    for attempt in range(1, _START_ATTEMPTS + 1):
        browser = LiveBrowser(environment, parameters, flags, env)
        try:
            browser.start()
        except (BrowserStartTimeoutError, BrowserEndedAtStartError) as error:
            if attempt == _START_ATTEMPTS:
                raise
            level = logging.WARNING if isinstance(error, BrowserStartTimeoutError) else logging.INFO
            logger.log(level, "Trying once more: %s", error)
        else:
            return browser
    raise AssertionError("unreachable: the last attempt returns or raises")


def _candidates(environment: RenderEnvironment, parameters: RenderParameters) -> list[list[str]]:
    return launch_flags(
        environment.platform, parameters.renderer, headless=parameters.headless, is_root=environment.is_root
    )


def playwright_error() -> type[Exception]:
    """Return what Playwright raises; it is imported late, as it takes its time."""
    from playwright.async_api import Error

    return Error
