"""Kills, Ctrl-C and two runs at once: nothing rendered is lost, nothing is rendered twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import dagster as dg
import psutil
import pytest

from aivj_assets.layout import project_root
from aivj_assets.orchestration.guard import latest_materialization, latest_verdict
from aivj_assets.orchestration.instance import open_instance
from aivj_assets_tests.browser.orchestration.conftest import OFFLINE, QUICK_OPTIONS, Cli

pytestmark = pytest.mark.alone


def rendered_lines(cli: Cli, batch: str) -> list[dict]:
    folder = cli.batch(batch)
    paths = [folder.frames_index, *sorted(folder.shard_logs_dir.glob("*.jsonl"))]
    lines = [line for path in paths if path.exists() for line in path.read_bytes().split(b"\n")[:-1]]
    return [json.loads(line) for line in lines]


def frame_times(cli: Cli, batch: str) -> dict[str, tuple[int, bytes]]:
    folder = cli.batch(batch).frames_dir
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*.webp")}


@pytest.fixture
def slow(fresh: Cli, presets_source: Path) -> Cli:
    """A pack whose rendering takes long enough to be interrupted: full size, by one browser."""
    done = fresh("pack", "import", str(presets_source), "--pack", "long", "--limit", "24", "--seed", "5")
    assert done.returncode == 0
    return fresh


def start_and_wait_for_records(cli: Cli, wait_for, count: int):
    process = cli.start("run", "long", *OFFLINE, *QUICK_OPTIONS)
    wait_for(lambda: len(rendered_lines(cli, "long")) >= count or process.poll() is not None, 120)
    assert process.poll() is None, process.communicate()[0]
    return process


def nothing_runs(cli: Cli) -> bool:
    """Whether no step and no browser of this data root is left; its runs hand AIVJ_ROOT down to all they start."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("AIVJ_ROOT") == str(cli.root.path) and process.status() != psutil.STATUS_ZOMBIE:
                return False
        except psutil.Error:
            continue
    return True


def test_kill_9_then_a_time_budget_then_the_rest(slow, wait_for) -> None:
    process = start_and_wait_for_records(slow, wait_for, 4)
    process.kill()
    process.wait(timeout=30)
    wait_for(lambda: nothing_runs(slow), 60)
    kept_lines = rendered_lines(slow, "long")
    kept = {line["presetId"]: line["at"] for line in kept_lines}
    folder = slow.batch("long").path
    kept_names = {str(folder / frame) for line in kept_lines for frame in line.get("frames", [])}
    kept_frames = {name: value for name, value in frame_times(slow, "long").items() if name in kept_names}
    assert len(kept) >= 4

    budgeted = slow.run("long", "--set", "stopAfterSec=0.5")
    assert budgeted.returncode == 1
    assert "is incomplete" in budgeted.stdout
    assert "Traceback" not in budgeted.stdout + budgeted.stderr
    assert not slow.batch("long").frames_meta.exists()
    done = len(rendered_lines(slow, "long"))
    assert len(kept) <= done < 24
    with open_instance(slow.root, {}) as instance:
        run = instance.get_runs(limit=1)[0]
        # What is left is recorded; it is no failure, and nothing was judged.
        assert run.status == dg.DagsterRunStatus.SUCCESS
        assert run.tags["aivj/incomplete"] == f"{24 - done} of 24 presets left"
        events = instance.all_logs(run.run_id)
        told = [event.asset_observation for event in events if event.asset_observation is not None]
        assert [(one.partition, one.metadata["done"].value, one.metadata["left"].value) for one in told] == [
            ("long", done, 24 - done)
        ]
        assert latest_materialization(instance, "frames", "long") is None
        assert latest_verdict(instance, "frames", "ok_rate", "long") is None

    last = slow.run("long")
    assert last.returncode == 0, last.stdout + last.stderr
    records = rendered_lines(slow, "long")
    assert len(records) == 24
    assert max(Counter(record["presetId"] for record in records).values()) == 1
    # The time of a record tells when it was rendered: what was there before the kill was not rendered again.
    assert {record["presetId"]: record["at"] for record in records if record["presetId"] in kept} == kept
    after = frame_times(slow, "long")
    assert {name: after[name] for name in kept_frames} == kept_frames


def test_a_run_that_starts_after_the_nights_end_renders_nothing_and_has_not_failed(slow) -> None:
    assert slow.run("long", "--only", "presets").returncode == 0
    home = {"AIVJ_ROOT": str(slow.root.path), "DAGSTER_HOME": str(slow.root.dagster_home)}
    tags = json.dumps({"dagster/partition": "long", "aivj/stop_at": "1"})
    command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "aivj_assets.definitions", "-j", "batch_job"]
    done = subprocess.run(
        [*command, "-d", str(project_root()), "--tags", tags], env={**os.environ, "AIVJ_EMBEDDER": OFFLINE[1], **home},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "24 of 24 presets have no record yet" in done.stderr
    assert rendered_lines(slow, "long") == []
    with open_instance(slow.root, {}) as instance:
        assert instance.get_runs(limit=1)[0].tags["aivj/incomplete"] == "24 of 24 presets left"


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX; Windows sends console events")
def test_a_second_run_is_refused_and_ctrl_c_keeps_what_is_done(slow, wait_for) -> None:
    process = start_and_wait_for_records(slow, wait_for, 1)
    second = slow.run("long", "--only", "presets")
    assert second.returncode == 1
    assert "is being worked on by run" in second.stdout
    assert f"process {process.pid}" in second.stdout
    assert "Traceback" not in second.stdout + second.stderr

    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=90)[0]
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert "goes on from there" in output
    wait_for(lambda: nothing_runs(slow), 30)
    kept = {line["presetId"]: line["at"] for line in rendered_lines(slow, "long")}

    again = slow.run("long")
    assert again.returncode == 0, again.stdout + again.stderr
    assert {line["presetId"]: line["at"] for line in rendered_lines(slow, "long") if line["presetId"] in kept} == kept
