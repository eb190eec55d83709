"""`aivj bench render`: our renderer and the plain loop on the same presets, block by block in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from aivj_assets.contracts.base import utc_now
from aivj_assets.contracts.frames_index import FailedRecord
from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.layout import DataRoot
from aivj_assets.render.bench.batch import BenchBatch, all_parameters, describe_machine
from aivj_assets.render.bench.choose import BenchPreset
from aivj_assets.render.bench.plain import PlainLoop
from aivj_assets.render.bench.results import RenderBench, loop_figures, split_of, weight_of
from aivj_assets.render.bench.usage import Usage, UsageSampler, descendants
from aivj_assets.render.bench.workers import ShardResult, ShardWorkers
from aivj_assets.render.environment import BrowserReport, RenderEnvironment
from aivj_assets.render.probe import describe_renderer
from aivj_assets.render.resume import absorb_shard_logs

Progress = Callable[[str, int, int], None]
"""Called with (ours or plain, presets done, of them failed)."""


def bench_render(
    presets: Sequence[BenchPreset],
    *,
    environment: RenderEnvironment,
    parameters: RenderParameters,
    seed: int,
    workers: int,
    block: int,
    plain_presets: int,
    out_dir: Path,
    progress: Progress | None = None,
) -> RenderBench:
    """Render `presets` with `workers` browsers of ours and `plain_presets` of them with the plain loop.

    Both write below `out_dir`, which must be empty. The plain loop takes the first presets of each block; the list is
    in random order. Ctrl-C ends it early, and what was measured is returned. Raises `UserError` when a browser does
    not start.
    """
    run = _SpeedRun(
        presets,
        environment=environment,
        parameters=parameters,
        workers=workers,
        out_dir=out_dir,
        progress=progress or (lambda *_told: None),
    )
    interrupted = False
    try:
        with ExitStack() as stack:
            for mine, theirs in cut_blocks(presets, block, plain_presets):
                run.render_ours(mine)
                run.render_plain(theirs, stack)
    except KeyboardInterrupt:
        if run.report is None:
            raise
        interrupted = True
    return run.results(seed=seed, block=block, interrupted=interrupted)


def cut_blocks(
    presets: Sequence[BenchPreset], block: int, plain_presets: int
) -> Iterator[tuple[Sequence[BenchPreset], Sequence[BenchPreset]]]:
    """Yield blocks of presets with the part of each that the plain loop renders, `plain_presets` in all."""
    plain_presets = min(plain_presets, len(presets))
    taken = 0
    for start in range(0, len(presets), block):
        mine = presets[start : start + block]
        due = round(plain_presets * (start + len(mine)) / len(presets))
        yield mine, mine[: due - taken]
        taken = due


class _Side:
    """What one of the two loops took and did so far."""

    def __init__(self) -> None:
        self.wall_s = 0.0
        self.usage = Usage()
        self.ok = self.failed = 0

    @contextmanager
    def measured(self, find: Callable[[], list[psutil.Process]]) -> Iterator[None]:
        """Count time and the processes that `find` returns, also when it ends early."""
        started_s = time.monotonic()
        sampler = UsageSampler(find)
        try:
            with sampler:
                yield
        finally:
            self.wall_s += time.monotonic() - started_s
            self.usage += sampler.usage()


class _SpeedRun:
    def __init__(
        self,
        presets: Sequence[BenchPreset],
        *,
        environment: RenderEnvironment,
        parameters: RenderParameters,
        workers: int,
        out_dir: Path,
        progress: Progress,
    ) -> None:
        self.report: BrowserReport | None = None
        self._presets = presets
        self._environment = environment
        self._parameters = parameters
        self._workers = workers
        self._progress = progress
        self._batch = BenchBatch(DataRoot(out_dir / "ours"), presets)
        self._plain_dir = out_dir / "plain"
        self._plain = PlainLoop(environment, parameters, self._plain_dir)
        self._plain_started = False
        self._plain_errors: dict[str, str] = {}
        self._plain_renderer = ""
        self._shards_s = 0.0
        self._timings_ms: dict[str, dict[str, float]] = {}
        self._plain_ids: set[str] = set()
        self._side = {"ours": _Side(), "plain": _Side()}

    def render_ours(self, presets: Sequence[BenchPreset]) -> None:
        """Render a block as a run would: plan, worker processes, browsers, files."""
        side = self._side["ours"]
        before = side.ok + side.failed, side.failed

        def take(result: ShardResult) -> None:
            side.ok += sum(result.statuses.values())
            side.failed += sum(not ok for ok in result.statuses.values())
            self._timings_ms.update(result.timings_ms)
            self._shards_s += result.outcome.duration_s

        with side.measured(self._our_processes):
            if self.report is None:
                self.report = describe_renderer(self._environment, self._parameters)
            shards = self._batch.shards(presets, self._parameters, self.report, workers=self._workers)
            with ShardWorkers(self._environment, self._workers) as pool:
                pool.run(
                    shards,
                    progress=lambda done, failed: self._progress("ours", before[0] + done, before[1] + failed),
                    on_result=take,
                )

    def render_plain(self, presets: Sequence[BenchPreset], stack: ExitStack) -> None:
        """Render a block with the plain loop, whose browser lives from its first block on."""
        if not presets:
            return
        side = self._side["plain"]
        with side.measured(lambda: [psutil.Process(), *self._plain.processes]):
            if not self._plain_started:
                stack.enter_context(self._plain)
                self._plain_started = True
                self._plain_renderer = self._plain.renderer
            for preset in presets:
                result = self._plain.render(preset)
                self._plain_ids.add(preset.preset_id)
                side.ok += result.error is None
                side.failed += result.error is not None
                if result.error is not None:
                    self._plain_errors[preset.preset_id] = result.error
                self._progress("plain", side.ok + side.failed, side.failed)

    def _our_processes(self) -> list[psutil.Process]:
        driver = self._plain.driver_pid
        return descendants([psutil.Process()], without=[] if driver is None else [driver])

    def results(self, *, seed: int, block: int, interrupted: bool) -> RenderBench:
        """Return all that was measured; there must be a report."""
        if self.report is None:
            raise RuntimeError("nothing was rendered")
        ours, plain = self._side["ours"], self._side["plain"]
        records = absorb_shard_logs(self._batch.folder())
        failures = {
            f"ours:{record.preset_id}": f"{record.reasons[0]}: {record.error_text or ''}"
            for record in records.values()
            if isinstance(record, FailedRecord)
        }
        failures |= {f"plain:{preset_id}": error for preset_id, error in self._plain_errors.items()}
        suffix = self._parameters.suffix
        return RenderBench(
            generated_at=utc_now(),
            interrupted=interrupted,
            machine=describe_machine(self.report),
            parameters=all_parameters(self._parameters, self.report),
            seed=seed,
            block=block,
            presets=[
                {"id": preset.preset_id, "path": str(preset.path), "kind": preset.kind} for preset in self._presets
            ],
            ours=loop_figures(
                ours.usage,
                ok=ours.ok,
                failed=ours.failed,
                captures=_count_files(self._batch.folder().frames_dir, suffix),
                wall_s=ours.wall_s,
                workers=self._workers,
                renderer=self.report.page.renderer,
            ),
            plain=loop_figures(
                plain.usage,
                ok=plain.ok,
                failed=plain.failed,
                captures=_count_files(self._plain_dir, suffix),
                wall_s=plain.wall_s,
                workers=1,
                renderer=self._plain_renderer,
            ),
            split=split_of(
                self._timings_ms.values(),
                presets=ours.ok + ours.failed,
                wall_s=ours.wall_s,
                workers=self._workers,
                shards_s=self._shards_s,
            ),
            plain_weight=weight_of(self._timings_ms, self._plain_ids),
            failures=failures,
        )


def _count_files(folder: Path, suffix: str) -> int:
    return sum(1 for path in folder.rglob(f"*.{suffix}") if path.stat().st_size > 0)
