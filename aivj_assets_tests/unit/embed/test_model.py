from __future__ import annotations

import os
import subprocess
import sys

import pytest

from aivj_assets.embed.hub import HubWeights, weights_of_tag
from aivj_assets.embed.lite0 import offline_install_command
from aivj_assets.embed.model import usable_cpus


def test_processors_are_counted_where_affinity_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # Windows and macOS have none
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cpus() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cpus() == 1


@pytest.mark.parametrize(("platform", "python"), [("linux", ".venv/bin/python"), ("win32", r".venv\Scripts\python")])
def test_the_offline_models_command_is_one_that_the_user_has(platform: str, python: str) -> None:
    assert offline_install_command(platform) == f'{python} -m pip install -e ".[offline]"'
    assert offline_install_command(platform, reinstall=True).startswith(f"{python} -m pip install --force-reinstall ")


@pytest.mark.parametrize(
    ("hub_path", "expected"),
    [
        ("laion/CLIP/", HubWeights("laion/CLIP", ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"))),
        ("a/b/w.bin", HubWeights("a/b", ("w.safetensors", "w.bin"))),
        ("a/b/w.pt", HubWeights("a/b", ("w.pt",))),
    ],
)
def test_a_tags_hub_entry_names_repository_and_files(hub_path: str, expected: HubWeights) -> None:
    assert weights_of_tag(hub_path) == expected


def test_importing_the_room_loads_no_model_library() -> None:
    code = (
        "import sys, aivj_assets.embed.choose, aivj_assets.embed.embed, aivj_assets.embed.checks\n"
        "print(sorted({'torch', 'open_clip', 'torchvision', 'huggingface_hub', 'dagster'} & set(sys.modules)))"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    assert answer.stdout.strip() == "[]"
