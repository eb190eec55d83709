"""What a worker finds out about a step before it runs it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from aivj_assets.layout import DataRoot
from aivj_assets.orchestration.fleet import steps
from aivj_assets.orchestration.fleet.lease import lease_place, take
from aivj_assets.orchestration.fleet.steps import (
    BusyError,
    LeaseLostError,
    ended_events,
    go_on_elsewhere,
    leased_step,
    why_over,
    why_stop,
)


@dg.op
def fine() -> int:
    return 1


@dg.op(retry_policy=dg.RetryPolicy(max_retries=2))
def failing(_before: int) -> None:
    raise ValueError("no")


@dg.job
def small() -> None:
    failing(fine())


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def arguments(run_id: str) -> Any:
    return SimpleNamespace(run_id=run_id, step_keys_to_execute=["fine"], known_state=None)


def test_a_step_that_has_ended_is_known_with_its_events_and_each_of_its_tries(instance: dg.DagsterInstance) -> None:
    run_id = small.execute_in_process(instance=instance, raise_on_error=False).run_id
    events = ended_events(instance, run_id, "fine", 0)
    assert events is not None
    assert [event.event_type_value for event in events][-1] == "STEP_SUCCESS"
    # Each try of a step ends by itself: the third of three is the last.
    for tries_before, end in ((0, "STEP_UP_FOR_RETRY"), (1, "STEP_UP_FOR_RETRY"), (2, "STEP_FAILURE")):
        tried = ended_events(instance, run_id, "failing", tries_before)
        assert tried is not None
        assert tried[-1].event_type_value == end
        assert sum(event.event_type_value in {"STEP_START", "STEP_RESTARTED"} for event in tried) == 1
    assert ended_events(instance, run_id, "unknown", 0) is None


def test_a_run_that_is_over_or_not_known_needs_no_steps(instance: dg.DagsterInstance) -> None:
    run_id = small.execute_in_process(instance=instance, raise_on_error=False).run_id
    assert why_over(instance, run_id) == f"run {run_id} is failure"
    assert why_over(instance, "none") == "run none is not known"
    going = instance.create_run_for_job(small, status=dg.DagsterRunStatus.STARTED)
    assert why_over(instance, going.run_id) is None


def test_a_database_that_does_not_answer_ends_no_step() -> None:
    def away(_run_id: str) -> None:
        raise ConnectionError("no route")

    assert why_over(SimpleNamespace(get_run_by_id=away), "run-1") is None  # type: ignore[arg-type]


def test_a_step_holds_its_lease_and_another_copy_of_it_is_refused(
    instance: dg.DagsterInstance, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = DataRoot(tmp_path)
    settings = SimpleNamespace(lease_s=1.2)
    run = instance.create_run_for_job(small, status=dg.DagsterRunStatus.STARTED)

    def hold() -> Any:
        return leased_step(instance, root, settings, arguments(run.run_id), end_process=lambda _why: None)  # type: ignore[arg-type]

    assert why_stop() is None
    with hold():
        assert why_stop() is None
        with pytest.raises(BusyError), hold():
            raise AssertionError("two copies of a step at once")
        # Another machine has taken it over: this one may neither go on nor end the step.
        place = lease_place(root.leases_dir, run.run_id, "fine")
        place.path(2).write_text("{}", encoding="utf-8")
        assert why_stop() == "another worker has taken the step over"
        with pytest.raises(LeaseLostError):
            go_on_elsewhere()
    assert why_stop() is None


def test_a_full_disk_of_a_worker_has_the_step_tried_elsewhere(
    instance: dg.DagsterInstance, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = take(lease_place(tmp_path, "run-1", "step"), expiry_s=60.0)
    monkeypatch.setattr(steps, "_held", lease)
    go_on_elsewhere()
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=1000))
    assert "is full" in (why_stop() or "")
    with pytest.raises(dg.RetryRequested):
        go_on_elsewhere()
    monkeypatch.setattr(steps, "_held", None)
    # In the local profile a step asks nobody.
    assert why_stop() is None
    go_on_elsewhere()
