"""What a rendering process needs to know of the machine: browser, page, packages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aivj_assets.contracts.render_parameters import PageDescription
from aivj_assets.render.chromium import RendererKind


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


@dataclass(frozen=True)
class BrowserReport:
    """What a started browser and its page say of themselves."""

    page: PageDescription
    renderer_class: RendererKind
    browser_version: str
    """e.g. `Chromium 140.0.7339.16`."""
    flags: tuple[str, ...]
    """The candidate set of Chromium flags that gave WebGL2."""
