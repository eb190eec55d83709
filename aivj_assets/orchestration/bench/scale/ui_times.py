"""How long the UI takes at the end: its pages in a real browser, and every query that they send."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import psutil

from aivj_assets.layout import BatchKey, DataRoot, project_root
from aivj_assets.orchestration.bench.scale.memory import MemoryWatch, watched_memory
from aivj_assets.orchestration.bench.scale.rehearse import DEFINITIONS
from aivj_assets.orchestration.commands.ui import HOST, own_group, stop_tree, wait_until_ready
from aivj_assets.render.chromium import find_chromium

_TIMEOUT_MS = 120_000
# Pages ask again every few seconds: what comes later is no part of showing them.
_SETTLE_MS = 1500


@dataclass
class PageTimes:
    """One page: seconds until its own text stands there, and its GraphQL queries as (name, seconds, answer's bytes)."""

    name: str
    shown_s: float
    queries: list[tuple[str, float, int]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the figures for a report, the slowest query first."""
        slowest = sorted(self.queries, key=lambda query: -query[1])
        listed = [{"query": name, "s": round(took, 3), "bytes": size} for name, took, size in slowest]
        return {"page": self.name, "shownS": round(self.shown_s, 2), "queries": listed}


def pages_of(batch: BatchKey) -> list[tuple[str, str, str]]:
    """Return (page, address below the UI's, a text that stands there when its data has come)."""
    partition = quote(batch.key, safe="")
    return [
        ("assets", "/assets", "publication"),
        ("asset", "/assets/frames", "fingerprint"),
        ("partitions", f"/assets/frames?view=partitions&partition={partition}", "contact_sheet"),
        ("checks", "/assets/frames?view=checks&checkDetail=ok_rate", "Passed"),
        ("runs", "/runs", "batch_job"),
    ]


def measure_ui(root: DataRoot, batch: BatchKey) -> dict[str, Any]:
    """Start the UI on the data root, open each page in a browser, end it; returns the figures.

    Each page is opened twice; the second time counts: the first also loads the code location. Raises `UserError`
    without a browser, or when the UI does not start.
    """
    from playwright.sync_api import sync_playwright

    browser = find_chromium(os.environ, platform=sys.platform).executable
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    with _webserver(root) as (url, memory), sync_playwright() as playwright:
        flags = ["--disable-quic", "--disable-background-networking"]
        with playwright.chromium.launch(executable_path=str(browser), chromium_sandbox=not is_root, args=flags) as live:
            opened = live.new_page(viewport={"width": 1500, "height": 1000})
            pages = []
            for name, place, text in pages_of(batch):
                _open(opened, name, url + place, text)
                pages.append(_open(opened, name, url + place, text))
    return {"pages": [page.to_json() for page in pages], "peakBytes": memory.largest_bytes}


def _open(page: Any, name: str, address: str, text: str) -> PageTimes:
    """Open a page and wait for its text; what it asks meanwhile is noted."""
    answered: list[Any] = []

    def note(request: Any) -> None:
        answered.append(request)

    page.on("requestfinished", note)
    try:
        began = time.perf_counter()
        page.goto(address, wait_until="commit")
        page.get_by_text(text).first.wait_for(state="visible", timeout=_TIMEOUT_MS)
        shown_s = time.perf_counter() - began
        page.wait_for_timeout(_SETTLE_MS)
    finally:
        page.remove_listener("requestfinished", note)
    made = PageTimes(name, shown_s)
    for request in answered:
        if not request.url.partition("?")[0].endswith("/graphql") or request.method != "POST":
            continue
        with contextlib.suppress(ValueError):
            told = json.loads(request.post_data or "{}").get("operationName") or "?"
            size = int(request.sizes()["responseBodySize"])
            timing = request.timing
            made.queries.append((str(told), max(0.0, timing["responseEnd"] - timing["requestStart"]) / 1000, size))
    return made


@contextmanager
def _webserver(root: DataRoot) -> Iterator[tuple[str, MemoryWatch]]:
    """Run Dagster's web server on a data root and a free port; yields its address and a watch over its memory."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = int(probe.getsockname()[1])
    environ = {**os.environ, "AIVJ_ROOT": str(root.path), "DAGSTER_HOME": str(root.dagster_home)}
    location = ["-m", DEFINITIONS, "--working-directory", str(project_root())]
    command = [sys.executable, "-m", "dagster_webserver", *location, "-h", HOST, "-p", str(port)]
    log_path = root.dagster_home / "ui.log"
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            command, cwd=root.dagster_home, env=environ, stdout=log, stderr=log, **own_group(sys.platform)
        )
    try:
        wait_until_ready(process, f"http://{HOST}:{port}", log_path)
        with watched_memory(psutil.Process(process.pid)) as memory:
            yield f"http://{HOST}:{port}", memory
    finally:
        stop_tree(process)
