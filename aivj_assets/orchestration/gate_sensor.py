"""`refresh_gate_report`: the page of the gates follows the runs, at most once a minute however many end."""

import dagster as dg

from aivj_assets.orchestration.batch_status import UNFINISHED_RUNS
from aivj_assets.orchestration.gate_report import GATE_REPORT_JOB, seen_digest
from aivj_assets.orchestration.jobs import gate_report_job
from aivj_assets.orchestration.resources import DataRootResource

_INTERVAL_S = 60


@dg.sensor(
    job=gate_report_job,
    minimum_interval_seconds=_INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="After runs have ended, well or not, the page of the gates is made anew: one run for all of them.",
)
def refresh_gate_report(
    context: dg.SensorEvaluationContext, data_root: DataRootResource
) -> dg.SensorResult | dg.SkipReason:
    """Ask for one report when a run has ended since the last one, or a manifest, verdict or setting has changed."""
    running = dg.RunsFilter(job_name=GATE_REPORT_JOB, statuses=UNFINISHED_RUNS)
    if context.instance.get_runs_count(running) > 0:
        return dg.SkipReason("a report is being made; what has happened since is seen at a later look")
    seen = seen_digest(context.instance, data_root.get())
    if seen is None:
        return dg.SkipReason("there is no batch yet")
    if seen == context.cursor:
        return dg.SkipReason("nothing has happened since the last report")
    # It takes seconds, and must not wait for a backfill of all batches to end.
    return dg.SensorResult(run_requests=[dg.RunRequest(tags={"dagster/priority": "1"})], cursor=seen)
