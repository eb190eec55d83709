"""What a rendering process needs to know of the machine: browser, page, packages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil

from aivj_assets.contracts.render_parameters import PageDescription, RenderParameters
from aivj_assets.render.chromium import RendererKind
from aivj_assets.render.page_host import PageHost


class Browser(Protocol):
    """A started browser with one render page, as a rendering session drives it; `LiveBrowser` says what each does."""

    flags: tuple[str, ...]
    host: PageHost
    version: str
    last_stage: str

    @property
    def alive(self) -> bool:
        """Whether it can be asked for another page."""

    @property
    def processes(self) -> list[psutil.Process]:
        """Its processes, whose memory is watched."""

    def open_page(self, timeout_s: float) -> None:
        """Load the render page afresh."""

    def describe(self, timeout_s: float) -> PageDescription:
        """Return what the page says of itself."""

    def dump(self, payload: Mapping[str, Any], timeout_s: float, watch: Callable[[], None] | None = None) -> Any:
        """Have one preset rendered; returns the page's answer."""

    def sound(self, settings: Mapping[str, Any], seconds: float) -> str:
        """Return the beginning of a synthetic sound as base64."""

    def kill(self) -> None:
        """End it at once."""

    def close(self) -> None:
        """End it and tidy up."""


@dataclass(frozen=True)
class RenderEnvironment:
    """The browser and the files of the render page. Plain values only: it crosses process borders (pickle)."""

    executable: Path
    """The browser's executable (`chromium.find_chromium`)."""
    browser_source: str
    """Where that choice came from: environment, playwright, system."""
    page_dir: Path
    """The render page, served as `/page/`."""
    node_modules: Path
    """The page's npm packages (`web_engine.ensure_web_engine`), served as `/node_modules/`."""
    is_root: bool
    """True only for root on POSIX: Chromium's sandbox refuses to run there."""
    platform: str
    """A `sys.platform` value."""

    def start_browser(self, parameters: RenderParameters, flags: Sequence[str] | None) -> Browser:
        """Start a browser and return it; raises `UserError` (`browser.start_browser`)."""
        from aivj_assets.render.browser import start_browser

        return start_browser(self, parameters, flags)


@dataclass(frozen=True)
class BrowserReport:
    """What a started browser and its page say of themselves."""

    page: PageDescription
    renderer_class: RendererKind
    browser_version: str
    """e.g. `Chromium 140.0.7339.16`."""
    flags: tuple[str, ...]
    """The candidate set of Chromium flags that gave WebGL2."""
