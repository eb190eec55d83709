"""When a rendering ends by its run's tag, and when that is no failure."""

import uuid

import dagster as dg
import pytest

from aivj_assets.orchestration.budget import STOP_AT_TAG, stop_at, why_incomplete
from aivj_assets.render.shard_plan import TIME_IS_OVER


def test_a_retry_keeps_the_nights_end_but_a_person_who_runs_it_again_has_all_the_time() -> None:
    tags = {STOP_AT_TAG: "1769900000"}
    assert stop_at(dg.DagsterRun("batch_job", tags=tags)) == 1769900000
    assert stop_at(dg.DagsterRun("batch_job")) is None
    first = str(uuid.uuid4())
    again = {"parent_run_id": first, "root_run_id": first}
    assert stop_at(dg.DagsterRun("batch_job", tags=tags, **again)) is None
    retried = {**tags, "dagster/retry_number": "1"}
    assert stop_at(dg.DagsterRun("batch_job", tags=retried, **again)) == 1769900000


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        ([], "it was interrupted"),
        ([None, None], "it was interrupted"),
        ([None, TIME_IS_OVER], TIME_IS_OVER),
        ([TIME_IS_OVER, "the browser died three times"], "the browser died three times"),
    ],
)
def test_only_a_budget_that_alone_stopped_the_shards_is_no_failure(reasons: list[str | None], told: str) -> None:
    assert why_incomplete(reasons) == told
