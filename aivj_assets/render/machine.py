"""This machine as a place to render on: its browser, the render page, the page's packages."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from aivj_assets.layout import web_engine_dir
from aivj_assets.render.chromium import find_chromium
from aivj_assets.render.environment import RenderEnvironment
from aivj_assets.render.web_engine import PAGE_DIR, ensure_web_engine


def is_root() -> bool:
    """Tell whether this process runs as root on POSIX, where Chromium's sandbox does not start."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def default_workers() -> int:
    """Return how many browsers a command starts at once unless told: one a core, at most 4."""
    return max(1, min(os.cpu_count() or 1, 4))


def this_machine(environ: Mapping[str, str]) -> RenderEnvironment:
    """Return the machine's render environment, installing the npm packages when they are missing.

    Raises `UserError` when there is no browser or the packages cannot be had.
    """
    choice = find_chromium(environ, platform=sys.platform)
    engine = ensure_web_engine(web_engine_dir(environ))
    return RenderEnvironment(
        executable=choice.executable,
        browser_source=choice.source,
        page_dir=PAGE_DIR,
        node_modules=engine.node_modules,
        is_root=is_root(),
        platform=sys.platform,
    )
