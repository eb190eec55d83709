"""Shards in several processes, each with a browser of its own, as a run's mapped steps render them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aivj_assets.contracts.frames_index import OkRecord
from aivj_assets.errors import UserError
from aivj_assets.render.environment import RenderEnvironment
from aivj_assets.render.parallel import begin_worker, stop_reason
from aivj_assets.render.shard import render_shard
from aivj_assets.render.shard_plan import ShardOutcome, ShardPlan

Progress = Callable[[int, int], None]
"""Called now and then with (presets that got a record since the workers started, of them failed)."""

_POLL_S = 0.2


@dataclass
class ShardResult:
    """A shard's outcome and what its presets cost."""

    outcome: ShardOutcome
    statuses: dict[str, bool] = field(default_factory=dict)
    """Whether a preset is ok, by id; presets that an earlier try of the shard had rendered are not in it."""
    timings_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    """Where a preset's time went, by id; the sum where it was tried more than once."""


def add_timings(timings_ms: dict[str, dict[str, float]], preset_id: str, more: Mapping[str, float]) -> None:
    """Add a try's timings to those of its preset."""
    mine = timings_ms.setdefault(preset_id, {})
    for name, ms in more.items():
        mine[name] = mine.get(name, 0.0) + ms


class ShardWorkers:
    """A context manager that renders shards in `workers` spawned processes, which live until it is left.

    Leaving it ends what still runs, between two presets.
    """

    def __init__(self, environment: RenderEnvironment, workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._environment = environment
        self._stop = context.Event()
        self._done, self._failed = context.Value("i", 0), context.Value("i", 0)
        self._pool = ProcessPoolExecutor(
            workers,
            mp_context=context,
            initializer=_begin_worker,
            initargs=(self._stop, self._done, self._failed),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def run(
        self,
        shards: Sequence[ShardPlan],
        *,
        progress: Progress | None = None,
        on_result: Callable[[ShardResult], None] | None = None,
    ) -> list[ShardResult]:
        """Render shards and return their results, in the order in which they ended; `on_result` hears of each.

        After Ctrl-C the presets at hand are finished, `on_result` hears of what there is, and KeyboardInterrupt goes
        on. Raises what a shard raised (`UserError`), and `UserError` when a worker process died.
        """
        results: list[ShardResult] = []
        open_futures = {self._pool.submit(_render, shard, self._environment) for shard in shards}

        def settle(done: set[Future[ShardResult]]) -> None:
            for future in done:
                result = _result(future)
                results.append(result)
                if on_result is not None:
                    on_result(result)

        try:
            while open_futures:
                done, open_futures = wait(open_futures, timeout=_POLL_S)
                settle(done)
                if progress is not None:
                    progress(self._done.value, self._failed.value)
        except BaseException:
            self._stop.set()
            settle({future for future in open_futures if not future.cancel()})
            raise
        return results


def _result(future: Future[ShardResult]) -> ShardResult:
    try:
        return future.result()
    except BrokenProcessPool:
        raise UserError(
            "A worker process ended without a word: the machine may be short of memory. Run again with fewer --workers."
        ) from None


# ---------------------------------------------------------------------- in a worker process

_shared: dict[str, Any] = {}


def _begin_worker(stop: Any, done: Any, failed: Any) -> None:
    begin_worker(stop)
    _shared.update(done=done, failed=failed)


def _render(plan: ShardPlan, environment: RenderEnvironment) -> ShardResult:
    statuses: dict[str, bool] = {}
    timings_ms: dict[str, dict[str, float]] = {}

    def on_record(record: Any) -> None:
        ok = isinstance(record, OkRecord)
        statuses[record.preset_id] = ok
        for name, count in (("done", 1), ("failed", 0 if ok else 1)):
            with _shared[name].get_lock():
                _shared[name].value += count

    outcome = render_shard(
        plan,
        environment=environment,
        on_record=on_record,
        should_stop=stop_reason,
        on_timings=lambda preset_id, more: add_timings(timings_ms, preset_id, more),
    )
    return ShardResult(outcome, statuses, timings_ms)
