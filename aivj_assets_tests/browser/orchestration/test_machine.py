"""What a run and the doctor say of this machine: a GPU that is asked for and missing, a window that cannot be shown."""

from __future__ import annotations

import json
import sys

import pytest

from aivj_assets.render.browser_count import measure_browser_count, spread

pytestmark = [pytest.mark.browser, pytest.mark.alone]


@pytest.fixture
def one(fresh, presets_source):
    """A pack of one preset that was not rendered yet."""
    assert fresh("pack", "import", str(presets_source), "--pack", "one", "--limit", "1").returncode == 0
    return fresh


def refused(cli, *settings: str) -> str:
    """Run the batch; returns the one line with which it was refused before anything was rendered."""
    done = cli.run("one", *(part for setting in settings for part in ("--set", setting)))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("Failed: ")]
    assert len(lines) == 1, done.stdout
    assert not cli.batch("one").frames_dir.exists()
    assert not cli.batch("one").frames_index.exists()
    return lines[0]


def test_require_gpu_refuses_software_rendering_at_once(one, browser_report) -> None:
    if browser_report.renderer_class == "gpu":
        pytest.skip("this machine renders on a GPU")
    line = refused(one, "requireGpu=true")
    assert "requireGpu is set, but WebGL runs on" in line
    assert browser_report.page.renderer in line
    assert "unset requireGpu" in line


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there is always a display")
def test_a_window_without_a_display_is_one_line(one, monkeypatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert "has no display to show itself on: set headless to true" in refused(one, "headless=false")


def test_the_doctor_finds_what_renders_here(finished, browser_report, render_environment) -> None:
    done = finished.cli("doctor", "--quick", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    checkup = told["checkup"]
    assert told["canRender"] is True
    assert "browsers" not in told
    assert checkup["browser"]["executable"] == str(render_environment.executable)
    assert checkup["browser"]["version"] == browser_report.browser_version
    assert checkup["browser"]["sandbox"] is not render_environment.is_root
    (chosen,) = [trial for trial in checkup["renderers"] if trial["chosen"]]
    assert (chosen["renderer"], chosen["rendererClass"]) == (
        browser_report.page.renderer,
        browser_report.renderer_class,
    )
    assert checkup["page"]["pageVersion"] == browser_report.page.page_version
    classes = {trial["name"]: trial["rendererClass"] for trial in checkup["renderers"]}
    assert classes["swiftshader"] in ("swiftshader", "none")
    assert told["poolLimit"] >= 1


def test_browsers_are_measured_with_real_presets(browser_report, render_environment, real_presets) -> None:
    heard: list[tuple[int, int, int]] = []
    found = measure_browser_count(
        render_environment,
        browser_report.page,
        presets=spread(real_presets, 3),
        cores=2,
        is_gpu=False,
        on_progress=lambda *told: heard.append(told),
    )
    assert [trial.browsers for trial in found.trials] == [1, 2]
    assert found.presets == 2
    assert found.recommended in (1, 2)
    for trial in found.trials:
        assert 0 < trial.presets_per_s < 100
        # Worker, driver and browser: no less than 100 MB, and bounded by the session's own limit of a process.
        assert 10**8 < trial.peak_memory_bytes < 8 * 10**9
    assert 4096 < found.bytes_per_preset < 300_000
    assert heard[0] == (1, 0, 3)
    assert max(done for browsers, done, _ in heard if browsers == 2) == 6
