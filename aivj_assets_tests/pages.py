"""Waiting for what a page shows."""

from __future__ import annotations

import time
from typing import Any

from playwright.sync_api import Page


def page_until(page: Page, expression: str, arg: Any = None, *, timeout_s: float = 30) -> None:
    """Wait until a JavaScript expression is true in a page.

    Playwright's own `wait_for_function` compiles its text anew at each look, which a page's content security policy
    forbids from the second look on: it passed on a quiet machine and failed on a busy one.
    """
    end = time.monotonic() + timeout_s
    while not page.evaluate(expression, arg):
        assert time.monotonic() < end, f"not true within {timeout_s} s: {expression}"
        page.wait_for_timeout(50)
