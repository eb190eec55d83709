"""One renderer a pack: whoever renders its first preset decides, and steps that land elsewhere go back."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import dagster as dg
from dagster._grpc.types import ExecuteStepArgs

from aivj_assets.contracts.base import utc_now
from aivj_assets.contracts.frames_meta import FramesMeta
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.fleet.announce import (
    Announcement,
    living_workers,
    render_slots,
    seen_workers,
    this_worker,
)
from aivj_assets.orchestration.fleet.settings import RENDER_QUEUE
from aivj_assets.orchestration.fleet.steps import disk_problem, only_step

RENDER_STEPS = ("frames.plan_frames", "frames.render_shard", "reactivity")
_WAIT_S = 5.0
BROWSER_POOL = "browser"
_PARTITION_TAG = "dagster/partition"


def renderer_file(root: DataRoot, pack: str) -> Path:
    """Return the file that names a pack's renderer."""
    return root.fleet_dir / "renderers" / f"{pack}.json"


def pack_renderer(root: DataRoot, pack: str) -> str | None:
    """Return the renderer that a pack is rendered with: what was decided, else that of its frames, else None."""
    with suppress(OSError, ValueError, KeyError):
        return str(json.loads(renderer_file(root, pack).read_text(encoding="utf-8"))["renderer"])
    for path in sorted((root.artifacts_dir / pack).glob("**/frames.meta.json")):
        with suppress(UserError):
            renderer = FramesMeta.load(path).pixel_parameters.get("renderer")
            if renderer:
                return str(renderer)
    return None


def decide_renderer(root: DataRoot, pack: str, renderer: str, host: str) -> str:
    """Write down a pack's renderer unless another worker did so first; returns the one that holds."""
    path = renderer_file(root, pack)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"renderer": pack_renderer(root, pack) or renderer, "host": host, "since": utc_now()}, indent=2)
    with suppress(FileExistsError), path.open("x", encoding="utf-8") as file:
        file.write(text)
    return pack_renderer(root, pack) or renderer


def wait_for_another_worker(instance: dg.DagsterInstance, root: DataRoot, args: ExecuteStepArgs) -> float | None:
    """Return for how many seconds a step is put back for another worker, None when this one is to run it.

    It goes back when another living worker has the pack's renderer, or when this machine's disk is full and another
    machine does the same work. Where there is none the step is run, and fails in one line (`require_renderer`).
    """
    me = this_worker()
    if me is None:
        return None
    is_rendering = only_step(args).startswith(RENDER_STEPS)
    if disk_problem() is not None and _others(root, me, RENDER_QUEUE if is_rendering else None):
        return _WAIT_S
    if me.renderer is None or not is_rendering:
        return None
    run = instance.get_run_by_id(args.run_id)
    partition = run.tags.get(_PARTITION_TAG) if run is not None else None
    if partition is None:
        return None
    wanted = decide_renderer(root, BatchKey.parse(partition).pack, me.renderer, me.host)
    if wanted == me.renderer:
        return None
    return _WAIT_S if any(worker.renderer == wanted for worker in _others(root, me, RENDER_QUEUE)) else None


def _others(root: DataRoot, me: Announcement, queue: str | None) -> list[Announcement]:
    """Return the other living workers of a queue, by default of one of those of `me`."""
    queues = {queue} if queue is not None else set(me.queues)
    alive = [seen.worker for seen in seen_workers(root) if seen.alive and seen.worker.name != me.name]
    return [worker for worker in alive if not queues.isdisjoint(worker.queues)]


def require_renderer(root: DataRoot, pack: str) -> None:
    """Raise `UserError` when this worker's renderer is not the pack's; does nothing outside a worker."""
    me = this_worker()
    wanted = pack_renderer(root, pack) if me is not None else None
    if me is None or me.renderer is None or wanted in {None, me.renderer}:
        return
    alive = [seen.worker for seen in seen_workers(root) if seen.alive and seen.worker.renderer]
    listed = "; ".join(f"{worker.host}: {worker.renderer}" for worker in alive) or "none"
    raise UserError(
        f"Pack '{pack}' is rendered with '{wanted}', and no living worker of the queue {RENDER_QUEUE} has that "
        f"renderer (alive: {listed}). Start one on a machine that has it and run again, or delete "
        f"{renderer_file(root, pack)} and the pack's frames to render all of it with another."
    )


def browsers_at_once(instance: dg.DagsterInstance, root: DataRoot) -> int:
    """Return how many browsers a batch is cut for: the pool's limit, on a worker what those of its renderer have."""
    me = this_worker()
    if me is None:
        return max(1, instance.event_log_storage.get_concurrency_info(BROWSER_POOL).slot_count)
    return max(1, render_slots(living_workers(root, RENDER_QUEUE), me.renderer))
