"""What the checkup says of a machine, by what it has."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from aivj_assets.layout import DataRoot
from aivj_assets.render import doctor
from aivj_assets.render.chromium import RendererKind
from aivj_assets.render.doctor import (
    BrowserFacts,
    Checkup,
    MachineFacts,
    RendererTrial,
    backend,
    candidates,
    examine,
    has_display,
    nvidia_gpus,
    renderer_problems,
    size_text,
)

MACHINE = MachineFacts(
    python="3.11.9", system="test", cores=2, memory_bytes=8 * 10**9, memory_available_bytes=4 * 10**9,
    data_root="/data", disk_free_bytes=10**11, nvidia_gpus=[],
)  # fmt: skip


def trial(name: str, kind: RendererKind | str, *, chosen: bool = False, headless: bool = True) -> RendererTrial:
    return RendererTrial.model_validate(
        {
            "name": name, "headless": headless, "renderer": None if kind == "none" else kind, "rendererClass": kind,
            "startS": 1, "chosen": chosen, "flags": [f"--use-angle={name}"],
        }
    )  # fmt: skip


def told(*trials: RendererTrial, platform: str = "linux", gpus: list[str] | None = None) -> list[str]:
    machine = MACHINE.model_copy(update={"nvidia_gpus": gpus or []})
    browser = BrowserFacts(executable="c", source="system", sandbox=True, sandbox_reason="ordinary user")
    checkup = Checkup(machine=machine, web_engine={}, browser=browser, renderers=list(trials))
    checkup.problems = renderer_problems(checkup, platform)
    assert checkup.can_render == any(each.chosen for each in trials)
    return [problem.text for problem in checkup.problems]


def test_every_candidate_is_tried_once_those_for_a_gpu_first() -> None:
    assert [backend(flags) for flags in candidates("linux", is_root_=False)] == ["vulkan", "gl-egl", "swiftshader"]
    assert [backend(flags) for flags in candidates("win32", is_root_=False)] == ["d3d11", "swiftshader"]
    assert [backend(flags) for flags in candidates("darwin", is_root_=False)] == ["metal", "swiftshader"]
    assert all("--no-sandbox" in flags for flags in candidates("linux", is_root_=True))
    assert backend(["--mute-audio"]) == "default"


def test_a_gpu_that_is_used_is_no_problem() -> None:
    assert told(trial("d3d11", "gpu", chosen=True), trial("swiftshader", "swiftshader"), platform="win32") == []


def test_a_gpu_with_other_flags_or_a_window_is_named_with_the_setting() -> None:
    soft = trial("gl-egl", "llvmpipe", chosen=True)
    assert "--set renderer=gpu" in told(trial("vulkan", "gpu"), soft)[0]
    windowed = trial("d3d11", "gpu", headless=False)
    (text,) = told(trial("d3d11", "none"), trial("swiftshader", "swiftshader", chosen=True), windowed, platform="win32")
    assert "--set headless=false" in text


def test_software_beside_an_nvidia_gpu_names_the_card_and_the_driver() -> None:
    (text,) = told(trial("swiftshader", "swiftshader", chosen=True), platform="win32", gpus=["NVIDIA RTX 4090"])
    assert "NVIDIA RTX 4090" in text
    assert "driver" in text


def test_swiftshader_on_linux_points_at_mesa() -> None:
    assert "libgl1-mesa-dri" in told(trial("gl-egl", "none"), trial("swiftshader", "swiftshader", chosen=True))[0]
    assert "libgl1-mesa-dri" not in told(trial("gl-egl", "llvmpipe", chosen=True))[0]


def test_no_webgl_at_all_stops_rendering_with_the_browsers_own_reason() -> None:
    assert told(trial("gl-egl", "none"))[0].startswith("The browser offers no WebGL2")
    failed = trial("gl-egl", "none").model_copy(update={"problem": "chromium misses system libraries: run x."})
    assert told(failed) == ["chromium misses system libraries: run x."]


def test_a_sandbox_that_is_off_is_said_aloud() -> None:
    browser = BrowserFacts(executable="c", source="system", sandbox=False, sandbox_reason="it does not run as root")
    chosen = trial("gl-egl", "gpu", chosen=True)
    checkup = Checkup(machine=MACHINE, web_engine={}, browser=browser, renderers=[chosen])
    (problem,) = renderer_problems(checkup, "linux")
    assert "sandbox is off (it does not run as root)" in problem.text
    assert not problem.stops_rendering


@pytest.mark.parametrize(
    ("platform", "environ", "shown"),
    [
        ("linux", {}, False),
        ("linux", {"DISPLAY": ":0"}, True),
        ("linux", {"WAYLAND_DISPLAY": "w"}, True),
        ("win32", {}, True),
    ],
)
def test_a_window_needs_a_display(platform: str, environ: dict[str, str], shown: bool) -> None:
    assert has_display(platform, environ) is shown


def test_without_engine_and_browser_both_are_told_and_nothing_is_made(tmp_path: Path) -> None:
    root = DataRoot(tmp_path / "data" / "root")
    environ = {"AIVJ_WEB_ENGINE_DIR": str(tmp_path / "engine"), "AIVJ_CHROMIUM": str(tmp_path / "no-browser")}
    checkup, environment = examine(root, environ)
    assert environment is None
    assert not checkup.can_render
    texts = [problem.text for problem in checkup.problems if problem.stops_rendering]
    assert [text.partition(":")[0] for text in texts] == [
        "The web engine is not installed",
        f"AIVJ_CHROMIUM is '{tmp_path / 'no-browser'}', which is no file",
    ]
    assert list(tmp_path.iterdir()) == []
    assert checkup.machine.cores >= 1
    assert checkup.machine.disk_free_bytes > 0


def test_little_room_is_told_and_none_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def free(size_bytes: int) -> list[tuple[str, bool]]:
        facts = MACHINE.model_copy(update={"disk_free_bytes": size_bytes})
        return [(each.text, each.stops_rendering) for each in doctor._place_problems(DataRoot(tmp_path), facts)]

    assert free(10**11) == []
    ((text, stops),) = free(2 * 10**9)
    assert not stops
    assert "room for about 50,000 presets" in text
    assert [stops for _, stops in free(10**8)] == [True]


def test_nvidia_gpus_are_what_the_driver_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    def driver(output: str, status: int) -> list[str]:
        monkeypatch.setattr(doctor.shutil, "which", lambda _name: "nvidia-smi")
        done = subprocess.CompletedProcess([], status, output, "")
        monkeypatch.setattr(doctor.subprocess, "run", lambda *_arguments, **_options: done)
        return nvidia_gpus()

    assert driver("NVIDIA GeForce RTX 3060\nTesla T4\n\n", 0) == ["NVIDIA GeForce RTX 3060", "Tesla T4"]
    assert driver("NVIDIA-SMI has failed", 9) == []
    monkeypatch.setattr(doctor.shutil, "which", lambda _name: None)
    assert nvidia_gpus() == []


def test_sizes_are_readable() -> None:
    assert (size_text(12_345_000_000), size_text(40_000_000)) == ("12.3 GB", "40 MB")
