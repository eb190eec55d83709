"""Jobs in processes of their own: results in order, failures as they are, nothing left behind."""

from __future__ import annotations

import math
import multiprocessing
import os
import time

import psutil
import pytest

from aivj_assets.errors import UserError
from aivj_assets.render import parallel
from aivj_assets.render.parallel import run_in_processes, stop_reason


def living_children() -> list[int]:
    """The executor's own thread may have waited for a child first: multiprocessing then lists it for good."""
    listed = {child.pid for child in multiprocessing.active_children()}
    children = [child for child in psutil.Process().children() if child.pid in listed]
    return [child.pid for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


def test_results_come_in_the_order_of_the_jobs() -> None:
    seen: list[int] = []
    assert run_in_processes(math.sqrt, [9.0, 4.0, 1.0], workers=2, tick=lambda pids: seen.append(len(pids))) == [
        3,
        2,
        1,
    ]
    assert max(seen) <= 2
    assert living_children() == []
    assert run_in_processes(math.sqrt, [], workers=2) == []


def test_a_failure_is_raised_at_once_and_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others would sleep for longer than a test may take."""
    monkeypatch.setattr(parallel, "_STOP_WAIT_S", 0.5)
    with pytest.raises(ValueError, match="sleep length must be non-negative"):
        run_in_processes(time.sleep, [1000.0, -1.0, 1000.0, 1000.0], workers=2)
    assert living_children() == []


def test_a_worker_that_was_killed_is_one_line() -> None:
    with pytest.raises(UserError, match="was ended from outside"):
        run_in_processes(os._exit, [9], workers=1)
    assert living_children() == []


def test_outside_a_worker_nothing_asks_to_stop() -> None:
    assert stop_reason() is None
