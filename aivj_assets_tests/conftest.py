"""Fixtures that several rooms need: the web engine, a browser, small batches of presets to render."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aivj_assets.contracts.frames_index import FailedRecord, OkRecord, read_records
from aivj_assets.contracts.manifest import ManifestPreset
from aivj_assets.contracts.render_parameters import PageDescription, RenderParameters
from aivj_assets.layout import BatchDir, BatchKey, DataRoot, web_engine_dir
from aivj_assets.render.chromium import BrowserChoice, find_chromium
from aivj_assets.render.environment import BrowserReport, RenderEnvironment
from aivj_assets.render.probe import describe_renderer
from aivj_assets.render.resume import RenderPlan, plan_rendering
from aivj_assets.render.web_engine import PAGE_DIR, WebEngine, ensure_web_engine


def pytest_configure() -> None:
    """Let the commands under test hear Ctrl-C: a job in a script's background inherits that it is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def web_engine() -> WebEngine:
    """The render page's npm packages, installed where the project itself keeps them."""
    return ensure_web_engine(web_engine_dir(os.environ))


@pytest.fixture(scope="session")
def browser_choice() -> BrowserChoice:
    return find_chromium(os.environ, platform=sys.platform)


@pytest.fixture(scope="session")
def render_environment(web_engine: WebEngine, browser_choice: BrowserChoice) -> RenderEnvironment:
    return RenderEnvironment(
        executable=browser_choice.executable,
        browser_source=browser_choice.source,
        page_dir=PAGE_DIR,
        node_modules=web_engine.node_modules,
        is_root=hasattr(os, "geteuid") and os.geteuid() == 0,
        platform=sys.platform,
    )


@pytest.fixture(scope="session")
def browser_report(render_environment: RenderEnvironment) -> BrowserReport:
    """What the browser of this machine says of itself."""
    return describe_renderer(render_environment, RenderParameters())


@pytest.fixture(scope="session")
def real_presets(web_engine: WebEngine) -> list[Path]:
    """Real JSON presets of the npm package butterchurn-presets, sorted by name."""
    folder = web_engine.package("butterchurn-presets") / "presets" / "converted"
    return sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))


def js_preset(frame_equations: str, **more: Any) -> str:
    """Return a small Butterchurn JSON preset whose per-frame equations are JavaScript."""
    base: dict[str, Any] = {"baseVals": {"wave_a": 1, "decay": 0.9}, "shapes": [], "waves": [], "init_eqs_str": ""}
    return json.dumps(base | {"frame_eqs_str": frame_equations, "pixel_eqs_str": "", "warp": "", "comp": ""} | more)


class SmallBatch:
    """A data root with one batch of presets that a test puts together."""

    def __init__(self, path: Path) -> None:
        self.root = DataRoot(path)
        self.key = BatchKey("pack")
        self.presets: list[ManifestPreset] = []
        (self.root.presets_dir / "pack").mkdir(parents=True)

    @property
    def folder(self) -> BatchDir:
        return self.root.batch(self.key)

    def add(self, preset_id: str, content: str | bytes | Path | None, *, rel_path: str | None = None) -> None:
        """Add a preset: its text, its bytes, a file to copy, or None for a file that is missing."""
        suffix = content.suffix if isinstance(content, Path) else ".json"
        rel_path = rel_path or f"pack/{preset_id}{suffix}"
        target = self.root.presets_dir / rel_path
        if isinstance(content, Path):
            shutil.copyfile(content, target)
        elif content is not None:
            target.write_bytes(content.encode() if isinstance(content, str) else content)
        self.presets.append(
            ManifestPreset(
                id=preset_id,
                label=preset_id,
                rel_path=rel_path,
                url=f"/presets/{rel_path}",
                pack="pack",
                file_name=Path(rel_path).name,
                file_size=0,
            )
        )

    def plan(self, parameters: RenderParameters, page: PageDescription, **options: Any) -> RenderPlan:
        return plan_rendering(
            self.presets,
            root=self.root,
            batch=self.key,
            batch_dir=self.folder,
            parameters=parameters,
            page=page,
            **options,
        )

    def records(self) -> dict[str, OkRecord | FailedRecord]:
        """What index and shard logs hold, without touching them."""
        found = read_records(self.folder.frames_index)
        for log in sorted(self.folder.shard_logs_dir.glob("*.jsonl")):
            found.update(read_records(log))
        return found

    def frame_bytes(self, preset_id: str) -> list[bytes]:
        record = self.records()[preset_id]
        assert isinstance(record, OkRecord), record
        return [(self.folder.path / frame).read_bytes() for frame in record.frames]


@pytest.fixture
def small_batch(tmp_path: Path) -> SmallBatch:
    return SmallBatch(tmp_path / "root")


@pytest.fixture
def make_batch(tmp_path: Path) -> Callable[[str], SmallBatch]:
    """Several batches, each under a data root of its own."""
    return lambda name: SmallBatch(tmp_path / name)


@pytest.fixture
def preset_text() -> Callable[..., str]:
    """`js_preset`, for tests that write their own presets."""
    return js_preset
