"""A browser in which pages are opened from disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright


@pytest.fixture(scope="module")
def browser(browser_choice: Any) -> Iterator[Browser]:
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=str(browser_choice.executable), args=["--no-sandbox"] if is_root else []
        )
        yield launched
        launched.close()
