"""The benchmark itself: batch after batch through the real graph, a publication after each, measured."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import dagster as dg
from pydantic import Field
from rich.console import Console

from aivj_assets.contracts.base import ContractFile, ContractModel
from aivj_assets.contracts.frames_meta import FramesMeta
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.bench.scale.library import PACK, prepare_library
from aivj_assets.orchestration.bench.scale.memory import MemoryWatch, watched_memory
from aivj_assets.orchestration.bench.scale.run_times import RunTimes, run_times
from aivj_assets.orchestration.bench.scale.sizes import batch_sizes, library_sizes
from aivj_assets.orchestration.commands.batch import BatchOptions, merged_settings, quiet_output, run_progress
from aivj_assets.orchestration.diary import write_diary
from aivj_assets.orchestration.gate_report import make_gate_report
from aivj_assets.orchestration.instance import BROWSER_POOL, open_instance, report_dead_runs, storage_errors
from aivj_assets.orchestration.launch import RunOutcome, run_batch, run_publication
from aivj_assets.orchestration.run_config import batch_run_config

DEFINITIONS = "aivj_assets.orchestration.bench.scale.definitions"
STATE_NAME = "bench-scale.json"
REAL_CPU_S_A_PRESET = 0.93
"""CPU seconds that rendering a preset takes on a software renderer (llvmpipe, 256 x 144, defaults)."""

_COMMAND = "the command"

Tell = Callable[[str], None]


@dataclass(frozen=True)
class ScaleOptions:
    """How large the library is, and how large its pictures are, in pixels."""

    batches: int
    batch_size: int
    out_size: int


class ScaleBatch(ContractModel):
    """What was measured of one batch. `library_presets` counts the presets of all batches so far, this one's too.

    Times are in seconds of the clock, but `cpu_s`; `load` is the machine's load average at the end, where it tells one:
    above the number of cores all times but `cpu_s` are those of a busy machine. `idle_s` is what its run and its
    publication took beyond the work of their steps, `peaks` the largest memory of a process by step, in bytes. `reused`
    presets were rendered before Ctrl-C: its times tell nothing.
    """

    batch: str
    library_presets: int
    presets: int
    reused: int
    ok: int
    wall_s: float
    run_s: float
    publication_s: float
    diary_s: float
    gate_report_s: float
    idle_s: float
    cpu_s: float
    load: float | None = None
    shards: int
    events: int
    stages: dict[str, float]
    peaks: dict[str, int]
    sizes: dict[str, int]


class ScaleState(ContractFile):
    """What is measured so far, in the data root of the benchmark: the same call goes on from there."""

    options: dict[str, int]
    browsers: int = 0
    prepare_s: float = 0.0
    batches: list[ScaleBatch] = Field(default_factory=list)

    @classmethod
    def of_root(cls, root: DataRoot, options: ScaleOptions) -> ScaleState:
        """Read the state, or begin it in an empty folder; raises `UserError` for a folder that holds other things."""
        path = root.path / STATE_NAME
        if path.is_file():
            state = cls.load(path)
            if state.options != asdict(options):
                told = ", ".join(f"{name} {value}" for name, value in state.options.items())
                raise UserError(f"{root.path} holds a benchmark of another size ({told}): name another --root.")
            return state
        try:
            root.path.mkdir(parents=True, exist_ok=True)
            filled = any(root.path.iterdir())
        except OSError as error:
            raise UserError(f"--root {root.path} cannot be used: {error.strerror or error}.") from None
        if filled:
            raise UserError(f"--root {root.path} is not empty: the benchmark makes a library of its own. Name another.")
        state = cls(options=asdict(options))
        state.save(path)
        return state


def rehearse(console: Console, root: DataRoot, options: ScaleOptions) -> ScaleState:
    """Run and publish every batch that is not measured yet; returns what is measured of all.

    Raises `UserError` when a batch is not accepted, `KeyboardInterrupt` after Ctrl-C: what is done is kept.
    """
    state = ScaleState.of_root(root, options)
    path = root.path / STATE_NAME
    began = time.monotonic()
    batches = prepare_library(root, **asdict(options), tell=lambda text: _say(console, f"{text} ..."))
    if not state.batches:
        state.prepare_s += round(time.monotonic() - began, 2)
    known = {batch.batch for batch in state.batches}
    with (
        storage_errors(root),
        open_instance(root, os.environ) as instance,
        quiet_output(console, root.dagster_home / "aivj-run.log") as shown,
    ):
        report_dead_runs(instance, root)
        state.browsers = instance.event_log_storage.get_concurrency_info(BROWSER_POOL).slot_count
        config = batch_run_config(merged_settings(root, PACK, BatchOptions()))
        for number, batch in enumerate(batches, start=1):
            if batch.key in known:
                continue
            call = _Call(shown, root, instance, config, state)
            made = _measure(call, batch, f"Batch {number} of {len(batches)}")
            state.batches.append(made)
            state.save(path)
            largest = max(made.peaks.values(), default=0)
            _say(shown, f"{batch.key}: {made.wall_s:.0f} s, of it idle {made.idle_s:.0f} s; {largest / 1e6:.0f} MB")
    return state


@dataclass(frozen=True)
class _Call:
    console: Console
    root: DataRoot
    instance: dg.DagsterInstance
    config: Mapping[str, Any]
    state: ScaleState


def _measure(call: _Call, batch: BatchKey, title: str) -> ScaleBatch:
    """Run and publish a batch as `aivj run` does, and say what it took."""
    began = time.monotonic()
    with watched_memory() as memory:
        with run_progress(call.console, call.root, batch, title) as watch:
            run = run_batch(call.instance, call.root, batch, call.config, watch=watch, definitions=DEFINITIONS)
        _require(run, batch)
        published = run_publication(call.instance, PACK, definitions=DEFINITIONS)
        _require(published, batch)
        ran = time.monotonic()
        write_diary(call.instance, call.root, [batch])
        told = time.monotonic()
        make_gate_report(call.instance, call.root)
        ended = time.monotonic()
    browsers = call.state.browsers
    times = [run_times(call.instance, outcome.run_id, browsers=browsers) for outcome in (run, published)]
    meta = FramesMeta.load(call.root.batch(batch).frames_meta)
    before = call.state.batches[-1].library_presets if call.state.batches else 0
    stages = {name: round(seconds, 3) for one in times for name, seconds in one.work_s.items()}
    return ScaleBatch(
        batch=batch.key,
        library_presets=before + meta.total,
        presets=meta.total,
        reused=meta.reused,
        ok=meta.ok,
        wall_s=round(ended - began, 2),
        run_s=round(times[0].wall_s, 2),
        publication_s=round(times[1].wall_s, 2),
        diary_s=round(told - ran, 3),
        gate_report_s=round(ended - told, 3),
        idle_s=round(sum(one.idle_s for one in times), 2),
        cpu_s=round(memory.cpu_s, 2),
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        shards=times[0].shards,
        events=sum(one.events for one in times),
        stages=stages,
        peaks=_peaks(memory, times),
        sizes={**batch_sizes(call.root, batch), **library_sizes(call.root, PACK)},
    )


def _require(outcome: RunOutcome, batch: BatchKey) -> None:
    if outcome.interrupted:
        raise KeyboardInterrupt
    if not outcome.success:
        why = "; ".join([*outcome.rejected, *outcome.problems]) or f"run {outcome.run_id} did not succeed"
        raise UserError(f"The rehearsal stopped at {batch}: {why}")


def _peaks(memory: MemoryWatch, times: list[RunTimes]) -> dict[str, int]:
    """Return the largest memory by step; processes of no step are the command's own and its helpers."""
    steps = {pid: step for one in times for pid, step in one.pids.items()}
    peaks: dict[str, int] = {}
    for pid, peak in memory.peaks.items():
        name = _COMMAND if pid == os.getpid() else steps.get(pid, "other")
        peaks[name] = max(peak, peaks.get(name, 0))
    return peaks


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
