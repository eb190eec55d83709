"""A real browser that plays sound without a click, small published packs, and music that was made for them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import soundfile
from playwright.sync_api import Browser, sync_playwright

from aivj_assets.layout import DataRoot
from aivj_assets.render.chromium import launch_flags
from aivj_assets.render.web_engine import PAGE_DIR, WebEngine
from aivj_assets.show.generate import generate_set
from aivj_assets.show.server import ShowOptions
from aivj_assets_tests.live_show_builders import OpenShow, serving


@pytest.fixture(scope="module")
def playing_browser(browser_choice: Any) -> Iterator[Browser]:
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    flags = launch_flags(sys.platform, "software", headless=True, is_root=is_root)[-1]
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=str(browser_choice.executable),
            args=[*flags, "--autoplay-policy=no-user-gesture-required"],
        )
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty seconds of a generated set."""
    made = generate_set(40, seed=5)
    path = tmp_path_factory.mktemp("music") / "a set & more.wav"
    soundfile.write(path, made.samples, made.sample_rate_hz)
    return path


@pytest.fixture
def open_show(playing_browser: Browser, web_engine: WebEngine, music: Path) -> Iterator[Callable[..., OpenShow]]:
    with ExitStack() as stack:

        def opened(root: DataRoot, *, width: int = 640, height: int = 480, seed: int = 1) -> OpenShow:
            options = ShowOptions(root, "pack", PAGE_DIR, web_engine.node_modules, music, seed)
            server = stack.enter_context(serving(options))
            context = playing_browser.new_context(viewport={"width": width, "height": height})
            stack.callback(context.close)
            page = context.new_page()
            problems: list[str] = []
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
            page.goto(server.url)
            page.locator("#play-given").wait_for()
            return OpenShow(page, root, problems)

        yield opened
