"""`forget_superseded_runs`: once a day, runs go that are old and of which nothing counts any more."""

import os

import dagster as dg

from aivj_assets.errors import UserError
from aivj_assets.orchestration.retention import forget_superseded, kept_days

_INTERVAL_S = 24 * 3600


@dg.sensor(
    minimum_interval_seconds=_INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Once a day: ended runs older than AIVJ_RUNS_KEPT_DAYS (90) go, with what their steps printed, unless "
    "they made the latest of anything.",
)
def forget_superseded_runs(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Delete superseded runs for half a minute at most; the cursor is the run after which the next look goes on.

    No run does it: that would be history itself.
    """
    try:
        days = kept_days(os.environ)
    except UserError as error:
        return dg.SkipReason(str(error))
    if days == 0:
        return dg.SkipReason("all runs are kept")
    deleted, after = forget_superseded(context.instance, older_than_days=days, after=context.cursor or None)
    left = "" if after is None else "; the next look goes on"
    return dg.SensorResult(skip_reason=f"{len(deleted)} runs older than {days} days deleted{left}", cursor=after or "")
