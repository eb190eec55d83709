"""The UI as a user meets it: started by `aivj ui`, manifests dropped while it runs, stopped by Ctrl-C."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from aivj_assets.layout import BatchKey
from aivj_assets_tests.browser.orchestration.conftest import QUICK, Cli

pytestmark = [
    pytest.mark.alone, pytest.mark.skipif(sys.platform == "win32", reason="stops the UI by a POSIX signal"),
]  # fmt: skip


@pytest.fixture
def page(render_environment) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(render_environment.executable),
            chromium_sandbox=not render_environment.is_root,
            args=["--disable-quic", "--disable-background-networking"],
        )
        yield browser.new_page(viewport={"width": 1500, "height": 1000})
        browser.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_ui(cli: Cli, port: int) -> Iterator[subprocess.Popen[str]]:
    process = cli.start("ui", "--port", str(port), "--embedder", "efficientnet-lite0")
    try:
        assert process.stdout is not None
        said = ""
        while "Ready:" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=90)


def left_over(cli: Cli) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("AIVJ_ROOT") == str(cli.root.path) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline())[:200])
        except psutil.Error:
            continue
    return found


def test_dropped_manifests_become_truthful_batches(
    fresh: Cli, presets_source, page: Page, wait_for: Callable[[Callable[[], bool], float], None]
) -> None:
    port = free_port()
    with running_ui(fresh, port) as process:
        url = f"http://127.0.0.1:{port}"
        with urllib.request.urlopen(f"{url}/server_info") as answer:
            assert json.load(answer)["dagster_version"].startswith("1.13.")
        torn = fresh.root.pack_dir("torn")
        torn.mkdir(parents=True)
        (torn / "library-manifest.json").write_text("{", encoding="utf-8")
        settings = fresh.root.pack_dir("dropped") / "aivj-pack.json"
        settings.parent.mkdir(parents=True)
        settings.write_text(json.dumps({"render": QUICK, "clusters": {"k": 4}}), encoding="utf-8")
        imported = fresh("pack", "import", str(presets_source), "--pack", "dropped", "--limit", "24", "--seed", "5")
        assert imported.returncode == 0, imported.stderr

        published = fresh.root.published("dropped", "aivj-style-index.v1.json")
        wait_for(published.exists, 240)

        page.goto(f"{url}/assets/frames?view=partitions&partition=dropped")
        expect(page.get_by_text("Materialized", exact=True).first).to_be_visible(timeout=30_000)
        expect(page.get_by_text("contact_sheet").first).to_be_visible()
        page.goto(f"{url}/assets/frames?view=checks&checkDetail=ok_rate")
        expect(page.get_by_text("blocking").first).to_be_visible(timeout=30_000)
        expect(page.get_by_text("Passed").first).to_be_visible()
        page.goto(f"{url}/assets/qa_samples?view=partitions&partition=dropped")
        link = page.locator(f"a[href='http://127.0.0.1:{port + 1}/dropped/qa-samples/index.html']").first
        with page.expect_popup(timeout=60_000) as popup:
            link.click()
        expect(popup.value.get_by_role("heading", name="dropped")).to_be_visible()
        assert process.poll() is None

    assert process.returncode == 0
    wait_for(lambda: left_over(fresh) == [], 20)
    log = (fresh.root.dagster_home / "ui.log").read_text(encoding="utf-8", errors="replace")
    assert "Batch torn is passed over" in log
    assert not fresh.root.batch(BatchKey("torn")).path.exists()
    told = fresh("gates", "dropped", "--json")
    assert json.loads(told.stdout)[0]["accepted"] is True
    clusters = json.loads(fresh.batch("dropped").clusters.read_text(encoding="utf-8"))
    assert clusters["k"] == 4


def test_a_taken_port_is_one_line(fresh: Cli) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = fresh("ui", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr
