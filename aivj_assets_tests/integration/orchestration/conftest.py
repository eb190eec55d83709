"""A data root with an empty Dagster storage, and the hall in it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path

import pytest

from aivj_assets.cli import app as cli
from aivj_assets.layout import DataRoot
from aivj_assets.orchestration.instance import open_instance
from aivj_assets_tests.builders import seed_storage
from aivj_assets_tests.house import House

Says = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def no_fork_server_of_another_root() -> Iterator[None]:
    """End the server that starts the steps' processes: it keeps the environment, and so the data root, of its start.

    A command of the command line that a test ran in this process had its steps work on an earlier test's data root.
    """
    yield
    if sys.platform != "win32":
        forkserver._forkserver._stop()  # type: ignore[attr-defined]


@pytest.fixture
def root(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> DataRoot:
    made = DataRoot(tmp_path / "root")
    seed_storage(made, tmp_path_factory)
    return made


@pytest.fixture
def house(root: DataRoot) -> Iterator[House]:
    with open_instance(root, {}) as instance:
        yield House(root, instance)


@pytest.fixture
def says(root: DataRoot, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Says:
    """The command line on the data root: status, output, error output."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setenv("AIVJ_ROOT", str(root.path))
        monkeypatch.setattr(sys, "argv", ["aivj", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capfd.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return run
