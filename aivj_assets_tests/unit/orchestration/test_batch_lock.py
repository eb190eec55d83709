"""The lock over real processes: each holder is a process of its own, so that its death is a real one."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aivj_assets.errors import UserError
from aivj_assets.layout import write_json_atomic
from aivj_assets.orchestration.batch_lock import ProcessMark, acquire_batch, dead_run_of, living_run_of, parent_is_alive

SLEEPER = [sys.executable, "-S", "-c", "import time; time.sleep(120)"]
# A step: it takes the lock for a run whose main process is another one, and then works.
STEP = """
import sys, time
from pathlib import Path
from aivj_assets.orchestration.batch_lock import acquire_batch
path, run_id, owner_pid = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
acquire_batch(path, batch="pack", run_id=run_id, owner_pid=owner_pid, run_is_over=lambda _: False)
print("held", flush=True)
time.sleep(120)
"""


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def begin(*command: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(command or SLEEPER, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch" / ".batch-lock.json"


def take(path: Path, run_id: str, owner_pid: int | None = None, **options: Any) -> None:
    options = {"run_is_over": lambda _run: False} | options
    acquire_batch(path, batch="pack", run_id=run_id, owner_pid=owner_pid or os.getpid(), **options)


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def holder(path: Path) -> str:
    return str(json.loads(path.read_bytes())["run_id"])


Start = Callable[..., subprocess.Popen[str]]


def test_a_living_holder_is_named_and_keeps_the_batch(path: Path, start: Start) -> None:
    owner = start()
    take(path, "run-1", owner.pid)
    began = time.monotonic()
    with pytest.raises(UserError) as raised:
        take(path, "run-2")
    # Nobody waits for a run that lives.
    assert time.monotonic() - began < 5
    text = str(raised.value)
    assert "Batch pack is being worked on by run run-1" in text
    assert f"process {owner.pid}" in text
    assert socket.gethostname() in text
    assert "wait for it or terminate it" in text
    assert holder(path) == "run-1"


def test_the_batch_of_a_killed_run_is_taken_over(path: Path, start: Start) -> None:
    owner = start()
    take(path, "run-1", owner.pid)
    end(owner)
    take(path, "run-2", start().pid)
    assert holder(path) == "run-2"


def test_the_batch_of_a_finished_run_is_taken_over_while_its_process_lives(path: Path, start: Start) -> None:
    take(path, "run-1", start().pid)
    take(path, "run-2", run_is_over=lambda run: run == "run-1")
    assert holder(path) == "run-2"


def test_steps_of_one_run_join(path: Path, start: Start) -> None:
    owner = start()
    step = start(sys.executable, "-c", STEP, str(path), "run-1", str(owner.pid))
    assert step.stdout
    assert step.stdout.readline() == "held\n"
    take(path, "run-1", owner.pid)
    state = json.loads(path.read_bytes())
    assert state["owner"]["pid"] == owner.pid
    assert {mark["pid"] for mark in state["steps"]} == {step.pid, os.getpid()}
    end(step)
    # A step that has ended is forgotten at the next occasion.
    take(path, "run-1", owner.pid)
    assert [mark["pid"] for mark in json.loads(path.read_bytes())["steps"]] == [os.getpid()]


def test_an_orphaned_step_is_waited_for(path: Path, start: Start) -> None:
    owner = start()
    step = start(sys.executable, "-c", STEP, str(path), "run-1", str(owner.pid))
    assert step.stdout
    assert step.stdout.readline() == "held\n"
    end(owner)
    ended_at: list[float] = []

    def end_step_soon() -> None:
        time.sleep(1.0)
        ended_at.append(time.monotonic())
        end(step)

    thread = threading.Thread(target=end_step_soon)
    thread.start()
    take(path, "run-2", orphan_wait_s=30)
    taken_at = time.monotonic()
    thread.join()
    assert holder(path) == "run-2"
    assert taken_at >= ended_at[0]


def test_an_orphaned_step_that_does_not_end_is_named(path: Path, start: Start) -> None:
    owner = start()
    step = start(sys.executable, "-c", STEP, str(path), "run-1", str(owner.pid))
    assert step.stdout
    assert step.stdout.readline() == "held\n"
    end(owner)
    with pytest.raises(UserError, match=rf"its steps still run as processes {step.pid}; end them"):
        take(path, "run-2", orphan_wait_s=0.6)
    assert holder(path) == "run-1"


def foreign(path: Path, **change: Any) -> None:
    """Write a lock whose holder runs on another machine, under the pid of no process here."""
    state = {"run_id": "run-1", "host": "elsewhere", "since": "monday", "owner": {"pid": 2**22, "started": 1.0}}
    write_json_atomic(path, state | {"steps": [{"pid": os.getpid(), "started": 1.0}]} | change)


def test_another_machine_s_run_is_freed_only_by_its_end(path: Path) -> None:
    foreign(path)
    with pytest.raises(UserError, match=r"run run-1 \(since monday, host elsewhere"):
        take(path, "run-2")
    take(path, "run-2", run_is_over=lambda run: run == "run-1")
    assert holder(path) == "run-2"


def test_a_reused_pid_is_not_the_holder(path: Path, start: Start) -> None:
    other = start()
    mark = ProcessMark.of(other.pid)
    assert mark is not None
    old = {"pid": other.pid, "started": mark.started - 3600}
    foreign(path, host=socket.gethostname(), owner=old, steps=[old])
    take(path, "run-2", orphan_wait_s=0)
    assert holder(path) == "run-2"


def test_a_holder_whose_process_was_not_seen_holds_nothing(path: Path) -> None:
    foreign(path, host=socket.gethostname(), owner=None, steps=[])
    take(path, "run-2")
    assert holder(path) == "run-2"


@pytest.mark.parametrize("content", [b"", b"{torn", b"[]", b"null", b'{"run_id": "x"}', b'{"owner": 1, "steps": 1}'])
def test_a_broken_lock_file_blocks_nobody(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    take(path, "run-2")
    assert holder(path) == "run-2"


def test_of_many_runs_at_once_one_gets_the_batch(path: Path, start: Start) -> None:
    owners = [start() for _ in range(4)]
    won: list[str] = []
    refused: list[str] = []

    def compete(number: int) -> None:
        try:
            take(path, f"run-{number}", owners[number].pid)
        except UserError as error:
            refused.append(str(error))
        else:
            won.append(f"run-{number}")

    threads = [threading.Thread(target=compete, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert len(refused) == 3
    assert all(won[0] in text for text in refused)


def test_process_marks(start: Start) -> None:
    process = start()
    mark = ProcessMark.of(process.pid)
    assert mark is not None
    assert mark.alive
    assert parent_is_alive(mark)
    assert parent_is_alive(None)
    process.kill()
    deadline = time.monotonic() + 10
    # Not waited for: until then it is a zombie, and a zombie works on nothing.
    while mark.alive and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not mark.alive
    assert not parent_is_alive(mark)
    process.wait()
    assert ProcessMark.of(process.pid) is None


def test_a_run_that_is_not_known_here_holds_the_batch_while_its_process_lives(path: Path, start: Start) -> None:
    """Its history lies elsewhere (`dg dev` with AIVJ_ROOT set), or it was deleted in the UI."""
    owner = start()
    take(path, "run-1", owner.pid)
    with pytest.raises(UserError, match="run-1"):
        take(path, "run-2", run_is_over=lambda _run: None)
    end(owner)
    take(path, "run-2", run_is_over=lambda _run: None)
    assert holder(path) == "run-2"


def test_a_run_of_another_history_in_the_same_process_has_ended(path: Path) -> None:
    take(path, "run-1")
    take(path, "run-2", run_is_over=lambda _run: None)
    assert holder(path) == "run-2"


def test_locks_tell_which_runs_are_dead_and_which_live(path: Path, start: Start) -> None:
    owner = start()
    take(path, "run-1", owner.pid)
    assert (dead_run_of(path), living_run_of(path)) == (None, "run-1")
    end(owner)
    assert (dead_run_of(path), living_run_of(path)) == ("run-1", None)
    foreign(path, host="elsewhere")
    assert (dead_run_of(path), living_run_of(path)) == (None, None)
    path.unlink()
    assert (dead_run_of(path), living_run_of(path)) == (None, None)
