"""The bars of `aivj run`."""

import io
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from rich.console import Console

from aivj_assets.contracts.progress import WorkProgress
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.commands import batch as commands
from aivj_assets.orchestration.commands import follow

BATCH = BatchKey("pack")


def materialised(stage: str) -> Any:
    return SimpleNamespace(event_type=dg.DagsterEventType.ASSET_MATERIALIZATION, asset_key=dg.AssetKey(stage))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


@pytest.mark.parametrize(("stage", "shown"), [("embeddings", "59/59"), ("presets", "47/59")])
def test_the_bar_of_embedding_ends_full_when_the_stage_is_done_and_only_then(
    root: DataRoot, monkeypatch: pytest.MonkeyPatch, stage: str, shown: str
) -> None:
    monkeypatch.setattr(follow, "_REFRESH_S", 0.01)
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    written = console.file.getvalue  # type: ignore[attr-defined]
    progress = root.batch(BATCH).embedding_progress
    WorkProgress(done=47, total=59).save(progress)
    with commands.run_progress(console, root, BATCH) as watch:
        wait_for(lambda: "47/59" in written())
        progress.unlink()
        watch(materialised(stage))
    assert written().rpartition("embedding")[2].split()[1] == shown


@pytest.fixture
def root(tmp_path: Any) -> DataRoot:
    return DataRoot(tmp_path)
