"""The doctor's advice: what it makes of a measurement, the pool and the device."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from aivj_assets.contracts.findings import Finding
from aivj_assets.embed.precision import DeviceFacts, describe_device
from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot
from aivj_assets.orchestration.commands import doctor
from aivj_assets.orchestration.commands.doctor import (
    Doctor,
    DoctorOptions,
    device_problems,
    doctor_and_report,
    pool_limit,
    pool_problems,
    preflight_problems,
    sections,
    set_pool_limit,
)
from aivj_assets.orchestration.instance import BROWSERS_VARIABLE, browser_limit
from aivj_assets.render.browser_count import BrowserCount, CountTrial
from aivj_assets.render.doctor import Checkup, MachineFacts, Problem
from aivj_assets_tests.builders import seed_storage

CPU = DeviceFacts(device="cpu", name="2 threads", precision="float32", torch_version="2.9.0+cpu")


def measured(*rates: float, recommended: int) -> BrowserCount:
    trials = [
        CountTrial(browsers=number, presets_per_s=rate, peak_memory_bytes=10**9, duration_s=20)
        for number, rate in enumerate(rates, start=1)
    ]
    return BrowserCount(
        presets=16, trials=trials, recommended=recommended, reason="1.90 presets/s", bytes_per_preset=30_000
    )


def checkup(*gpus: str, problems: list[Problem] | None = None) -> Checkup:
    machine = MachineFacts(
        python="3.11.9", system="test", cores=2, memory_bytes=8 * 10**9, memory_available_bytes=4 * 10**9,
        data_root="/data", disk_free_bytes=3 * 10**9, nvidia_gpus=list(gpus),
    )  # fmt: skip
    return Checkup(machine=machine, web_engine=None, problems=problems or [])


def test_a_limit_that_does_not_suit_is_told_with_the_way_to_set_it() -> None:
    (problem,) = pool_problems(measured(1.0, 1.9, recommended=2), 1, {})
    assert "lets 1 browser render at once (1.00 presets/s); 2 suit better" in problem.text
    assert "aivj doctor --apply" in problem.text
    assert not problem.stops_rendering
    (problem,) = pool_problems(measured(1.0, 1.9, recommended=2), 7, {BROWSERS_VARIABLE: "7"})
    assert f"set {BROWSERS_VARIABLE}=2" in problem.text
    assert pool_problems(measured(1.0, 1.9, recommended=2), 2, {}) == []
    assert pool_problems(None, 2, {}) == []


def test_pytorch_without_cuda_beside_a_gpu_is_told() -> None:
    (problem,) = device_problems(CPU, checkup("NVIDIA RTX 4090"))
    assert "NVIDIA RTX 4090" in problem.text
    assert "2.9.0+cpu" in problem.text
    assert device_problems(CPU.model_copy(update={"device": "cuda"}), checkup("NVIDIA RTX 4090")) == []
    assert device_problems(CPU, checkup()) == []


def test_this_machines_device_is_one_that_pytorch_has() -> None:
    import torch

    found = describe_device()
    assert found.device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert found.name
    assert found.torch_version == torch.__version__


def test_what_is_shown_holds_rates_room_and_the_limit() -> None:
    found = Doctor(
        checkup=checkup(), device=CPU, bytes_per_preset=30_000, bytes_measured=True,
        browsers=measured(1.0, 1.9, recommended=2), pool_limit=2, pool_set=True, problems=[],
    )  # fmt: skip
    shown = {title: dict(rows) for title, rows in sections(found)}
    assert shown["Machine"]["disk"] == "3.0 GB free: frames of about 100,000 presets"
    assert shown["Machine"][""] == "1,000 presets take 30 MB at the default parameters (measured)"
    assert shown["Browsers at once"]["2"] == "1.90 presets/s, up to 1.0 GB of memory each (20 s)"
    assert shown["Browsers at once"]["recommended"] == "2 (1.90 presets/s)"
    assert shown["Browsers at once"]["pool 'browser'"] == "2 (set now)"
    assert shown["Browser"] == {"web engine": "missing", "browser": "none"}
    assert shown["Embedding"] == {"device": "cpu: 2 threads (PyTorch 2.9.0+cpu)", "precision": "float32"}


def test_a_limit_that_was_set_stays_when_the_instance_is_opened_again(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(BROWSERS_VARIABLE, raising=False)
    root = DataRoot(tmp_path)
    assert pool_limit(root, {BROWSERS_VARIABLE: "6"}) == browser_limit({BROWSERS_VARIABLE: "6"}, 1) == 6
    assert list(tmp_path.iterdir()) == []
    seed_storage(root, tmp_path_factory)
    set_pool_limit(root, 9)
    assert pool_limit(root, {}) == 9


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> Checkup:
    """A machine on which nothing can be rendered."""
    found = checkup(problems=[Problem(text="No browser was found.", stops_rendering=True), Problem(text="Slow.")])
    monkeypatch.delenv(BROWSERS_VARIABLE, raising=False)
    monkeypatch.setattr(doctor, "examine", lambda _root, _environ, _say: (found, None))
    monkeypatch.setattr(doctor, "describe_device", lambda: CPU)
    monkeypatch.setenv("AIVJ_EMBEDDER", "efficientnet-lite0")
    return found


def test_what_stops_rendering_ends_with_status_1_and_nothing_is_measured_or_made(
    examined: Checkup, tmp_path: Path
) -> None:
    console = Console(file=io.StringIO(), width=120)
    assert doctor_and_report(console, DataRoot(tmp_path), DoctorOptions(apply=True)) == 1
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Stops rendering: No browser was found." in text
    assert "Note: Slow." in text
    assert list(tmp_path.iterdir()) == []


def test_json_is_all_that_is_printed(examined: Checkup, tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=60)
    doctor_and_report(console, DataRoot(tmp_path), DoctorOptions(as_json=True))
    told = json.loads(console.file.getvalue())  # type: ignore[attr-defined]
    assert told["canRender"] is False
    assert told["checkup"]["machine"]["cores"] == 2
    assert told["problems"][0] == {"text": "No browser was found.", "stopsRendering": True}
    looked = {finding["name"]: finding["passed"] for finding in told["preflight"]}
    assert looked == {"write access": True, "clock of the disk": True, "clock": True, "model": True, "browser": False}


def test_a_data_root_that_cannot_be_written_stops_rendering(examined: Checkup, tmp_path: Path) -> None:
    (tmp_path / ".aivj").write_text("")
    console = Console(file=io.StringIO(), width=120)
    assert doctor_and_report(console, DataRoot(tmp_path), DoctorOptions(quick=True)) == 1
    text = console.file.getvalue()  # type: ignore[attr-defined]
    (line,) = [line for line in text.splitlines() if line.startswith("Stops rendering: write access")]
    assert ".aivj is a file where a folder should be" in line


def test_findings_that_the_checkup_tells_already_are_not_told_twice() -> None:
    found = checkup(problems=[Problem(text="No browser was found.", stops_rendering=True), Problem(text="Slow.")])
    findings = [
        Finding("write access", passed=False, detail="/data cannot be written"),
        Finding("browser", passed=False, detail="No browser was found."),
        Finding("WebGL", passed=False, detail="llvmpipe", severity="warning"),
        Finding("model", passed=False, detail="No model can be had."),
        Finding("disk", passed=False, detail="8 GB are free", severity="warning"),
        Finding("clock", passed=True, detail="2026"),
    ]
    assert [(each.text, each.stops_rendering) for each in preflight_problems(findings, found)] == [
        ("write access: /data cannot be written", True),
        # Rendering goes without one, and the exit status is about rendering.
        ("model: No model can be had.", False),
        ("disk: 8 GB are free", False),
    ]


def test_options_that_contradict_each_other_are_refused_before_anything_starts(
    examined: Checkup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="--quick leaves it out"):
        doctor_and_report(Console(), DataRoot(tmp_path), DoctorOptions(quick=True, apply=True))
    monkeypatch.setenv(BROWSERS_VARIABLE, "3")
    with pytest.raises(UserError, match=f"{BROWSERS_VARIABLE} is set and decides"):
        doctor_and_report(Console(), DataRoot(tmp_path), DoctorOptions(apply=True))
