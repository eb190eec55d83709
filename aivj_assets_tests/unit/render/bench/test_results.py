from __future__ import annotations

from typing import Any

import pytest

from aivj_assets.render.bench.results import (
    LoopFigures,
    Machine,
    MemoryTrend,
    Phase,
    RenderBench,
    SoakBench,
    Split,
    Target,
    cpu_by_role,
    distribution,
    loop_figures,
    memory_trends,
    presets_in,
    split_of,
    thinned_series,
    weight_of,
)
from aivj_assets.render.bench.usage import MemorySample, Usage

MACHINE = Machine(
    platform="linux",
    cpu_count=2,
    memory_bytes=2**34,
    browser_version="Chromium 1",
    renderer="llvmpipe",
    renderer_class="llvmpipe",
    page={},
)
TIMINGS = {
    "convert": 2.0, "load": 8.0, "js": 100.0, "gl": 300.0, "readback": 5.0, "encode": 25.0, "judge": 6.0,
    "write": 4.0, "total": 470.0,
}  # fmt: skip


def loop(presets: int, wall_s: float) -> LoopFigures:
    return loop_figures(Usage(), ok=presets, failed=0, captures=3 * presets, wall_s=wall_s, workers=1, renderer="x")


def render_bench(ours: LoopFigures, plain: LoopFigures) -> RenderBench:
    return RenderBench(
        generated_at="now", interrupted=False, machine=MACHINE, parameters={}, seed=1, block=2, presets=[], ours=ours,
        plain=plain, split=None, plain_weight=None, failures={},
    )  # fmt: skip


def test_the_split_sums_to_the_workers_time() -> None:
    split = split_of([TIMINGS, TIMINGS], presets=2, wall_s=1.0, workers=2, shards_s=1.4)
    assert split is not None
    assert (split.load_ms, split.js_ms, split.gl_ms) == (10.0, 100.0, 300.0)
    assert (split.readback_ms, split.encode_ms, split.write_ms) == (5.0, 25.0, 10.0)
    assert split.wall_ms == 1000.0
    assert split.idle_ms == pytest.approx(550.0)
    parts = [value for name, value in split.model_dump(exclude={"idle_of_which"}).items() if name != "wall_ms"]
    assert sum(parts) == pytest.approx(split.wall_ms)
    assert split.idle_of_which == pytest.approx({"calls": 20.0, "shards": 230.0, "outside": 300.0})
    assert sum(split.idle_of_which.values()) == pytest.approx(split.idle_ms)


def test_presets_without_timings_count_all_the_same() -> None:
    split = split_of([TIMINGS], presets=2, wall_s=1.0, workers=1, shards_s=1.0)
    assert split is not None
    assert (split.gl_ms, split.wall_ms) == (150.0, 500.0)
    assert split_of([], presets=0, wall_s=1.0, workers=1, shards_s=0.0) is None


def test_the_ratio_is_of_rates_and_not_of_times() -> None:
    bench = render_bench(loop(200, 100.0), loop(50, 100.0))
    assert bench.ratio == 4.0
    assert {target.name: target.reached for target in bench.targets} == {
        "presets a second": True,
        "presets a second, aim": False,
        "ratio to the plain loop": True,
        "ratio to the plain loop, aim": False,
        "presets in 8 h": True,
    }
    told = bench.to_json()
    assert told["presets_in_8_h"] == 57_600
    assert told["ours"]["presets_per_s"] == 2.0
    assert told["targets"][2] == {
        "name": "ratio to the plain loop", "value": 4.0, "comparison": ">=", "threshold": 3.5, "unit": "",
        "reached": True,
    }  # fmt: skip


def test_without_a_plain_loop_there_is_no_ratio_and_no_target_reached() -> None:
    bench = render_bench(loop(10, 4.0), loop(0, 0.0))
    assert bench.ratio is None
    assert [target.reached for target in bench.targets if "ratio" in target.name] == [False, False]


def test_a_plain_loop_that_got_heavier_presets_is_told() -> None:
    timings = {"a": {"total": 100.0}, "b": {"total": 300.0}, "c": {"total": 200.0}, "d": {"gl": 1.0}}
    weight = weight_of(timings, {"b", "d", "x"})
    assert weight == 1.5
    assert weight_of(timings, set(timings)) == 1.0
    assert weight_of(timings, set()) is None
    bench = render_bench(loop(200, 100.0), loop(50, 100.0)).model_copy(update={"plain_weight": weight})
    assert bench.to_json()["ratio_over_equal_presets"] == pytest.approx(4 / 1.5)


def test_extrapolation_counts_whole_presets() -> None:
    assert presets_in(8 * 3600, 1.5) == 43_200
    assert presets_in(10, 0.19) == 1
    assert presets_in(10, None) is None


def test_a_target_may_ask_for_less() -> None:
    assert Target(name="x", value=10.0, comparison="<=", threshold=10.0).reached
    assert not Target(name="x", value=10.1, comparison="<=", threshold=10.0).reached
    assert not Target(name="x", value=None, comparison="<=", threshold=10.0).reached


def test_cpu_is_shared_out_over_presets() -> None:
    shares = cpu_by_role({"gpu": 6.0, "worker": 1.0}, 2)
    assert (shares["gpu"], shares["worker"], shares["page"], shares["total"]) == (3.0, 0.5, 0.0, 3.5)
    assert cpu_by_role({"gpu": 6.0}, 0) == {}


def test_distribution_takes_the_nearest_rank() -> None:
    assert distribution([float(value) for value in range(20, 0, -1)]) == {
        "mean": 10.5,
        "p95": 19.0,
        "max": 20.0,
        "n": 20,
    }
    assert distribution([3.0]) == {"mean": 3.0, "p95": 3.0, "max": 3.0, "n": 1}
    assert distribution([]) == {}


def test_memory_trends_compare_the_first_and_the_last_quarter() -> None:
    samples = [MemorySample(at, {"gpu": size, "page": 10}) for at, size in enumerate([10, 20, 90, 90, 90, 90, 30, 30])]
    trends = memory_trends(samples)
    assert trends["gpu"] == MemoryTrend(first_quarter_bytes=15.0, last_quarter_bytes=30.0, peak_bytes=90)
    assert trends["gpu"].growth_fraction == 1.0
    assert trends["total"].peak_bytes == 100
    assert trends["total"].first_quarter_bytes == 25.0
    assert trends["driver"].growth_fraction is None
    assert memory_trends(samples[:3]) == {}


def test_a_long_series_is_thinned() -> None:
    samples = [MemorySample(at / 2, {"gpu": at}) for at in range(5000)]
    series = thinned_series(samples, most=2000)
    assert len(series) == 1667
    assert series[1] == {"at_s": 1.5, "gpu": 3}
    assert len(thinned_series(samples[:10], most=2000)) == 10


def soak(first: Any, again: Any, **more: Any) -> SoakBench:
    phases = [
        Phase(name=name, presets=3, ok=ok, failed=3 - ok, wall_s=1, cpu_s={"total": cpu_s})
        for name, (ok, cpu_s) in {"first": first, "middle": (3, 99.0), "again": again}.items()
    ]
    fields: dict[str, Any] = {
        "generated_at": "now", "interrupted": False, "machine": MACHINE, "parameters": {}, "seed": 1, "workers": 1,
        "repeat": 3, "phases": phases, "differing": [], "memory": {}, "series": [],
    }  # fmt: skip
    return SoakBench(**(fields | more))


def test_the_same_presets_must_cost_the_same_at_the_end() -> None:
    bench = soak((3, 100.0), (2, 104.0))
    assert bench.cpu_difference_fraction == pytest.approx(0.04)
    assert bench.targets[0].reached
    assert not soak((3, 100.0), (3, 94.0)).targets[0].reached
    growing = MemoryTrend(first_quarter_bytes=100, last_quarter_bytes=120, peak_bytes=130)
    bench = soak((3, 100.0), (3, 100.0), memory={"total": growing}, differing=["p1"])
    assert [target.reached for target in bench.targets] == [True, False, False]
    assert bench.to_json()["memory"]["total"]["growth_fraction"] == pytest.approx(0.2)


def test_a_long_run_that_was_cut_short_has_no_difference() -> None:
    cut = soak((3, 100.0), (3, 50.0))
    cut.phases[2].ok, cut.phases[2].failed = 1, 0
    assert cut.cpu_difference_fraction is None
    assert not any(target.reached for target in cut.targets)


def test_idle_may_be_below_zero_where_parts_overlap() -> None:
    split = split_of([TIMINGS], presets=1, wall_s=0.4, workers=1, shards_s=0.4)
    assert isinstance(split, Split)
    assert split.idle_ms == pytest.approx(-50.0)
