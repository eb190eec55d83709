"""A model hub that does not answer is told before a command starts a run: rendering takes hours, this a second."""

import io
import socket
import time
from pathlib import Path

import pytest
from rich.console import Console

from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.commands import all_batches
from aivj_assets.orchestration.commands import batch as commands
from aivj_assets.orchestration.commands.batch import BatchOptions, run_and_report
from aivj_assets_tests.builders import seed_storage, write_manifest


class StartedError(Exception):
    """A run was started."""


def started(*_: object, **__: object) -> None:
    raise StartedError


@pytest.fixture
def root(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> DataRoot:
    """A pack that nobody has run, on a machine without weights whose hub is out of reach."""
    root = DataRoot(tmp_path / "root")
    seed_storage(root, tmp_path_factory)
    write_manifest(root, "big", ["p0", "p1"])
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"http://127.0.0.1:{server.getsockname()[1]}"
    monkeypatch.setenv("HF_ENDPOINT", closed)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "AIVJ_EMBEDDER", "AIVJ_PRETRAINED"):
        monkeypatch.delenv(name, raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    for module in (commands, all_batches):
        monkeypatch.setattr(module, "run_batch", started)
    return root


def run(root: DataRoot, options: BatchOptions) -> int:
    return run_and_report(Console(file=io.StringIO()), root, BatchKey.parse("big"), options)


def test_a_run_that_could_not_embed_is_not_started(root: DataRoot) -> None:
    begun = time.monotonic()
    with pytest.raises(UserError, match=r"ViT-B-32 .*cannot be reached.*HF_ENDPOINT.*local checkpoint") as caught:
        run(root, BatchOptions())
    assert time.monotonic() - begun < 8
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="hf-hub:somebody/clip"):
        run(root, BatchOptions(embedder="hf-hub:somebody/clip"))


def test_what_needs_no_hub_is_started(root: DataRoot, tmp_path: Path) -> None:
    own = tmp_path / "own.pt"
    own.write_bytes(b"weights")
    for options in (
        BatchOptions(embedder="efficientnet-lite0"),
        BatchOptions(embedder="ViT-B-32", pretrained=str(own)),
        BatchOptions(only=["presets"]),
    ):
        with pytest.raises(StartedError):
            run(root, options)


def test_of_all_batches_none_is_started_and_each_says_why(root: DataRoot) -> None:
    said = io.StringIO()
    status = all_batches.run_all_and_report(Console(file=said, width=160), root, "big", BatchOptions())
    assert status == 1
    assert "HF_ENDPOINT" in said.getvalue()
    with pytest.raises(StartedError):
        all_batches.run_all_and_report(Console(file=said), root, "big", BatchOptions(embedder="efficientnet-lite0"))
