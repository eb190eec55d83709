"""A finished batch of real presets, made once by the command line as a user would make it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from aivj_assets.layout import BatchDir, BatchKey, DataRoot
from aivj_assets.render.chromium import BrowserChoice
from aivj_assets.render.web_engine import WebEngine

# Small pictures and short warm-ups: what is tested is the way through the house, not the pictures.
QUICK = {"width": 96, "height": 54, "outSize": 64, "warmupFrames": 8, "captureEvery": 8, "captureCount": 2}
QUICK_OPTIONS = [part for name, value in QUICK.items() for part in ("--set", f"{name}={value}")]
OFFLINE = ["--embedder", "efficientnet-lite0"]


@dataclass(frozen=True)
class Cli:
    """The command line on one data root."""

    root: DataRoot

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "aivj_assets.cli", *arguments, "--root", str(self.root.path)]

    def __call__(self, *arguments: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), capture_output=True, text=True, timeout=timeout, encoding="utf-8", check=False
        )

    def run(self, batch: str, *more: str) -> subprocess.CompletedProcess[str]:
        return self("run", batch, *OFFLINE, *QUICK_OPTIONS, *more)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
        )

    def batch(self, key: str) -> BatchDir:
        return self.root.batch(BatchKey.parse(key))


@dataclass(frozen=True)
class FinishedBatch:
    """A data root with one accepted, published batch, and what the command line said."""

    cli: Cli
    key: str
    output: str


@pytest.fixture(scope="session")
def presets_source(web_engine: WebEngine, browser_choice: BrowserChoice) -> Path:
    """The npm package with real presets; a browser to render them is there."""
    del browser_choice
    return web_engine.package("butterchurn-presets")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, presets_source: Path) -> FinishedBatch:
    cli = Cli(DataRoot(tmp_path_factory.mktemp("finished")))
    imported = cli("pack", "import", str(presets_source), "--pack", "live", "--limit", "24", "--seed", "5")
    assert imported.returncode == 0, imported.stdout + imported.stderr
    done = cli.run("live")
    assert done.returncode == 0, done.stdout + done.stderr
    return FinishedBatch(cli, "live", done.stdout)


@pytest.fixture
def copied(finished: FinishedBatch, tmp_path: Path) -> Cli:
    """The finished batch, copied with its history to a folder of the test's own."""
    shutil.copytree(finished.cli.root.path, tmp_path / "root")
    return Cli(DataRoot(tmp_path / "root"))


@pytest.fixture
def fresh(tmp_path: Path) -> Cli:
    """A data root of the test's own, empty."""
    return Cli(DataRoot(tmp_path / "root"))


@pytest.fixture
def wait_for() -> Callable[[Callable[[], bool], float], None]:
    """Wait until something is true, or fail."""
    import time

    def wait(condition: Callable[[], bool], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"not within {timeout_s} s"
            time.sleep(0.2)

    return wait
