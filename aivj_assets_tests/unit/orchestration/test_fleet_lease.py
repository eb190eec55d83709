"""Leases over real processes: who runs a step, and when another may take it over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from aivj_assets.layout import write_json_atomic
from aivj_assets.orchestration.fleet.lease import (
    LeasePlace,
    LeaseState,
    Watch,
    lease_place,
    living_steps_of,
    take,
)

# A worker: it takes the lease, renews it, and ends when it has lost it.
HOLDER = """
import os, sys, time
from pathlib import Path
from aivj_assets.orchestration.fleet.lease import lease_place, take
lease = take(lease_place(Path(sys.argv[1]), "run-1", "step"), expiry_s=float(sys.argv[2]))
assert lease is not None
lease.keep(lambda reason: (print(reason, flush=True), os._exit(3)))
print("held", flush=True)
time.sleep(60)
"""
Start = Callable[[float], subprocess.Popen[str]]


@pytest.fixture
def leases(tmp_path: Path) -> Path:
    return tmp_path / "leases"


@pytest.fixture
def place(leases: Path) -> LeasePlace:
    return lease_place(leases, "run-1", "step")


@pytest.fixture
def start(leases: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def begin(expiry_s: float) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(leases), str(expiry_s)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def as_of_another_machine(place: LeasePlace) -> None:
    """Rewrite the newest lease as if its process were on another machine: nothing is known of it but its silence."""
    path = place.path(place.newest())
    write_json_atomic(path, {**json.loads(path.read_text(encoding="utf-8")), "identity": "elsewhere"})


def test_nobody_takes_a_lease_whose_holder_renews_it(place: LeasePlace, start: Start) -> None:
    start(3.0)
    assert take(place, expiry_s=3.0) is None
    assert place.newest() == 1


def test_the_lease_of_a_process_that_was_killed_here_is_taken_at_once(place: LeasePlace, start: Start) -> None:
    holder = start(60.0)
    holder.kill()
    holder.wait()
    began = time.monotonic()
    lease = take(place, expiry_s=60.0)
    assert lease is not None
    assert lease.generation == 2
    assert time.monotonic() - began < 5


def test_a_silent_holder_of_another_machine_is_waited_for_as_long_as_its_lease_holds(place: LeasePlace) -> None:
    first = take(place, expiry_s=1.5)
    assert first is not None
    as_of_another_machine(place)
    began = time.monotonic()
    assert take(place, expiry_s=1.5) is not None
    assert time.monotonic() - began >= 1.5
    # It was silent for too long itself, and would see the other one.
    assert first.check() is not None


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_holder_that_was_stopped_ends_when_it_goes_on(place: LeasePlace, start: Start) -> None:
    holder = start(1.2)
    holder.send_signal(signal.SIGSTOP)
    time.sleep(1.5)
    holder.send_signal(signal.SIGCONT)
    assert holder.wait(10) == 3
    assert holder.stdout is not None
    assert "could not renew its lease" in holder.stdout.read()


def test_a_lease_that_was_released_is_free(place: LeasePlace) -> None:
    first = take(place, expiry_s=60.0)
    assert first is not None
    first.release()
    again = take(place, expiry_s=60.0)
    assert again is not None
    assert again.generation == 2


def test_of_two_that_take_over_at_once_one_gets_it(place: LeasePlace) -> None:
    first = take(place, expiry_s=60.0)
    assert first is not None
    first.release()
    place.path(2).write_text("", encoding="utf-8")
    # The other one has made its generation and not yet written it.
    assert Watch().lives(place)


def test_another_reason_ends_a_holder_too(place: LeasePlace) -> None:
    lease = take(place, expiry_s=0.6)
    assert lease is not None
    heard: list[str] = []
    lease.keep(heard.append, lambda: "run run-1 is canceled")
    deadline = time.monotonic() + 5
    while not heard and time.monotonic() < deadline:
        time.sleep(0.02)
    assert heard == ["run run-1 is canceled"]
    assert lease.check() == "run run-1 is canceled"


def test_a_holder_whose_folder_does_not_answer_hears_of_it_once(
    place: LeasePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = take(place, expiry_s=0.6)
    assert lease is not None
    answers, waiting = threading.Event(), threading.Event()

    def hangs(*_arguments: object) -> None:
        waiting.set()
        answers.wait(10)

    monkeypatch.setattr("aivj_assets.orchestration.fleet.lease.write_json_atomic", hangs)
    heard: list[str] = []
    lease.keep(heard.append)
    deadline = time.monotonic() + 5
    while not heard and time.monotonic() < deadline:
        time.sleep(0.02)
    assert waiting.is_set()
    assert not answers.is_set()
    answers.set()
    time.sleep(0.3)
    assert [line.split(" (")[0] for line in heard] == ["it could not renew its lease for 0 s"]
    assert lease.check() == heard[0]


def test_the_living_steps_of_a_run_are_named_with_their_host(leases: Path) -> None:
    living = living_steps_of(leases)
    assert living("run-1") == []
    lease = take(lease_place(leases, "run-1", "frames.render_shard[s0001]"), expiry_s=60.0)
    assert lease is not None
    [named] = living("run-1")
    assert named.startswith("frames_render_shard_s0001_ on ")
    lease.release()
    assert living("run-1") == []


def test_a_watch_counts_silence_by_its_own_clock(place: LeasePlace) -> None:
    now_s = [100.0]
    watch = Watch(clock=lambda: now_s[0])
    place.folder.mkdir(parents=True)
    state = replace(LeaseState.of_this_process(30.0), identity="elsewhere")
    write_json_atomic(place.path(1), state.__dict__)
    assert watch.lives(place)
    now_s[0] += 29
    assert watch.lives(place)
    now_s[0] += 2
    assert not watch.lives(place)
    write_json_atomic(place.path(1), replace(state, beat=1).__dict__)
    assert watch.lives(place)
    assert os.getpid() == state.pid
