"""Why a run failed, as a person is told."""

import sys

from dagster._core.executor.child_process_executor import ChildProcessCrashException
from dagster._utils.error import serializable_error_info_from_exc_info as told_by_dagster
from dagster_shared.error import SerializableErrorInfo

from aivj_assets.orchestration.launch import first_cause


def as_dagster_stores_it(error: Exception) -> SerializableErrorInfo:
    try:
        raise error
    except Exception:  # noqa: BLE001 - whatever it is
        return told_by_dagster(sys.exc_info())


def test_a_step_killed_from_outside_is_told_with_the_way_on() -> None:
    told = first_cause(as_dagster_stores_it(ChildProcessCrashException(pid=7, exit_code=-9)))
    assert "killed, or out of memory" in told
    assert "run again to go on" in told


def test_any_other_error_is_its_first_cause_on_one_line() -> None:
    wrapped = RuntimeError("on top")
    wrapped.__cause__ = ValueError("the\ncause")
    assert first_cause(as_dagster_stores_it(wrapped)) == "ValueError: the cause"
