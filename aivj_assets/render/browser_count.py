"""How many browsers render fastest on this machine: a short measurement with real presets, and what follows from it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from aivj_assets.contracts.base import ContractModel
from aivj_assets.contracts.render_parameters import PageDescription, RenderParameters, fingerprint, pixel_parameters
from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot
from aivj_assets.render.environment import RenderEnvironment
from aivj_assets.render.parallel import run_in_processes, stop_reason
from aivj_assets.render.processes import process_tree, tree_memory_bytes
from aivj_assets.render.resume import plan_shards
from aivj_assets.render.shard import render_shard
from aivj_assets.render.shard_plan import ShardPlan, ShardPreset

PRESETS_PER_BROWSER = 16
MAX_SOFTWARE_BROWSERS, MAX_GPU_BROWSERS = 4, 8
"""On the CPU more browsers than cores gain nothing (2 cores, llvmpipe); a GPU is tried on while it gains."""

_MIN_GAIN = 1.10
_CLOSE_TO_BEST = 0.95
_MEMORY_SHARE = 0.8
_BUDGET_S = 100.0
_MEMORY_EVERY_S = 1.0
# What a small file and a folder take on a usual file system.
_BLOCK_BYTES = 4096
_PACK = "doctor"

OnProgress = Callable[[int, int, int], None]
"""Hears (browsers at once, presets done, of how many)."""


class CountTrial(ContractModel):
    """One number of browsers, measured."""

    browsers: int
    presets_per_s: float
    """Of all browsers together, without their start."""
    peak_memory_bytes: int
    """Of the largest one: worker, driver and browser."""
    duration_s: float


class BrowserCount(ContractModel):
    """The outcome of `measure_browser_count`."""

    presets: int
    """Presets that every browser rendered."""
    trials: list[CountTrial]
    recommended: int
    reason: str
    bytes_per_preset: int
    """What a preset's frames take on the disk, blocks filled up, at the default parameters."""

    @property
    def best(self) -> CountTrial:
        """The trial of the recommended number, or the nearest below."""
        return max((trial for trial in self.trials if trial.browsers <= self.recommended), key=lambda t: t.browsers)


@dataclass(frozen=True)
class _Bench:
    """What the trials share."""

    environment: RenderEnvironment
    page: PageDescription
    root: DataRoot
    presets: tuple[ShardPreset, ...]


def measure_browser_count(
    environment: RenderEnvironment,
    page: PageDescription,
    *,
    presets: Sequence[Path],
    cores: int,
    is_gpu: bool,
    on_progress: OnProgress | None = None,
) -> BrowserCount:
    """Render presets with 1, 2, … browsers at the default parameters and recommend how many.

    Each browser renders the same presets, the first of which only warms it up, in an order of its own: so the work of
    one is the work of another, and of every trial. Trials end at the cores (in software, at most 4), when a GPU gains
    less than 10 %, or when the next one would not fit into about 100 s. Nothing stays on the disk.

    Raises `UserError` when rendering as such does not work.
    """
    if len(presets) < 2:
        raise UserError("The measurement needs at least two presets: install the web engine again (aivj setup).")
    available_bytes = psutil.virtual_memory().available
    limit = MAX_GPU_BROWSERS if is_gpu else max(1, min(cores, MAX_SOFTWARE_BROWSERS))
    started_s = time.monotonic()
    trials: list[CountTrial] = []
    note = ""
    with tempfile.TemporaryDirectory(prefix="aivj-doctor-", ignore_cleanup_errors=True) as folder:
        root = DataRoot(Path(folder))
        bench = _Bench(environment, page, root, _copy_presets(root, presets))
        while len(trials) < limit:
            trials.append(_try_count(bench, len(trials) + 1, on_progress or (lambda *_: None)))
            if is_gpu and len(trials) > 1 and trials[-1].presets_per_s < _MIN_GAIN * trials[-2].presets_per_s:
                break
            spent_s = time.monotonic() - started_s
            if len(trials) < limit and spent_s + 1.3 * trials[-1].duration_s > _BUDGET_S:
                note = f"; {len(trials) + 1} were not tried, for want of time"
                break
        bytes_per_preset = _bytes_per_preset(root.artifacts_dir)
    recommended, reason = recommend(trials, available_bytes)
    return BrowserCount(
        presets=len(presets) - 1,
        trials=trials,
        recommended=recommended,
        reason=reason + note,
        bytes_per_preset=bytes_per_preset,
    )


def recommend(trials: Sequence[CountTrial], available_bytes: int) -> tuple[int, str]:
    """Return the smallest number within 5 % of the best that fits into 80 % of the free memory, and why."""
    best = max(trials, key=lambda trial: trial.presets_per_s)
    near = next(trial for trial in trials if trial.presets_per_s >= _CLOSE_TO_BEST * best.presets_per_s)
    reason = f"{near.presets_per_s:.2f} presets/s"
    if near.browsers < best.browsers:
        reason += f", within 5 % of {best.browsers} browsers"
    peak_bytes = max(trial.peak_memory_bytes for trial in trials)
    fitting = max(1, int(_MEMORY_SHARE * available_bytes / peak_bytes)) if peak_bytes else near.browsers
    if fitting < near.browsers:
        gigabytes = available_bytes / 1e9
        return fitting, f"{near.browsers} are faster, but {gigabytes:.1f} GB of free memory hold only {fitting}"
    return near.browsers, reason


def spread(paths: Sequence[Path], count: int) -> list[Path]:
    """Return `count` of `paths` (all, where there are fewer), evenly spread over their order."""
    if len(paths) <= count:
        return list(paths)
    return [paths[number * len(paths) // count] for number in range(count)]


def _copy_presets(root: DataRoot, presets: Sequence[Path]) -> tuple[ShardPreset, ...]:
    folder = root.pack_dir(_PACK)
    folder.mkdir(parents=True)
    made = []
    for number, path in enumerate(presets):
        name = f"{number:03d}{path.suffix}"
        shutil.copyfile(path, folder / name)
        made.append(ShardPreset(preset_id=f"{_PACK}-{number:03d}", rel_path=f"{_PACK}/{name}"))
    return tuple(made)


def _try_count(bench: _Bench, browsers: int, on_progress: OnProgress) -> CountTrial:
    started_s = time.monotonic()
    plans = [_plan(bench, browsers, worker) for worker in range(browsers)]
    total = browsers * len(bench.presets)
    peak_bytes = 0
    next_memory_s = 0.0

    def tick(workers: Sequence[int]) -> None:
        nonlocal peak_bytes, next_memory_s
        on_progress(browsers, sum(plan.batch_dir.logged_records() for plan in plans), total)
        if time.monotonic() >= next_memory_s:
            peak_bytes = max([peak_bytes, *map(tree_bytes, workers)])
            next_memory_s = time.monotonic() + _MEMORY_EVERY_S

    on_progress(browsers, 0, total)
    job = partial(_record_times, environment=bench.environment)
    times_s = run_in_processes(job, plans, workers=browsers, tick=tick)
    return CountTrial(
        browsers=browsers,
        presets_per_s=round(presets_per_s(times_s), 4),
        peak_memory_bytes=peak_bytes,
        duration_s=round(time.monotonic() - started_s, 3),
    )


def _plan(bench: _Bench, browsers: int, worker: int) -> ShardPlan:
    """Return a worker's work: the warm-up preset, then the others from a place of its own on."""
    first, others = bench.presets[0], bench.presets[1:]
    start = worker * len(others) // browsers
    parameters = RenderParameters(refresh_every=len(bench.presets))
    (plan,) = plan_shards(
        (first, *others[start:], *others[:start]),
        batch_key=_PACK,
        data_root=bench.root.path,
        # A folder for each: two workers never write the same frame.
        artifact_dir=bench.root.artifacts_dir / f"{browsers}-{worker}",
        parameters=parameters,
        fingerprint_=fingerprint(pixel_parameters(parameters, bench.page)),
        page=bench.page,
    )
    return plan


def _record_times(plan: ShardPlan, *, environment: RenderEnvironment) -> list[float]:
    """Render a shard in a worker; return the moments at which its records were stored, in s of the worker's clock."""
    times_s: list[float] = []
    render_shard(
        plan,
        environment=environment,
        on_record=lambda _record: times_s.append(time.monotonic()),
        should_stop=stop_reason,
        say=lambda _line: None,
    )
    return times_s


def presets_per_s(times_s: Sequence[Sequence[float]]) -> float:
    """Return the rate of all workers together, each from its first record to its last."""
    return sum((len(times) - 1) / (times[-1] - times[0]) for times in times_s if len(times) > 1)


def tree_bytes(pid: int) -> int:
    """Return the memory of a process and its descendants in bytes; 0 when it is gone.

    Proportional set size on Linux, unique set size on macOS and Windows: a plain sum of resident sizes would count
    Chromium's shared memory once a process.
    """
    try:
        tree = process_tree(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return 0
    return sum(map(_own_bytes, tree))


def _own_bytes(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", 0) or full.uss)
    except psutil.Error:
        return sum(tree_memory_bytes([process]).values())


def _bytes_per_preset(artifacts: Path) -> int:
    """Return what the frames of one preset take on average, blocks filled up, with the folder that holds them."""
    sizes: dict[Path, int] = {}
    for path in artifacts.glob("*/frames/*/*/*/frame-*"):
        blocks = -(-path.stat().st_size // _BLOCK_BYTES)
        sizes[path.parent] = sizes.get(path.parent, _BLOCK_BYTES) + blocks * _BLOCK_BYTES
    return round(sum(sizes.values()) / len(sizes)) if sizes else 0
