"""Finding and ending process trees, on a tree of ordinary processes."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

import psutil
import pytest

from aivj_assets.render.processes import (
    find_browser_process,
    is_alive,
    kill_processes,
    process_tree,
    tree_memory_bytes,
)

# A "browser" that starts a helper, which starts a helper: the marker is on the first two command lines.
BROWSER = """
import subprocess, sys, time
helper = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
subprocess.Popen([sys.executable, "-c", helper + "time.sleep(60)", "--type=renderer", sys.argv[1]])
time.sleep(60)
"""


@pytest.fixture
def marker() -> str:
    return f"--aivj-session={uuid.uuid4().hex}"


@pytest.fixture
def browser(marker: str) -> Iterator[psutil.Process]:
    # A launcher in between, as the driver is between us and a browser.
    launch = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1], sys.argv[2]]).wait()"
    driver = subprocess.Popen([sys.executable, "-c", launch, BROWSER, marker])
    root = psutil.Process(driver.pid)
    try:
        deadline = time.monotonic() + 20
        while len(root.children(recursive=True)) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        yield root
    finally:
        kill_processes(process_tree(root))
        driver.wait()


def test_the_main_process_is_found_by_its_marker(browser: psutil.Process, marker: str) -> None:
    # The launcher carries the marker too, but is the test's own child: search below it.
    found = find_browser_process(marker, browser)
    assert found is not None
    assert found.ppid() == browser.pid
    assert find_browser_process("--aivj-session=of-nobody", browser) is None


def test_killing_a_tree_leaves_nobody(browser: psutil.Process, marker: str) -> None:
    main = find_browser_process(marker, browser)
    assert main is not None
    tree = process_tree(main)
    assert len(tree) == 3
    assert kill_processes(tree) == []
    assert not any(is_alive(process) for process in tree)
    assert process_tree(main) == []
    assert kill_processes(tree) == []  # of processes that are gone: nothing to do


def test_grandchildren_are_killed_with_a_root_alone(browser: psutil.Process, marker: str) -> None:
    main = find_browser_process(marker, browser)
    assert main is not None
    tree = process_tree(main)
    assert kill_processes([main]) == []
    assert not any(is_alive(process) for process in tree)


def test_memory_is_told_for_those_alive(browser: psutil.Process, marker: str) -> None:
    main = find_browser_process(marker, browser)
    assert main is not None
    tree = process_tree(main)
    memory = tree_memory_bytes(tree)
    assert set(memory) == {process.pid for process in tree}
    assert min(memory.values()) > 1_000_000
    kill_processes(tree)
    assert sum(tree_memory_bytes(tree).values()) == 0


def test_a_zombie_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    process = psutil.Process(child.pid)
    try:
        deadline = time.monotonic() + 20
        while is_alive(process) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not is_alive(process)  # nobody has waited for it yet
    finally:
        child.wait()


def test_a_process_that_may_not_be_asked_is_taken_for_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    process = psutil.Process()

    def refuse() -> str:
        raise psutil.AccessDenied(process.pid)

    monkeypatch.setattr(process, "status", refuse)
    assert is_alive(process)
