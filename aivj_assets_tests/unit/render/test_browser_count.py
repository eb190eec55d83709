"""What follows from measured numbers of browsers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aivj_assets.errors import UserError
from aivj_assets.render import browser_count
from aivj_assets.render.browser_count import (
    BrowserCount,
    CountTrial,
    measure_browser_count,
    presets_per_s,
    recommend,
    spread,
    tree_bytes,
)
from aivj_assets.render.environment import RenderEnvironment
from aivj_assets_tests.builders import PAGE

GB = 10**9
ENVIRONMENT = RenderEnvironment(Path("none"), "system", Path("p"), Path("n"), is_root=False, platform="linux")


def trials(*rates: float, peak_bytes: int = GB, duration_s: float = 1.0) -> list[CountTrial]:
    return [
        CountTrial(browsers=number, presets_per_s=rate, peak_memory_bytes=peak_bytes, duration_s=duration_s)
        for number, rate in enumerate(rates, start=1)
    ]


@pytest.mark.parametrize(
    ("rates", "recommended"),
    [
        ((1.0,), 1),
        ((1.0, 1.9), 2),
        ((1.0, 1.9, 1.95), 2),
        ((1.0, 0.9), 1),
        ((1.0, 1.04, 1.06), 2),
        ((1.0, 1.9, 2.1), 3),
    ],
)
def test_the_smallest_number_close_to_the_best(rates: tuple[float, ...], recommended: int) -> None:
    assert recommend(trials(*rates), 100 * GB)[0] == recommended


def test_memory_bounds_the_number() -> None:
    assert recommend(trials(1, 2, 3, peak_bytes=GB), 3 * GB)[0] == 2
    number, reason = recommend(trials(1, 2, 3, peak_bytes=2 * GB), GB)
    assert number == 1
    assert reason == "3 are faster, but 1.0 GB of free memory hold only 1"
    assert recommend(trials(1, 2, peak_bytes=0), GB)[0] == 2


def test_rates_leave_the_start_out() -> None:
    # Two workers, each 4 presets in 2 s after its first one; one of them started a minute later.
    assert presets_per_s([[10, 10.5, 11, 11.5, 12], [70, 70.1, 70.2, 70.3, 72]]) == pytest.approx(4.0)
    assert presets_per_s([[1.0]]) == 0


def test_presets_are_spread_over_the_list() -> None:
    paths = [Path(str(number)) for number in range(100)]
    assert [path.name for path in spread(paths, 4)] == ["0", "25", "50", "75"]
    assert spread(paths[:3], 4) == paths[:3]


def measured(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    rates: list[float],
    *,
    is_gpu: bool,
    cores: int,
    duration_s: float = 1,
) -> BrowserCount:
    """Measure with trials that end as given, one after the other."""
    prepared = iter(trials(*rates, duration_s=duration_s))
    clock = [0.0]

    def try_count(*_arguments: object) -> CountTrial:
        clock[0] += duration_s
        return next(prepared)

    monkeypatch.setattr(browser_count, "_try_count", try_count)
    monkeypatch.setattr(browser_count.time, "monotonic", lambda: clock[0])
    paths = [tmp_path / f"{number}.json" for number in range(3)]
    for path in paths:
        path.write_text("{}", encoding="utf-8")
    return measure_browser_count(ENVIRONMENT, PAGE, presets=paths, cores=cores, is_gpu=is_gpu)


def test_software_is_tried_up_to_the_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert len(measured(monkeypatch, tmp_path, [1, 2, 3, 4, 5], is_gpu=False, cores=2).trials) == 2
    assert len(measured(monkeypatch, tmp_path, [1, 2, 3, 4, 5], is_gpu=False, cores=64).trials) == 4


def test_a_gpu_is_tried_while_it_gains(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = measured(monkeypatch, tmp_path, [1, 2, 3, 3.1, 9], is_gpu=True, cores=2)
    assert len(found.trials) == 4
    assert (found.recommended, found.best.browsers) == (3, 3)
    assert len(measured(monkeypatch, tmp_path, [2.0**n for n in range(20)], is_gpu=True, cores=2).trials) == 8


def test_a_slow_machine_is_not_measured_for_ever(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = measured(monkeypatch, tmp_path, [1, 2, 3, 4], is_gpu=False, cores=4, duration_s=35)
    assert len(found.trials) == 2
    assert found.reason.endswith("3 were not tried, for want of time")


def test_without_presets_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="aivj setup"):
        measure_browser_count(ENVIRONMENT, PAGE, presets=[tmp_path / "one.json"], cores=2, is_gpu=False)


def test_memory_of_a_tree_counts_its_children() -> None:
    alone = tree_bytes(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", "x = bytearray(80_000_000); input()"], stdin=subprocess.PIPE)
    try:
        deadline_s = time.monotonic() + 60
        while tree_bytes(child.pid) < 80_000_000 and time.monotonic() < deadline_s:
            time.sleep(0.05)
        assert tree_bytes(child.pid) > 80_000_000
        assert tree_bytes(os.getpid()) > alone + 50_000_000
    finally:
        child.kill()
        child.communicate()
    assert tree_bytes(child.pid) == 0
