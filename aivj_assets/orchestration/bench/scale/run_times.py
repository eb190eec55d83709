"""Where a run's time went, by Dagster's own events: work of each step, and what was no step's work."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import dagster as dg
from dagster import DagsterEventType

SHARDS = "frames.render_shard"
CHECKS = "checks"

_STARTS = {DagsterEventType.STEP_START}
_ENDS = {DagsterEventType.STEP_SUCCESS, DagsterEventType.STEP_FAILURE, DagsterEventType.STEP_SKIPPED}


@dataclass
class RunTimes:
    """One run. Times in seconds; `work_s` is {step without its mapping key: sum over its steps}.

    `idle_s` is what the run took beyond the work of its steps: starting processes, loading code, passing values on.
    """

    run_id: str
    wall_s: float
    work_s: dict[str, float]
    shards: int
    idle_s: float
    events: int
    pids: dict[int, str] = field(default_factory=dict)
    """{process id: step} of the processes that the run's steps ran in."""


def run_times(instance: dg.DagsterInstance, run_id: str, *, browsers: int) -> RunTimes:
    """Return where a run's time went; `browsers` is how many shards were at work at once."""
    begun: dict[str, float] = {}
    spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
    pids: dict[int, str] = {}
    entries = instance.all_logs(run_id)
    for entry in entries:
        event, key = entry.dagster_event, entry.step_key
        if event is None or key is None:
            continue
        step = step_name(key)
        if event.event_type in _STARTS:
            begun[key] = entry.timestamp
        elif event.event_type in _ENDS and key in begun:
            spans[step].append((begun.pop(key), entry.timestamp))
        elif event.event_type == DagsterEventType.STEP_WORKER_STARTED:
            pid = event.engine_event_data.metadata.get("pid")
            if pid is not None and str(pid.value).isdecimal():
                pids[int(str(pid.value))] = step
    times = [entry.timestamp for entry in entries]
    wall_s = max(times) - min(times) if times else 0.0
    work_s = {step: sum(end - start for start, end in parts) for step, parts in spans.items()}
    return RunTimes(
        run_id=run_id,
        wall_s=wall_s,
        work_s=work_s,
        shards=len(spans.get(SHARDS, ())),
        idle_s=wall_s - _busy_s(spans, browsers),
        events=len(entries),
        pids=pids,
    )


def step_name(key: str) -> str:
    """Return the name of a step; all shards have one, and so have all checks."""
    name = key.partition("[")[0]
    return CHECKS if name.partition(".")[0] not in STEPS else name


STEPS = frozenset(
    {
        "presets", "frames", "embeddings", "clusters", "style_index", "style_policy", "qa_samples", "run_record",
        "publication",
    }
)  # fmt: skip
"""The steps that make assets; each check is a step of its own."""


def _busy_s(spans: Mapping[str, Iterable[tuple[float, float]]], browsers: int) -> float:
    """Return how long the run's steps would have taken without a pause: shards side by side, all else as it came."""
    shards = sum(end - start for start, end in spans.get(SHARDS, ()))
    others = sorted(span for step, parts in spans.items() if step != SHARDS for span in parts)
    total, reached = 0.0, float("-inf")
    for start, end in others:
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total + shards / max(1, browsers)
