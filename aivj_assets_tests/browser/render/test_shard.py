"""Real presets and hostile ones through a real Chromium: what a user would notice of a shard."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from aivj_assets.contracts.frames_index import FailedRecord, OkRecord
from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.errors import UserError
from aivj_assets.render import session as session_module
from aivj_assets.render.environment import BrowserReport, RenderEnvironment
from aivj_assets.render.probe import describe_renderer
from aivj_assets.render.processes import is_alive, kill_processes, process_tree
from aivj_assets.render.resume import finish_index
from aivj_assets.render.shard import render_shard

pytestmark = pytest.mark.browser

QUICK = RenderParameters(warmup_frames=4, capture_every=3, capture_count=2, timeout_ms=20_000, retry_times=0)
FORGE = (
    "globalThis.__nw_dumpPresetFrames = () => ({ok: true, reasons: [], frames: []});"
    "Array.prototype.map = () => []; JSON.stringify = () => '{}';"
)
LEAVE = "location.href = 'http://aivj.invalid/page/none.html'; location.reload();"
# Would draw from the next presets' random numbers.
LINGER = (
    "var c = new MessageChannel(); c.port1.onmessage = () => { Math.random(); c.port2.postMessage(0); };"
    "c.port2.postMessage(0);"
)
WORKER = """
import pickle, sys
from pathlib import Path
from aivj_assets.render.shard import render_shard
if __name__ == "__main__":
    plan, environment = pickle.loads(Path(sys.argv[1]).read_bytes())
    render_shard(plan, environment=environment, on_record=lambda record: print(record.preset_id, flush=True))
"""


def render(batch: Any, environment: RenderEnvironment, report: BrowserReport, parameters: RenderParameters) -> Any:
    """Render what is pending, finish the index, return its counts."""
    plan = batch.plan(parameters, report.page)
    for shard in plan.shards:
        render_shard(shard, environment=environment)
    return finish_index(batch.folder, batch.presets, plan.fingerprint)


def browsers_of(process: psutil.Process) -> list[psutil.Process]:
    found = []
    for child in process_tree(process):
        try:
            if any(part.startswith("--aivj-session=") for part in child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


def test_frames_do_not_depend_on_what_was_rendered_before(
    make_batch: Callable[[str], Any],
    real_presets: list[Path],
    render_environment: RenderEnvironment,
    browser_report: BrowserReport,
) -> None:
    chosen = {f"p{number}": path for number, path in enumerate(real_presets[200:1400:400])}
    orders = {"forward": list(chosen), "backward": list(reversed(chosen)), "alone": ["p1"]}
    batches = {}
    for name, order in orders.items():
        batches[name] = batch = make_batch(name)
        for preset_id in order:
            batch.add(preset_id, chosen[preset_id])
        finished = render(batch, render_environment, browser_report, QUICK)
        assert finished.complete
        assert finished.ok == len(order), batch.records()
    for preset_id in chosen:
        assert batches["forward"].frame_bytes(preset_id) == batches["backward"].frame_bytes(preset_id)
    assert batches["forward"].frame_bytes("p1") == batches["alone"].frame_bytes("p1")
    _check_record(batches["forward"], "p0")
    # Run again: nothing is pending, and nothing on disk changes.
    plan = batches["forward"].plan(QUICK, browser_report.page)
    assert (plan.pending, plan.shards) == ((), ())


def _check_record(batch: Any, preset_id: str) -> None:
    """Recompute the figures from the stored files; the reference, which motion starts from, is not stored."""
    record = batch.records()[preset_id]
    assert isinstance(record, OkRecord)
    images = [Image.open(io.BytesIO(data)) for data in batch.frame_bytes(preset_id)]
    assert {image.format for image in images} == {"WEBP"}
    assert {image.size for image in images} == {(224, 224)}
    grays = [
        (np.asarray(image.convert("RGB"), dtype=float) / 255 * [0.2126, 0.7152, 0.0722]).sum(axis=2) for image in images
    ]
    assert record.metrics.avg_luma == pytest.approx(np.mean([gray.mean() for gray in grays]), abs=1e-5)
    second = np.abs(grays[1] - grays[0]).mean()
    first = 2 * record.metrics.motion - second
    assert 0 <= first <= 1


def test_hostile_presets_do_not_stop_the_batch(
    small_batch: Any,
    preset_text: Callable[..., str],
    render_environment: RenderEnvironment,
    browser_report: BrowserReport,
    tmp_path: Path,
) -> None:
    good = preset_text("a.wave_r = 0.5 + 0.5 * Math.sin(a.time);")
    small_batch.add("good-before", good)
    small_batch.add("loop", preset_text("while (true) {}"))
    small_batch.add("forged", preset_text(FORGE))
    small_batch.add("good-between", good)
    small_batch.add("leaves", preset_text(LEAVE))
    small_batch.add("lingers", preset_text(LINGER))
    small_batch.add("not-json", "{ no preset")
    small_batch.add("empty", b"")
    small_batch.add("binary", b"[preset00]\0\0")
    small_batch.add("missing", None)
    small_batch.add("escaping", None, rel_path="../../../secret.json")
    small_batch.add("large", b" " * 50_000_000)
    small_batch.add("good-after", good)
    parameters = QUICK.model_copy(update={"timeout_ms": 3000})
    finished = render(small_batch, render_environment, browser_report, parameters)
    assert finished.complete
    assert finished.total == 13
    records = small_batch.records()
    reasons = {key: record.reasons for key, record in records.items() if isinstance(record, FailedRecord)}
    assert reasons.pop("loop") == ["watchdog"]
    assert reasons.pop("not-json") == ["preset-load-failed"]
    assert reasons.pop("empty") == ["empty"]
    assert reasons.pop("binary") == ["binary-nul"]
    for preset_id in ("missing", "escaping", "large"):
        assert reasons.pop(preset_id) == ["read-failed"]
    for preset_id, word in {"forged": "globalThis", "leaves": "location", "lingers": "new"}.items():
        assert reasons.pop(preset_id) == ["preset-load-failed"]
        record = records[preset_id]
        assert isinstance(record, FailedRecord)
        assert f"not allowed in a preset's equations: {word}" in (record.error_text or "")
    assert reasons == {}
    before = small_batch.frame_bytes("good-before")
    assert small_batch.frame_bytes("good-between") == before
    assert small_batch.frame_bytes("good-after") == before


def test_what_gets_past_the_allow_list_meets_further_walls(
    small_batch: Any,
    preset_text: Callable[..., str],
    lax_environment: RenderEnvironment,
    browser_report: BrowserReport,
) -> None:
    good = preset_text("a.wave_r = rand(100) / 100;")
    lie = "WebGL2RenderingContext.prototype.getProgramParameter = () => true; String.prototype.includes = () => true;"
    small_batch.add("good-before", good)
    small_batch.add("forged", preset_text(FORGE))
    small_batch.add("leaves", preset_text(LEAVE))
    small_batch.add("lies", preset_text("", init_eqs_str=lie, comp="shader_body { ret = nonsense; }"))
    small_batch.add("throws", preset_text("if (a.frame > 2) throw new Error('boom');"))
    small_batch.add("good-after", good)
    parameters = QUICK.model_copy(update={"timeout_ms": 3000})
    finished = render(small_batch, lax_environment, browser_report, parameters)
    assert finished.complete
    records = small_batch.records()
    failures = {key: record for key, record in records.items() if isinstance(record, FailedRecord)}
    assert failures["lies"].reasons == ["probe-error"]
    assert "tampered with" in (failures["lies"].error_text or "")
    assert failures["forged"].reasons == ["probe-error"]
    assert failures["throws"].reasons == ["render-failed"]
    assert "boom" in (failures["throws"].error_text or "")
    assert set(failures) <= {"forged", "leaves", "lies", "throws"}
    assert small_batch.frame_bytes("good-after") == small_batch.frame_bytes("good-before")


def test_a_preset_that_ends_two_browsers_is_quarantined(
    small_batch: Any,
    preset_text: Callable[..., str],
    render_environment: RenderEnvironment,
    browser_report: BrowserReport,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_module, "_MEMORY_LIMIT_BYTES", 700 * 2**20)
    hog = "for (var b = 0; true; b++) a.megabuf[b] = b;"
    small_batch.add("good", preset_text(""))
    small_batch.add("hog", preset_text(hog))
    small_batch.add("last", preset_text(""))
    parameters = QUICK.model_copy(update={"retry_times": 5})
    finished = render(small_batch, render_environment, browser_report, parameters)
    assert (finished.ok, finished.failed) == (2, 1)
    record = small_batch.records()["hog"]
    assert isinstance(record, FailedRecord)
    assert record.reasons == ["probe-error"]
    assert "quarantined after ending 2 browsers" in (record.error_text or "")
    assert "memory" in (record.error_text or "")
    # A later run lets it be, unless it is told to try again.
    assert small_batch.plan(parameters, browser_report.page).pending == ()
    again = small_batch.plan(parameters, browser_report.page, retry_failed=True).pending
    assert [preset.preset_id for preset in again] == ["hog"]


def test_a_browser_killed_from_outside_costs_no_preset(
    small_batch: Any,
    preset_text: Callable[..., str],
    render_environment: RenderEnvironment,
    browser_report: BrowserReport,
) -> None:
    for number in range(3):
        small_batch.add(f"p{number}", preset_text("", baseVals={"wave_a": 1, "decay": 0.9}))
    parameters = RenderParameters(warmup_frames=60, capture_count=1, retry_times=1)
    shard = small_batch.plan(parameters, browser_report.page).shards[0]
    killed: list[int] = []

    def kill_browsers() -> None:
        found = browsers_of(psutil.Process())
        killed.extend(process.pid for process in found)
        kill_processes(found)

    def on_record(_record: Any) -> None:
        if not killed:
            threading.Timer(0.15, kill_browsers).start()

    outcome = render_shard(shard, environment=render_environment, on_record=on_record)
    assert killed
    assert (outcome.ok, outcome.failed, outcome.left) == (3, 0, 0), small_batch.records()
    assert browsers_of(psutil.Process()) == []


class Worker:
    """A shard in a process of its own, with a temporary folder of its own so that leftovers show."""

    def __init__(self, batch: Any, environment: RenderEnvironment, plan: Any, tmp_path: Path) -> None:
        # Chromium puts a socket there, whose path may have 107 characters at most.
        self.temp = Path(tempfile.mkdtemp(prefix="aivj-"))
        (tmp_path / "worker.py").write_text(WORKER, encoding="utf-8")
        (tmp_path / "plan.pickle").write_bytes(pickle.dumps((plan, environment)))
        names = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(self.temp))
        source = str(Path(session_module.__file__).parents[2])
        self.process = subprocess.Popen(
            [sys.executable, str(tmp_path / "worker.py"), str(tmp_path / "plan.pickle")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **names, "PYTHONPATH": source},
            start_new_session=True,
        )

    def wait_for_records(self, count: int) -> None:
        assert self.process.stdout is not None
        for _ in range(count):
            line = self.process.stdout.readline()
            assert line, self.process.communicate()[1]

    def leftovers(self) -> list[str]:
        """Processes of ours that live, and profiles that lie about."""
        found = [path.name for path in self.temp.iterdir()]
        for process in psutil.process_iter(["cmdline"]):
            if any(str(self.temp) in part for part in process.info["cmdline"] or []) and is_alive(process):
                found.append(" ".join(process.info["cmdline"][:3]))
        return found

    def wait_for_tidiness(self) -> None:
        deadline = time.monotonic() + 45
        while self.leftovers() and time.monotonic() < deadline:
            time.sleep(0.2)
        assert self.leftovers() == []


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    workers: list[Worker] = []

    def start(batch: Any, environment: RenderEnvironment, plan: Any) -> Worker:
        workers.append(Worker(batch, environment, plan, tmp_path))
        return workers[-1]

    yield start
    for worker in workers:
        worker.process.kill()
        worker.process.communicate()
        shutil.rmtree(worker.temp, ignore_errors=True)


def test_killed_in_mid_shard_and_resumed(
    small_batch: Any,
    real_presets: list[Path],
    render_environment: RenderEnvironment,
    browser_report: BrowserReport,
    start_worker: Callable[..., Worker],
) -> None:
    for number, path in enumerate(real_presets[100:1000:180]):
        small_batch.add(f"p{number}", path)
    plan = small_batch.plan(QUICK, browser_report.page).shards[0]
    worker = start_worker(small_batch, render_environment, plan)
    worker.wait_for_records(2)
    assert worker.leftovers()  # a browser runs, so that its end means something
    worker.process.kill()
    worker.process.communicate()
    kept = {key: small_batch.frame_bytes(key) for key in small_batch.records()}
    assert len(kept) >= 2
    times = {path: path.stat().st_mtime_ns for key in kept for path in _frame_paths(small_batch, key)}
    worker.wait_for_tidiness()
    # A crash in the middle of a line, on top.
    log = small_batch.folder.shard_logs_dir / f"{plan.name}.jsonl"
    log.write_bytes(log.read_bytes() + b'{"version":"v0","presetId":"p')

    again = small_batch.plan(QUICK, browser_report.page)
    rendered: list[str] = []
    for shard in again.shards:
        render_shard(shard, environment=render_environment, on_record=lambda record: rendered.append(record.preset_id))
    finished = finish_index(small_batch.folder, small_batch.presets, again.fingerprint)
    assert finished.complete
    assert finished.ok == len(small_batch.presets)
    assert sorted(rendered) == sorted(preset.id for preset in small_batch.presets if preset.id not in kept)
    assert {key: small_batch.frame_bytes(key) for key in kept} == kept
    assert {path: path.stat().st_mtime_ns for path in times} == times


def _frame_paths(batch: Any, preset_id: str) -> list[Path]:
    return [batch.folder.path / frame for frame in batch.records()[preset_id].frames]


def test_the_same_shard_started_again_goes_on_where_it_was(
    small_batch: Any,
    preset_text: Callable[..., str],
    render_environment: RenderEnvironment,
    browser_report: BrowserReport,
) -> None:
    for number in range(3):
        small_batch.add(f"p{number}", preset_text(""))
    shard = small_batch.plan(QUICK, browser_report.page).shards[0]
    seen: list[str] = []

    def stop_after_one() -> str | None:
        return "enough" if seen else None

    first = render_shard(
        shard,
        environment=render_environment,
        on_record=lambda record: seen.append(record.preset_id),
        should_stop=stop_after_one,
    )
    assert (first.ok, first.left, first.stop_reason) == (1, 2, "enough")
    assert not finish_index(small_batch.folder, small_batch.presets, shard.fingerprint).complete
    # finish_index has merged the log: the very same plan finds nothing of its own, a new plan knows.
    lines: list[str] = []
    second = small_batch.plan(QUICK, browser_report.page).shards[0]
    outcome = render_shard(second, environment=render_environment, say=lines.append)
    assert (outcome.ok, outcome.left, outcome.reused) == (2, 0, 0)
    third = render_shard(second, environment=render_environment)
    assert (third.ok, third.reused, third.browsers_started) == (2, 2, 0)
    assert len(lines) == 1
    assert "2/2, ok 2, failed 0" in lines[0]


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C of a POSIX terminal")
def test_ctrl_c_leaves_no_process_and_loses_nothing(
    small_batch: Any,
    preset_text: Callable[..., str],
    render_environment: RenderEnvironment,
    browser_report: BrowserReport,
    start_worker: Callable[..., Worker],
) -> None:
    small_batch.add("first", preset_text(""))
    small_batch.add("endless", preset_text("while (true) {}"))
    plan = small_batch.plan(QUICK, browser_report.page).shards[0]
    worker = start_worker(small_batch, render_environment, plan)
    worker.wait_for_records(1)
    time.sleep(1)
    started = time.monotonic()
    os.killpg(worker.process.pid, signal.SIGINT)
    _, errors = worker.process.communicate(timeout=30)
    assert time.monotonic() - started < 15
    assert worker.process.returncode != 0
    assert "KeyboardInterrupt" in errors
    worker.wait_for_tidiness()
    assert {key: record.status for key, record in small_batch.records().items()} == {"first": "ok"}


def test_another_renderer_than_planned_is_refused(
    small_batch: Any,
    preset_text: Callable[..., str],
    render_environment: RenderEnvironment,
    browser_report: BrowserReport,
) -> None:
    small_batch.add("p0", preset_text(""))
    page = browser_report.page.model_copy(update={"renderer": "ANGLE (NVIDIA, NVIDIA GeForce RTX 4090)"})
    shard = small_batch.plan(QUICK, page).shards[0]
    with pytest.raises(UserError, match="two renderers are never mixed"):
        render_shard(shard, environment=render_environment)
    assert small_batch.records() == {}
    if browser_report.renderer_class != "gpu":
        picky = QUICK.model_copy(update={"require_gpu": True})
        shard = small_batch.plan(picky, browser_report.page).shards[0]
        with pytest.raises(UserError, match="requireGpu is set"):
            render_shard(shard, environment=render_environment)
    assert browsers_of(psutil.Process()) == []


def test_a_browser_that_does_not_start_is_one_clear_line(render_environment: RenderEnvironment, tmp_path: Path) -> None:
    broken = tmp_path / ("chromium.bat" if sys.platform == "win32" else "chromium")
    broken.write_text("exit 1\n" if sys.platform == "win32" else "#!/bin/sh\nexit 1\n", encoding="utf-8")
    broken.chmod(0o755)
    with pytest.raises(UserError, match="does not start") as caught:
        describe_renderer(replace(render_environment, executable=broken), QUICK)
    assert "\n" not in str(caught.value)
    assert browsers_of(psutil.Process()) == []
