from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass

import psutil
import pytest

from aivj_assets.render.bench.usage import (
    MemorySample,
    Reading,
    Role,
    Usage,
    UsageMeter,
    UsageSampler,
    descendants,
    role_of,
)


def reading(pid: int, role: Role, cpu_s: float, rss_bytes: int = 10, created: float = 1.0) -> Reading:
    return Reading(pid, created, role, cpu_s, rss_bytes)


def test_a_process_counts_with_what_it_used_since_the_start() -> None:
    meter = UsageMeter([reading(1, "gpu", 5.0)])
    meter.add(0.5, [reading(1, "gpu", 6.0), reading(2, "worker", 0.25)])
    meter.add(1.0, [reading(1, "gpu", 7.5), reading(2, "worker", 1.0)])
    usage = meter.usage()
    assert usage.cpu_s["gpu"] == 2.5
    assert usage.cpu_s["worker"] == 1.0
    assert usage.cpu_s["page"] == 0


def test_a_process_that_ended_keeps_what_it_had_used() -> None:
    meter = UsageMeter()
    meter.add(0.5, [reading(1, "gpu", 3.0)])
    meter.add(1.0, [])
    assert meter.usage().cpu_s["gpu"] == 3.0


def test_a_process_id_that_is_used_again_is_another_process() -> None:
    meter = UsageMeter([reading(1, "gpu", 3.0, created=1.0)])
    meter.add(0.5, [reading(1, "gpu", 4.0, created=1.0)])
    meter.add(1.0, [reading(1, "page", 0.5, created=9.0)])
    usage = meter.usage()
    assert (usage.cpu_s["gpu"], usage.cpu_s["page"]) == (1.0, 0.5)


def test_peak_memory_is_of_one_moment_over_all_processes() -> None:
    meter = UsageMeter()
    meter.add(0.5, [reading(1, "gpu", 0, 100), reading(2, "gpu", 0, 50)])
    meter.add(1.0, [reading(1, "gpu", 0, 20), reading(3, "page", 0, 120)])
    usage = meter.usage()
    assert [sample.total_bytes for sample in usage.memory] == [150, 140]
    assert usage.memory[0].rss_bytes["gpu"] == 150
    assert usage.peak_rss_bytes == 150


def test_two_stretches_add_up() -> None:
    one = Usage({"gpu": 1.0}, (MemorySample(0, {"gpu": 7}),))
    other = Usage({"gpu": 2.0, "worker": 0.5}, (MemorySample(0, {"gpu": 9}),))
    both = one + other
    assert (both.cpu_s["gpu"], both.cpu_s["worker"], both.peak_rss_bytes) == (3.0, 0.5, 9)
    assert Usage().peak_rss_bytes == 0


@pytest.mark.parametrize(
    ("name", "command", "role"),
    [
        ("chromium", ["/usr/lib/chromium/chromium", "--user-data-dir=/t/x", "--headless"], "browser"),
        ("chrome.exe", ["chrome.exe", "--type=gpu-process", "--user-data-dir=C:\\x"], "gpu"),
        ("chromium", ["chromium", "--type=renderer", "--lang=en"], "page"),
        ("chromium", ["chromium", "--type=zygote"], "helper"),
        ("chromium", ["chromium", "--type=utility", "--utility-sub-type=network"], "helper"),
        ("chrome_crashpad_handler", ["chrome_crashpad_handler", "--database=/t"], "helper"),
        ("python3", ["python3", "-c", "from multiprocessing.resource_tracker import main;main(5)"], "helper"),
        ("python3", ["python3", "-c", "from multiprocessing.spawn import spawn_main; spawn_main(5)"], "worker"),
        ("node", ["/x/playwright/driver/node", "cli.js", "run-driver"], "driver"),
        ("node.exe", ["node.exe", "run-driver"], "driver"),
    ],
)
def test_roles_are_told_from_the_command_line(name: str, command: list[str], role: Role) -> None:
    assert role_of(name, command) == role


@dataclass
class FakeTimes:
    user: float
    system: float


@dataclass
class FakeMemory:
    rss: int


class FakeProcess:
    """As much of psutil.Process as the sampler asks for."""

    pid = 7

    def __init__(self) -> None:
        self.alive = True
        self.kind = "zygote"
        self.used_s = 1.0

    def oneshot(self) -> FakeProcess:
        return self

    def __enter__(self) -> FakeProcess:
        return self

    def __exit__(self, *_exc: object) -> None:
        return None

    def create_time(self) -> float:
        if not self.alive:
            raise psutil.NoSuchProcess(self.pid)
        return 5.0

    def cpu_times(self) -> FakeTimes:
        return FakeTimes(self.used_s, 0.5)

    def name(self) -> str:
        return "chromium"

    def cmdline(self) -> list[str]:
        return ["chromium", f"--type={self.kind}"]

    def memory_info(self) -> FakeMemory:
        return FakeMemory(1000)


def test_a_helper_that_becomes_a_renderer_counts_as_one_also_when_it_ends() -> None:
    process = FakeProcess()
    sampler = UsageSampler(lambda: [process])  # type: ignore[list-item]
    assert sampler.usage().cpu_s["helper"] == 0
    process.kind, process.used_s = "renderer", 3.0
    assert sampler.usage().cpu_s["page"] == 2.0
    process.alive = False
    usage = sampler.usage()
    assert (usage.cpu_s["page"], usage.cpu_s["helper"]) == (2.0, 0.0)
    assert [sample.total_bytes for sample in usage.memory] == [1000, 1000, 0]


def test_real_processes_are_found_and_measured() -> None:
    busy = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\ntime.sleep(60)"
    with UsageSampler(lambda: descendants([psutil.Process()], without=[os.getppid()]), every_s=0.05) as sampler:
        child = subprocess.Popen([sys.executable, "-c", busy])
        try:
            deadline = time.monotonic() + 30
            while sampler.usage().cpu_s["worker"] < 0.3:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert child.pid in {process.pid for process in descendants([psutil.Process()])}
            assert child.pid not in {process.pid for process in descendants([psutil.Process()], without=[child.pid])}
        finally:
            child.kill()
            child.wait()
    assert sampler.usage().cpu_s["worker"] >= 0.3
    assert sampler.usage().peak_rss_bytes > 1_000_000
