"""A data root with an empty Dagster storage, and the hall in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aivj_assets.layout import DataRoot
from aivj_assets.orchestration.instance import open_instance
from aivj_assets_tests.builders import seed_storage
from aivj_assets_tests.house import House


@pytest.fixture
def root(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> DataRoot:
    made = DataRoot(tmp_path / "root")
    seed_storage(made, tmp_path_factory)
    return made


@pytest.fixture
def house(root: DataRoot) -> Iterator[House]:
    with open_instance(root, {}) as instance:
        yield House(root, instance)
