"""The plain loop that the renderer is measured against: one Chromium on SwiftShader, one page, one visualizer.

What somebody would write in an afternoon, kept as quick as that can be. It checks nothing and resets nothing.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import psutil

from aivj_assets.contracts.preset_file import PresetText, read_preset_file
from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.errors import UserError
from aivj_assets.render.bench.choose import BenchPreset
from aivj_assets.render.browser import playwright_error
from aivj_assets.render.chromium import classify_renderer, launch_flags
from aivj_assets.render.environment import RenderEnvironment
from aivj_assets.render.event_loop import CallTimeoutError, EventLoopThread
from aivj_assets.render.page_calls import WEBGL_RENDERER_JS
from aivj_assets.render.page_host import CONTENT_SECURITY_POLICY, ORIGIN, PageHost
from aivj_assets.render.processes import child_of_ours, find_browser_process, kill_processes, process_tree

PLAIN_PAGE_DIR = Path(__file__).parent / "page"
_PLAIN_URL = f"{ORIGIN}/bench/plain.html"
_CONTENT_TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
_START_TIMEOUT_S = 90.0
_PRESET_TIMEOUT_S = 180.0
_CLOSE_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class PlainResult:
    """What became of one preset: the number of captures written, or why there are none."""

    preset_id: str
    captures: int
    error: str | None = None


class PlainLoop:
    """A context manager: the loop's browser, started when it is entered. Not thread-safe."""

    def __init__(self, environment: RenderEnvironment, parameters: RenderParameters, out_dir: Path) -> None:
        self._environment = environment
        self._parameters = parameters
        self._out_dir = out_dir
        self._marker = f"--aivj-session={uuid.uuid4().hex}"
        self._host = PageHost(environment.page_dir, environment.node_modules)
        self._loop: EventLoopThread
        self._playwright: Any = None
        self._browser: Any = None
        self._page: Any = None
        self._driver: psutil.Process | None = None
        self.renderer = ""

    def __enter__(self) -> Self:
        self._loop = EventLoopThread("plain-loop")
        try:
            self._loop.call(self._start(), _START_TIMEOUT_S)
            self._driver = child_of_ours(find_browser_process(self._marker))
        except BaseException as error:
            self._close()
            if isinstance(error, CallTimeoutError | playwright_error()):
                raise UserError(f"The plain loop's browser does not start ({error}): see `aivj doctor`.") from None
            raise
        if classify_renderer(self.renderer) != "swiftshader":
            self._close()
            raise UserError(
                f"The plain loop's browser renders with '{self.renderer or 'no WebGL2'}' in place of SwiftShader: name "
                "another browser with AIVJ_CHROMIUM."
            )
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    @property
    def processes(self) -> list[psutil.Process]:
        """Driver and browser with all their processes."""
        return process_tree(self._driver) if self._driver else []

    @property
    def driver_pid(self) -> int | None:
        """Process id of Playwright's driver, under which the browser runs."""
        return self._driver.pid if self._driver else None

    def render(self, preset: BenchPreset) -> PlainResult:
        """Render one preset and write its captures; raises `UserError` when the browser is gone."""
        text = read_preset_file(preset.path)
        if not isinstance(text, PresetText):
            return PlainResult(preset.preset_id, 0, text.detail)
        settings = self._parameters.model_dump(mode="json", by_alias=True)
        call = "([text, settings]) => globalThis.renderPlain(text, settings)"
        try:
            captures = self._loop.call(self._page.evaluate(call, [text.text, settings]), _PRESET_TIMEOUT_S)
        except CallTimeoutError:
            self._reopen()
            return PlainResult(preset.preset_id, 0, f"no answer within {_PRESET_TIMEOUT_S:.0f} s")
        except playwright_error() as error:
            if not self._browser.is_connected():
                raise UserError("The plain loop's browser ended; run the benchmark again.") from None
            return PlainResult(preset.preset_id, 0, (str(error).splitlines() or ["no reason told"])[0])
        folder = self._out_dir / preset.preset_id
        folder.mkdir(parents=True, exist_ok=True)
        for number, capture in enumerate(captures):
            (folder / f"frame-{number:03d}.{self._parameters.suffix}").write_bytes(base64.b64decode(capture))
        return PlainResult(preset.preset_id, len(captures))

    # ------------------------------------------------------------------ the browser

    async def _start(self) -> None:
        from playwright.async_api import async_playwright

        # Ctrl-C ends the driver too: that its connection closed is no news.
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        environment = self._environment
        # The last candidate of software rendering is SwiftShader, on every platform; the features are our speed-up.
        candidate = launch_flags(environment.platform, "software", headless=True, is_root=environment.is_root)[-1]
        flags = [flag for flag in candidate if not flag.startswith("--enable-features=")]
        self._playwright = await async_playwright().start()
        self._browser = await self._playwright.chromium.launch(
            executable_path=str(environment.executable),
            headless=True,
            args=[*flags, *self._host.network_flags(), self._marker],
            chromium_sandbox=not environment.is_root,
            env=dict(os.environ),
        )
        await self._open_page()

    async def _open_page(self) -> None:
        async def on_request(route: Any) -> None:
            served = serve_plain(route.request.url) or _served_by(self._host, route.request.url)
            if served is None:
                await route.abort("blockedbyclient")
            else:
                await route.fulfill(status=200, body=served[0], headers=served[1])

        # Presets are foreign code: the walls of the render page stand here too, they cost no time.
        self._page = await self._browser.new_page(service_workers="block", accept_downloads=False, offline=True)
        await self._page.route("**/*", on_request)
        await self._page.goto(_PLAIN_URL)
        await self._page.wait_for_function("globalThis.plainReady === true")
        self.renderer = await self._page.evaluate(WEBGL_RENDERER_JS) or ""

    def _reopen(self) -> None:
        with contextlib.suppress(CallTimeoutError, playwright_error()):
            self._loop.call(self._page.close(), _CLOSE_TIMEOUT_S)
        try:
            self._loop.call(self._open_page(), _START_TIMEOUT_S)
        except (CallTimeoutError, playwright_error()) as error:
            raise UserError(f"The plain loop's page does not come back ({error}); run the benchmark again.") from None

    def _close(self) -> None:
        tree = self.processes or process_tree_of(self._marker)
        for close in (self._browser and self._browser.close, self._playwright and self._playwright.stop):
            if close:
                with contextlib.suppress(CallTimeoutError, playwright_error()):
                    self._loop.call(close(), _CLOSE_TIMEOUT_S)
        kill_processes(tree)
        self._loop.stop()
        self._browser = self._page = self._playwright = self._driver = None


def serve_plain(url: str) -> tuple[bytes, dict[str, str]] | None:
    """Return the plain page's file that a request names, with its headers; None for other requests."""
    path = urlsplit(url).path
    for file in PLAIN_PAGE_DIR.iterdir():
        if path == f"/bench/{file.name}":
            headers = {"Content-Type": _CONTENT_TYPES[file.suffix], "Content-Security-Policy": CONTENT_SECURITY_POLICY}
            return file.read_bytes(), headers
    return None


def process_tree_of(marker: str) -> list[psutil.Process]:
    """Return the processes of the browser that carries a marker; empty when there is none."""
    browser = find_browser_process(marker)
    return process_tree(browser) if browser else []


def _served_by(host: PageHost, url: str) -> tuple[bytes, dict[str, str]] | None:
    served = host.serve(url)
    return (served.body, dict(served.headers)) if served else None
