"""The time budget of a rendering: when it ends, and what is recorded when it ended before every preset had a record."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg
from dagster import DagsterEventType

from aivj_assets.render.shard_plan import TIME_IS_OVER

STOP_AT_TAG = "aivj/stop_at"
"""Of a run: no preset is started after this time, in seconds since the epoch."""
INCOMPLETE_TAG = "aivj/incomplete"
_SENTENCE = "incomplete"
_RETRY_TAG = "dagster/retry_number"


def stop_at(run: dg.DagsterRun) -> float | None:
    """Return when a run's rendering is to end by its tag, or None.

    A run that a person executes again the next day inherits the tag, but not the night; a retry by the daemon does.
    """
    text = run.tags.get(STOP_AT_TAG)
    if text is None or (run.parent_run_id is not None and _RETRY_TAG not in run.tags):
        return None
    try:
        return float(text)
    except ValueError:
        return None


def why_incomplete(stop_reasons: Iterable[str | None]) -> str:
    """Return why presets have no record; any reason comes before the budget, which alone is no failure."""
    told = [reason for reason in stop_reasons if reason is not None]
    others = [reason for reason in told if reason != TIME_IS_OVER]
    return next(iter(others), TIME_IS_OVER if told else "it was interrupted")


def record_incomplete(context: dg.OpExecutionContext, sentence: str, *, total: int, left: int) -> None:
    """Record on the run and on the partition of `frames` what a budget has left undone."""
    context.log.warning(sentence)
    context.instance.add_run_tags(context.run.run_id, {INCOMPLETE_TAG: f"{left} of {total} presets left"})
    context.log_event(
        dg.AssetObservation(
            "frames",
            partition=context.partition_key,
            description=sentence,
            metadata={_SENTENCE: sentence, "done": total - left, "left": left, "total": total, "why": TIME_IS_OVER},
        )
    )


def incomplete_sentence(instance: dg.DagsterInstance, run_id: str) -> str | None:
    """Return what a run's budget has left undone, or None when its rendering came to its end or failed."""
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.ASSET_OBSERVATION):
        event = entry.dagster_event
        if event is None:
            continue
        value = event.asset_observation_data.asset_observation.metadata.get(_SENTENCE)
        if value is not None:
            return str(value.value)
    return None
