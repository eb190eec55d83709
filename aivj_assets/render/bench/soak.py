"""`aivj bench soak`: a long run in one set of workers: whether it grows, whether it gets slower."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from aivj_assets.contracts.base import utc_now
from aivj_assets.contracts.frames_index import OkRecord
from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir, DataRoot
from aivj_assets.render.bench.batch import BenchBatch, all_parameters, describe_machine
from aivj_assets.render.bench.choose import BenchPreset
from aivj_assets.render.bench.results import Phase, SoakBench, cpu_by_role, memory_trends, thinned_series
from aivj_assets.render.bench.usage import ROLES, Usage, UsageSampler, descendants
from aivj_assets.render.bench.workers import Progress, ShardResult, ShardWorkers
from aivj_assets.render.environment import RenderEnvironment
from aivj_assets.render.probe import describe_renderer
from aivj_assets.render.resume import absorb_shard_logs

_FIRST, _MIDDLE, _AGAIN = "first", "middle", "again"


def distinct_presets(presets: int, repeat: int) -> int:
    """Return how many different presets a run of `presets` needs; raises `UserError` when `repeat` is too large."""
    if not 0 < 2 * repeat <= presets:
        raise UserError(f"--repeat {repeat} is rendered twice: --presets must be at least {2 * repeat}, not {presets}.")
    return presets - repeat


def bench_soak(
    presets: Sequence[BenchPreset],
    *,
    repeat: int,
    environment: RenderEnvironment,
    parameters: RenderParameters,
    seed: int,
    workers: int,
    out_dir: Path,
    progress: Progress | None = None,
) -> SoakBench:
    """Render `presets`, then the first `repeat` of them again, below `out_dir`, which must be empty.

    Worker processes live through the whole run, browsers are renewed every `refreshEvery`. Ctrl-C ends it early, and
    what was measured is returned. Raises `UserError` when a browser does not start.
    """
    report = describe_renderer(environment, parameters)
    batch = BenchBatch(DataRoot(out_dir), presets)
    phases: list[Phase] = []
    interrupted = False
    sampler = UsageSampler(lambda: descendants([psutil.Process()]))
    todo = {_FIRST: presets[:repeat], _MIDDLE: presets[repeat:], _AGAIN: presets[:repeat]}
    try:
        with sampler, ShardWorkers(environment, workers) as pool:
            for name, part in todo.items():
                phase = _PhaseRun(name, len(part), sampler.usage())
                try:
                    shards = batch.shards(part, parameters, report, workers=workers, name=name)
                    pool.run(shards, on_result=phase.take, progress=progress)
                finally:
                    phases.append(phase.ended(sampler.usage()))
    except KeyboardInterrupt:
        interrupted = True
    memory = sampler.usage().memory
    return SoakBench(
        generated_at=utc_now(),
        interrupted=interrupted,
        machine=describe_machine(report),
        parameters=all_parameters(parameters, report),
        seed=seed,
        workers=workers,
        repeat=repeat,
        phases=phases,
        differing=differing_presets(batch.folder(_FIRST), batch.folder(_AGAIN)),
        memory=memory_trends(memory[:-1]),  # the last sample is of workers that have ended
        series=thinned_series(memory),
    )


class _PhaseRun:
    def __init__(self, name: str, presets: int, usage: Usage) -> None:
        self._name, self._presets, self._before = name, presets, usage
        self._started_s = time.monotonic()
        self.ok = self.failed = 0

    def take(self, result: ShardResult) -> None:
        self.ok += sum(result.statuses.values())
        self.failed += sum(not ok for ok in result.statuses.values())

    def ended(self, usage: Usage) -> Phase:
        cpu_s = {role: usage.cpu_s.get(role, 0.0) - self._before.cpu_s.get(role, 0.0) for role in ROLES}
        return Phase(
            name=self._name,
            presets=self._presets,
            ok=self.ok,
            failed=self.failed,
            wall_s=time.monotonic() - self._started_s,
            cpu_s=cpu_by_role(cpu_s),
        )


def differing_presets(first: BatchDir, again: BatchDir) -> list[str]:
    """Return the ids of presets that both rounds rendered and whose outcome or frames are not the same bytes."""
    before, after = absorb_shard_logs(first), absorb_shard_logs(again)
    differing = []
    for preset_id in before.keys() & after.keys():
        one, other = before[preset_id], after[preset_id]
        if isinstance(one, OkRecord) and isinstance(other, OkRecord):
            same = [(first.path / frame).read_bytes() for frame in one.frames] == [
                (again.path / frame).read_bytes() for frame in other.frames
            ]
        else:
            same = one.status == other.status
        if not same:
            differing.append(preset_id)
    return sorted(differing)
