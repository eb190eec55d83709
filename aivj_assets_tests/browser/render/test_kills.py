"""Workers and browsers killed while they render: nothing is lost but what was in hand, nothing is rendered twice."""

from __future__ import annotations

import contextlib
import os
import random
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from aivj_assets.contracts.frames_index import read_records
from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.render.environment import BrowserReport, RenderEnvironment
from aivj_assets.render.processes import kill_processes, process_tree
from aivj_assets.render.resume import finish_index
from aivj_assets_tests.browser.render.workers import QUICK, Worker, browser_processes, contents, render

pytestmark = [pytest.mark.browser, pytest.mark.alone]

UNHURRIED = RenderParameters(warmup_frames=40, capture_every=10, capture_count=2, timeout_ms=30_000, retry_times=2)
ENDS_THE_WORKER = {"worker", "tree"}


@pytest.fixture
def start_worker(render_environment: RenderEnvironment) -> Iterator[Callable[[Sequence[Any]], Worker]]:
    workers: list[Worker] = []

    def start(plans: Sequence[Any]) -> Worker:
        workers.append(Worker(render_environment, plans))
        return workers[-1]

    yield start
    for worker in workers:
        worker.end()


def kill(worker: Worker, kind: str) -> None:
    """Kill one of: worker, tree (with all it started), browser, gpu-process, renderer, driver (Playwright's)."""
    process = psutil.Process(worker.process.pid)
    if kind == "worker":
        process.kill()
    elif kind == "tree":
        kill_processes(process_tree(process))
    elif kind == "driver":
        kill_processes(process.children()[:1])
    else:
        deadline = time.monotonic() + 20
        while not (found := browser_processes(process, None if kind == "browser" else kind)):
            assert time.monotonic() < deadline, f"no {kind} runs"
            time.sleep(0.05)
        for one in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


def stored_at(batch: Any) -> dict[Path, int]:
    """When each file of a recorded frame was written."""
    frames = [frame for record in batch.records().values() for frame in record.to_json().get("frames", [])]
    return {path: path.stat().st_mtime_ns for path in (batch.folder.path / frame for frame in frames)}


def unrecorded(batch: Any) -> set[str]:
    """Folders with frames of presets that have no record."""
    recorded = {record.to_json().get("idHash") for record in batch.records().values()}
    return {path.parent.name for path in batch.folder.frames_dir.rglob("frame-*")} - recorded


def render_under_fire(
    batch: Any, report: BrowserReport, start: Callable[[Sequence[Any]], Worker], kinds: Sequence[str], seed: int
) -> None:
    """Render a batch while things are killed at random moments, beginning anew whenever the worker went."""
    chance = random.Random(seed)
    kinds = list(kinds)
    while True:
        plan = batch.plan(UNHURRIED, report.page)
        before, times = set(batch.records()), stored_at(batch)
        assert {preset.preset_id for preset in plan.pending} == {preset.id for preset in batch.presets} - before
        worker = start(plan.shards)
        told: list[str] = []
        while kinds:
            kind = kinds.pop(0)
            told += worker.wait_for_records(1)
            time.sleep(chance.uniform(0, 0.5))
            kill(worker, kind)
            if kind in ENDS_THE_WORKER:
                break
        else:
            told += worker.finish()
            kind = ""
        if kind:
            told += worker.process.communicate()[0].split()
            # Where all are killed at once, nobody is left to remove the browser's profile.
            worker.wait_for_tidiness(folders=kind != "tree")
        # What was told is stored, nothing is rendered again, and one preset at most was in hand.
        assert set(told) <= set(batch.records())
        assert before.isdisjoint(told)
        assert len(set(told)) == len(told)
        assert len(unrecorded(batch)) <= 1
        assert {path: when for path, when in stored_at(batch).items() if path in times} == times
        if not kind:
            assert finish_index(batch.folder, batch.presets, plan.fingerprint).complete
            return


@pytest.mark.timeout(600)
def test_kills_on_the_way_change_nothing(
    make_batch: Callable[[str], Any],
    real_presets: list[Path],
    browser_report: BrowserReport,
    start_worker: Callable[[Sequence[Any]], Worker],
) -> None:
    calm, disturbed = make_batch("calm"), make_batch("disturbed")
    for batch in (calm, disturbed):
        for number, path in enumerate(real_presets[40::80][:20]):
            batch.add(f"p{number}", path)
        batch.add("fails", '{"no": "preset"}')
    undisturbed = start_worker(calm.plan(UNHURRIED, browser_report.page).shards)
    kinds = ["gpu-process", "worker", "browser", "tree", "renderer", "driver"]
    render_under_fire(disturbed, browser_report, start_worker, kinds, seed=3)
    undisturbed.finish()
    assert contents(disturbed) == contents(calm)
    index = disturbed.folder.frames_index.read_text(encoding="utf-8").splitlines()
    assert len(index) == len(disturbed.presets)
    assert list(read_records(disturbed.folder.frames_index)) == [preset.id for preset in disturbed.presets]


def test_killed_in_the_middle_of_a_line(
    small_batch: Any,
    preset_text: Callable[..., str],
    render_environment: RenderEnvironment,
    browser_report: BrowserReport,
) -> None:
    for number in range(2):
        small_batch.add(f"p{number}", preset_text(f"a.q1 = {number};"))
    render(small_batch, render_environment, browser_report, QUICK)
    whole, times = contents(small_batch), stored_at(small_batch)
    # As a crash leaves it: the second line torn, in the log of the shard.
    first, second = small_batch.folder.frames_index.read_bytes().splitlines(keepends=True)
    small_batch.folder.frames_index.unlink()
    small_batch.folder.shard_logs_dir.mkdir(exist_ok=True)
    log = small_batch.folder.shard_logs_dir / "s0000_0.jsonl"
    log.write_bytes(first + second[: len(second) // 2])
    assert [preset.preset_id for preset in small_batch.plan(QUICK, browser_report.page).pending] == ["p1"]
    assert render(small_batch, render_environment, browser_report, QUICK).ok == 2
    assert contents(small_batch) == whole
    now = stored_at(small_batch)
    assert [path for path in now if now[path] == times[path]] == [path for path in now if path in list(now)[:2]]


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for the browser")
def test_a_browser_killed_while_it_starts_costs_nothing(
    small_batch: Any,
    preset_text: Callable[..., str],
    render_environment: RenderEnvironment,
    browser_report: BrowserReport,
    tmp_path: Path,
) -> None:
    mark, script = tmp_path / "mark", tmp_path / "chromium"
    real = shlex.quote(str(render_environment.executable))
    lines = ["#!/bin/sh", f'if [ -e {mark} ]; then exec {real} "$@"; fi', f"touch {mark}", "kill -9 $$"]
    script.write_text("\n".join(lines), encoding="utf-8")
    script.chmod(0o755)
    small_batch.add("p0", preset_text(""))
    environment = replace(render_environment, executable=script)
    assert render(small_batch, environment, browser_report, QUICK).ok == 1
    assert mark.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C of a POSIX terminal")
def test_ctrl_c_leaves_no_process_and_loses_nothing(
    small_batch: Any,
    preset_text: Callable[..., str],
    browser_report: BrowserReport,
    start_worker: Callable[[Sequence[Any]], Worker],
) -> None:
    small_batch.add("first", preset_text(""))
    small_batch.add("endless", preset_text("while (true) {}"))
    worker = start_worker(small_batch.plan(QUICK, browser_report.page).shards)
    worker.wait_for_records(1)
    assert worker.leftovers()  # a browser runs, so that its end means something
    time.sleep(1)
    started = time.monotonic()
    os.killpg(worker.process.pid, signal.SIGINT)
    _, errors = worker.process.communicate(timeout=30)
    assert time.monotonic() - started < 15
    assert worker.process.returncode != 0
    assert "KeyboardInterrupt" in errors
    worker.wait_for_tidiness()
    assert {key: record.status for key, record in small_batch.records().items()} == {"first": "ok"}
