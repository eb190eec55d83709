"""The instance under a data root: where it stores, what its pools allow, runs whose process died, why a run failed."""

import errno
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.events import JobFailureData, RunFailureReason
from dagster_shared.error import SerializableErrorInfo
from sqlalchemy.exc import SQLAlchemyError

from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot, project_root
from aivj_assets.orchestration.batch_lock import ProcessMark, acquire_batch
from aivj_assets.orchestration.instance import (
    BROWSER_POOL,
    HOST_TAG,
    PROCESS_TAG,
    browser_limit,
    instance_config,
    open_instance,
    prepare_home,
    process_tags,
    report_dead_runs,
    set_pool_limits,
    storage_errors,
)
from aivj_assets.orchestration.launch import explain_run, was_interrupted
from aivj_assets_tests.builders import seed_storage


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    return DataRoot(tmp_path / "root")


@pytest.fixture
def instance(root: DataRoot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    seed_storage(root, tmp_path_factory)
    with open_instance(root, {"AIVJ_BROWSERS": "3"}) as made:
        yield made


def base_dirs(value: Any) -> list[str]:
    if not isinstance(value, dict):
        return []
    return [inner for key, inner in value.items() if key == "base_dir"] + [
        found for inner in value.values() for found in base_dirs(inner)
    ]


def test_every_place_of_the_configuration_lies_under_the_data_root(root: DataRoot) -> None:
    template = yaml.safe_load((project_root() / "dagster.yaml").read_text(encoding="utf-8"))
    before = yaml.safe_dump(template)
    found = base_dirs(instance_config(template, root.path))
    assert len(found) == 3
    assert all(Path(place).is_absolute() and Path(place).is_relative_to(root.dagster_home) for place in found)
    assert yaml.safe_dump(template) == before


def test_an_absolute_place_stays() -> None:
    place = str(Path("/var/lib/aivj").absolute())
    config = {"a": {"base_dir": place}, "b": {"base_dir": {"env": "X"}}, "c": [1]}
    assert instance_config(config, Path("/data")) == config


def test_the_home_is_written_once_and_follows_the_template(root: DataRoot) -> None:
    home = prepare_home(root, {})
    path = home / "dagster.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert config["telemetry"] == {"enabled": False}
    assert config["run_retries"]["retry_on_asset_or_op_failure"] is False
    os.utime(path, (1, 1))
    prepare_home(root, {})
    assert path.stat().st_mtime == 1
    path.write_text("edited", encoding="utf-8")
    prepare_home(root, {})
    assert yaml.safe_load(path.read_text(encoding="utf-8")) == config


def test_a_root_that_cannot_hold_the_storage_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="cannot hold Dagster's storage") as raised:
        prepare_home(DataRoot(tmp_path / "file"), {})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("cores", "limit"), [(0, 1), (1, 1), (2, 2), (4, 4), (64, 4)])
def test_one_browser_a_core_up_to_four(cores: int, limit: int) -> None:
    assert browser_limit({}, cores) == limit
    assert browser_limit({"AIVJ_BROWSERS": " "}, cores) == limit
    assert browser_limit({"AIVJ_BROWSERS": "9"}, cores) == 9


@pytest.mark.parametrize("text", ["0", "65", "two", "-1", "1.5", "²"])
def test_a_number_of_browsers_that_is_none(text: str) -> None:
    with pytest.raises(UserError, match=r"AIVJ_BROWSERS is '.*'; give a number of browsers from 1 to 64"):
        browser_limit({"AIVJ_BROWSERS": text}, 2)


def limits(instance: dg.DagsterInstance) -> dict[str, int]:
    return {limit.name: limit.limit for limit in instance.event_log_storage.get_pool_limits()}


def test_every_pool_has_a_limit(instance: dg.DagsterInstance) -> None:
    assert limits(instance) == {"browser": 3, "embedder": 1, "clusters": 1}


def test_a_limit_that_a_person_set_stays(instance: dg.DagsterInstance) -> None:
    storage = instance.event_log_storage
    storage.set_concurrency_slots("browser", 7)
    storage.set_concurrency_slots("embedder", 2)
    set_pool_limits(instance, {})
    assert limits(instance) == {"browser": 7, "embedder": 2, "clusters": 1}
    # The variable is a person's word too, and the later one.
    set_pool_limits(instance, {"AIVJ_BROWSERS": "2"})
    assert limits(instance) == {"browser": 2, "embedder": 2, "clusters": 1}


def dead_process() -> str:
    """Return the tag of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    mark = ProcessMark.of(process.pid)
    process.communicate(b"\n")
    assert mark is not None
    return f"{mark.pid}:{mark.started}"


def started_run(instance: dg.DagsterInstance, tags: dict[str, str], status: str = "STARTED") -> str:
    run = dg.DagsterRun(job_name="batch_job", status=dg.DagsterRunStatus(status), tags=tags)
    return instance.add_run(run).run_id


def status_of(instance: dg.DagsterInstance, run_id: str) -> str:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status.value


def test_a_run_whose_process_died_is_reported_and_gives_its_pool_back(
    instance: dg.DagsterInstance, root: DataRoot
) -> None:
    tags = {HOST_TAG: socket.gethostname(), PROCESS_TAG: dead_process()}
    dead = started_run(instance, tags)
    canceling = started_run(instance, tags, "CANCELING")
    storage = instance.event_log_storage
    assert storage.claim_concurrency_slot(BROWSER_POOL, dead, "frames.render_shard[a]").is_claimed
    assert sorted(report_dead_runs(instance, root)) == sorted([dead, canceling])
    assert status_of(instance, dead) == "FAILURE"
    assert storage.get_concurrency_info(BROWSER_POOL).active_slot_count == 0
    assert report_dead_runs(instance, root) == []


def test_other_runs_are_left_alone(instance: dg.DagsterInstance, root: DataRoot) -> None:
    gone = dead_process()
    host = {HOST_TAG: socket.gethostname()}
    runs = {
        "alive": started_run(instance, process_tags()),
        "elsewhere": started_run(instance, {HOST_TAG: "elsewhere", PROCESS_TAG: gone}),
        "daemon": started_run(instance, {}),
        "no process": started_run(instance, host | {PROCESS_TAG: ""}),
    }
    finished = started_run(instance, host | {PROCESS_TAG: gone}, "SUCCESS")
    assert report_dead_runs(instance, root) == []
    assert {name: status_of(instance, run_id) for name, run_id in runs.items()} == dict.fromkeys(runs, "STARTED")
    assert status_of(instance, finished) == "SUCCESS"


def hold(root: DataRoot, batch: str, run_id: str, owner_pid: int) -> None:
    lock = root.batch(BatchKey(batch)).lock
    acquire_batch(lock, batch=batch, run_id=run_id, owner_pid=owner_pid, run_is_over=lambda _run: False)


def test_a_run_of_the_daemon_is_known_by_the_lock_of_its_batch(instance: dg.DagsterInstance, root: DataRoot) -> None:
    """Dagster's local launcher does not notice when a run dies together with the daemon."""
    process = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    dead, alive = started_run(instance, {}), started_run(instance, {})
    hold(root, "one", dead, process.pid)
    hold(root, "two", alive, os.getpid())
    assert instance.event_log_storage.claim_concurrency_slot(BROWSER_POOL, dead, "frames.plan_frames").is_claimed
    assert report_dead_runs(instance, root) == []
    process.communicate(b"\n")
    assert report_dead_runs(instance, root) == [dead]
    assert status_of(instance, alive) == "STARTED"
    assert instance.event_log_storage.get_concurrency_info(BROWSER_POOL).active_slot_count == 0


def test_with_the_daemon_gone_only_living_processes_stand_for_a_run(
    instance: dg.DagsterInstance, root: DataRoot
) -> None:
    before_its_first_lock, locked = started_run(instance, {}), started_run(instance, {})
    by_hand = started_run(instance, process_tags())
    hold(root, "two", locked, os.getpid())
    assert report_dead_runs(instance, root, daemon_is_gone=True) == [before_its_first_lock]
    assert {status_of(instance, run_id) for run_id in (locked, by_hand)} == {"STARTED"}


def test_a_retry_does_not_inherit_its_parents_death(instance: dg.DagsterInstance, root: DataRoot) -> None:
    tags = {HOST_TAG: socket.gethostname(), PROCESS_TAG: dead_process()}
    parent = started_run(instance, tags, "FAILURE")
    retry = dg.DagsterRun(
        job_name="batch_job", status=dg.DagsterRunStatus.STARTED, tags=tags, parent_run_id=parent, root_run_id=parent
    )
    instance.add_run(retry)
    assert report_dead_runs(instance, root) == []


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), sqlite3.OperationalError("disk I/O error")]
)
def test_a_full_disk_under_the_storage_is_one_line(root: DataRoot, error: Exception) -> None:
    many_words = SQLAlchemyError("(many words)")
    many_words.__cause__ = error
    with pytest.raises(UserError, match="free disk space") as raised, storage_errors(root):
        raise many_words
    assert "\n" not in str(raised.value)
    with pytest.raises(SQLAlchemyError), storage_errors(root):
        raise SQLAlchemyError("something else")


def test_a_failed_run_is_explained_in_one_line_a_cause(instance: dg.DagsterInstance) -> None:
    @dg.asset
    def mistaken() -> None:
        raise dg.Failure(description="Batch pack: the manifest is gone.", allow_retries=False)

    @dg.asset
    def broken() -> None:
        try:
            raise ValueError("the cause")
        except ValueError as error:
            raise RuntimeError("on top") from error

    @dg.asset(
        check_specs=[
            dg.AssetCheckSpec("gate", asset="gated", blocking=True),
            dg.AssetCheckSpec("share", asset="gated"),
        ]
    )
    def gated() -> Iterator[Any]:
        yield dg.MaterializeResult(
            check_results=[
                dg.AssetCheckResult(passed=False, check_name="gate", description="gate is 0.1, required > 0.3"),
                dg.AssetCheckResult(
                    passed=False,
                    check_name="share",
                    severity=dg.AssetCheckSeverity.WARN,
                    description="share is 0.4, up to 0.2 is usual",
                ),
            ]
        )

    result = dg.materialize([mistaken, broken, gated], instance=instance, raise_on_error=False)
    assert not result.success
    problems, rejected, warnings = explain_run(instance, result.run_id)
    assert sorted(problems) == ["Batch pack: the manifest is gone.", "broken: ValueError: the cause"]
    assert rejected == ["gate is 0.1, required > 0.3"]
    assert warnings == ["share is 0.4, up to 0.2 is usual"]


@pytest.mark.parametrize(
    ("reason", "interrupted"), [("UNEXPECTED_TERMINATION", True), ("STEP_FAILURE", False), ("RUN_EXCEPTION", False)]
)
def test_ctrl_c_between_two_steps_is_told_from_a_failure(
    instance: dg.DagsterInstance, reason: str, interrupted: bool
) -> None:
    """No step was at work then: only the run's own failure says that it was interrupted."""
    run_id = started_run(instance, {})
    data = JobFailureData(error=None, failure_reason=RunFailureReason(reason))
    event = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.RUN_FAILURE.value, job_name="batch_job", event_specific_data=data
    )
    instance.report_dagster_event(event, run_id)
    assert was_interrupted(instance, run_id) is interrupted


@pytest.mark.parametrize(("where", "interrupted"), [("forkserver.py", True), ("npyio.py", False)])
def test_ctrl_c_while_the_fork_server_starts_is_told_from_a_failure(
    instance: dg.DagsterInstance, where: str, interrupted: bool
) -> None:
    run_id = started_run(instance, {})
    error = SerializableErrorInfo("EOFError: unexpected EOF", [f'  File "{where}", line 328, in read'], "EOFError")
    data = JobFailureData(error=error, failure_reason=RunFailureReason.RUN_EXCEPTION)
    event = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.RUN_FAILURE.value, job_name="batch_job", event_specific_data=data
    )
    instance.report_dagster_event(event, run_id)
    assert was_interrupted(instance, run_id) is interrupted


def test_a_run_that_just_ended_was_interrupted(instance: dg.DagsterInstance) -> None:
    """In its first moments Dagster leaves a run as it is: neither done nor failed nor cancelled."""
    assert was_interrupted(instance, started_run(instance, {}))


@pytest.mark.parametrize(("error", "interrupted"), [(DagsterExecutionInterruptedError, True), (ValueError, False)])
def test_ctrl_c_in_a_step_is_told_from_a_failure(
    instance: dg.DagsterInstance, error: type[Exception], interrupted: bool
) -> None:
    @dg.op
    def at_work() -> None:
        raise error

    @dg.job
    def stopped() -> None:
        at_work()

    done = stopped.execute_in_process(instance=instance, raise_on_error=False)
    assert was_interrupted(instance, done.run_id) is interrupted
