"""A batch of small real pictures, a tiny OpenCLIP model with weights made here, EfficientNet-Lite0 with its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from aivj_assets.contracts.frames_index import FailedRecord, OkRecord
from aivj_assets.embed.lite0 import load_lite0
from aivj_assets.embed.model import TorchModel
from aivj_assets.embed.openclip import load_openclip
from aivj_assets.layout import BatchDir
from aivj_assets_tests.embedding_builders import TINY_NAME, add_preset, make_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny(checkpoint: Path) -> TorchModel:
    return load_openclip(TINY_NAME, str(checkpoint), environ={}, device="cpu")


@pytest.fixture(scope="session")
def lite0() -> TorchModel:
    return load_lite0(device="cpu")


@pytest.fixture
def batch(tmp_path: Path) -> BatchDir:
    return BatchDir(tmp_path / "batch")


@pytest.fixture
def records(batch: BatchDir) -> dict[str, OkRecord | FailedRecord]:
    made: dict[str, OkRecord | FailedRecord] = {}
    for number in range(9):
        suffix = ("webp", "png", "jpg")[number % 3]
        seeds = [number * 10 + frame for frame in range(1 + number % 4)]
        made[f"preset-{number}"] = add_preset(batch, f"preset-{number}", seeds, suffix)
    made["broken"] = FailedRecord(preset_id="broken", rel_path="b.milk", file_path="b.milk", reasons=["watchdog"])
    return made
