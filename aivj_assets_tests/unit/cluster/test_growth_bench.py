"""The benchmark's figures against ones counted by hand, on growths small enough to check."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from rich.console import Console

from aivj_assets.cluster import growth_bench, growth_tables
from aivj_assets.cluster.growth import Growth, GrowthPlan
from aivj_assets.cluster.growth_bench import COMPARED, GrowthBench, StepFigures, bench_growth
from aivj_assets.cluster.growth_scale import ScaleBench, bench_scale
from aivj_assets.cluster.lloyd import exact_sums, fit_anew
from aivj_assets.cluster.memory import PeakMemory
from aivj_assets.cluster.rows import Labels, RowParts
from aivj_assets.cluster.state import LineageParameters
from aivj_assets.cluster.strategies import StepResult, step
from aivj_assets.errors import UserError
from aivj_assets_tests.growth_builders import small_parameters

TINY = GrowthPlan(
    seed=3, styles=10, late_fraction=0.3, steps=4, first=300, middle=500, final=1100, dim=24, intrinsic_dim=10
)
PARAMETERS = small_parameters(6, k_limit=12)


@pytest.fixture(scope="module")
def bench() -> GrowthBench:
    return bench_growth(TINY, parameters=PARAMETERS, major_at=700)


def replayed(strategy: str, acts: list[str]) -> list[tuple[StepResult, Labels, Labels]]:
    """Each version again: (result, assignments before, assignments after)."""
    rows = [RowParts.of(batch.rows) for batch in Growth.draw(TINY).batches()]
    state, library, labels = None, RowParts.of(), np.empty(0, np.int64)
    versions = []
    coming = iter(enumerate(rows))
    for act in acts:
        number, new = (None, RowParts.of(rows[0].parts[0][:0])) if act == "major" else next(coming)
        result = step(
            act, state, library, labels, new, batch=None if number is None else f"batch-{number + 1:04d}",
            model="simulated", parameters=PARAMETERS,
        )  # fmt: skip
        after = np.concatenate([result.published, result.new_labels])
        versions.append((result, labels, after))
        state, labels, library = result.state, after, library + new
    return versions


def test_every_strategy_is_measured_after_each_batch_and_the_default_has_one_major(bench: GrowthBench) -> None:
    assert [one.strategy for one in bench.strategies] == list(COMPARED)
    assert "major" not in COMPARED
    assert sum(bench.batches) == 1100
    for strategy in bench.strategies:
        kinds = [figures.kind for figures in strategy.steps]
        if strategy.strategy == "lineage":
            assert kinds == ["first", "extend", "extend", "major", "extend"]
            assert [one.presets for one in strategy.majors()] == [800]
        else:
            assert kinds == ["first", *[strategy.strategy] * 3]
            assert strategy.majors() == []
        assert [one.presets for one in strategy.steps if one.kind != "major"] == np.cumsum(bench.batches).tolist()
        assert len(strategy.batches()) == 3


@pytest.mark.parametrize(
    ("strategy", "acts"),
    [("lineage", ["lineage"] * 3 + ["major", "lineage"]), ("hungarian", ["hungarian"] * 4), ("minor", ["minor"] * 4)],
)
def test_churn_inertia_and_counts_are_those_counted_by_hand(bench: GrowthBench, strategy: str, acts: list[str]) -> None:
    figures = next(one for one in bench.strategies if one.strategy == strategy).steps
    truth = np.concatenate([batch.truth for batch in Growth.draw(TINY).batches()])
    rows = np.concatenate([batch.rows for batch in Growth.draw(TINY).batches()])
    first: dict[int, int] = {}
    versions = replayed(strategy, acts)
    for one, (result, before, after) in zip(figures, versions, strict=True):
        for row, number in enumerate(after.tolist()):
            first.setdefault(row, number)
        changed = sum(old != new for old, new in zip(before.tolist(), after.tolist(), strict=False))
        assert one.churn == pytest.approx(changed / len(before) if len(before) else 0)
        since = sum(first[row] != number for row, number in enumerate(after.tolist()))
        assert one.since_first == pytest.approx(since / len(after))
        assert (one.k, one.births, one.retired) == (
            len(set(after.tolist())), len(result.births), len(result.retirements),
        )  # fmt: skip
        sizes = np.unique(after, return_counts=True)[1]
        assert (one.smallest, one.largest_fraction) == (sizes.min(), pytest.approx(sizes.max() / len(after)))
        shares = sizes / len(after)
        assert one.size_entropy == pytest.approx(-(shares * np.log(shares)).sum() / np.log(len(sizes)))
        assert one.inertia == pytest.approx(mean_squared_distance(rows[: len(after)], after), abs=1e-6)
        refit = fit_anew(RowParts.of(rows[: len(after)]), one.k, seed=TINY.seed + 1000 + one.step - 1)
        assert one.inertia_ratio == pytest.approx(
            one.inertia / mean_squared_distance(rows[: len(after)], refit.labels), abs=1e-5
        )
        assert one.late_found == found_by_hand(truth[: len(after)], after, one.step - 1)
        assert one.late_found_refit == found_by_hand(truth[: len(after)], refit.labels, one.step - 1)
    assert any(one.churn for one in figures)


def mean_squared_distance(rows: np.ndarray, labels: np.ndarray) -> float:
    total = 0.0
    for label in set(labels.tolist()):
        mine = rows[labels == label].astype(np.float64)
        centre = mine.sum(axis=0) / np.linalg.norm(mine.sum(axis=0))
        total += ((mine - centre) ** 2).sum()
    return total / len(rows)


def found_by_hand(truth: np.ndarray, labels: np.ndarray, step_number: int) -> float | None:
    first_step = Growth.draw(TINY).first_step
    late = [style for style in range(TINY.styles) if 0 < first_step[style] <= step_number]
    if not late:
        return None

    def best(style: int) -> float:
        scores = []
        for label in set(labels.tolist()):
            both = ((truth == style) & (labels == label)).sum()
            recall, precision = both / (truth == style).sum(), both / (labels == label).sum()
            scores.append(2 * recall * precision / (recall + precision) if both else 0.0)
        return max(scores)

    return sum(best(style) >= 0.5 for style in late) / len(late)


def test_the_default_changes_no_published_id_outside_its_major(bench: GrowthBench) -> None:
    lineage = bench.strategies[0]
    assert lineage.strategy == "lineage"
    assert [one.churn for one in lineage.batches()] == [0, 0, 0]
    assert 0 < lineage.majors()[0].churn <= 0.05
    versioned = next(one for one in bench.strategies if one.strategy == "versioned")
    assert [one.churn for one in versioned.batches()] == [1, 1, 1]
    minor = next(one for one in bench.strategies if one.strategy == "minor")
    assert max(one.churn for one in minor.batches()) <= 0.02


def test_the_same_seed_gives_the_same_figures_but_for_time_and_memory(bench: GrowthBench) -> None:
    again = bench_growth(TINY, strategies=["lineage", "lineage"], parameters=PARAMETERS, major_at=700)
    assert len(again.strategies) == 1
    varying = {"time_s", "peak_memory_bytes"}
    for one, other in zip(bench.strategies[0].steps, again.strategies[0].steps, strict=True):
        assert one.model_dump(exclude=varying) == other.model_dump(exclude=varying)


def test_without_a_major_there_is_none(bench: GrowthBench) -> None:
    plain = bench_growth(TINY, strategies=["lineage"], parameters=PARAMETERS, major_at=0)
    assert [one.kind for one in plain.strategies[0].steps] == ["first", "extend", "extend", "extend"]
    assert plain.strategies[0].steps[-1].since_first == 0


def test_figures_survive_json(bench: GrowthBench) -> None:
    assert GrowthBench.model_validate(json.loads(json.dumps(bench.to_json()))) == bench


def test_a_strategy_that_there_is_not_is_refused_before_anything_is_drawn() -> None:
    with pytest.raises(UserError, match="named 'kmeans'; there are lineage"):
        bench_growth(TINY, strategies=["lineage", "kmeans"], parameters=PARAMETERS, major_at=0)
    with pytest.raises(UserError, match="300 embedded presets are fewer than k 400"):
        bench_growth(TINY, strategies=["lineage"], parameters=LineageParameters(k=400), major_at=0)


def test_found_by_f1() -> None:
    truth = np.repeat([0, 1, 2], [10, 10, 10])
    # Style 0 has a cluster; style 1 shares one with a third of style 2, F1 20/23; style 2 is scattered.
    places = np.array([0] * 10 + [1] * 10 + [1] * 3 + [2] * 3 + [3] * 4)
    assert growth_bench._found(truth, places, np.array([0, 1, 2]), 3) == 1
    places[-4:] = [0, 0, 2, 4]
    assert growth_bench._found(truth, places, np.array([1, 2]), 3) == 1
    places[-8:-4] = [1, 1, 1, 0]
    assert growth_bench._found(truth, places, np.array([1, 2]), 3) == 0.5
    assert growth_bench._found(truth, places, np.empty(0, np.int64), 3) is None


def shown(bench: GrowthBench | ScaleBench) -> str:
    text = io.StringIO()
    console = Console(file=text, width=220, force_terminal=False)
    if isinstance(bench, ScaleBench):
        growth_tables.print_scale_bench(console, bench)
    else:
        growth_tables.print_growth_bench(console, bench)
    return text.getvalue()


def test_the_table_has_a_line_a_strategy_and_says_what_is_reached(bench: GrowthBench) -> None:
    text = shown(bench)
    for strategy in bench.strategies:
        assert f"│ {strategy.strategy} " in text
    assert "lineage: no published id changed outside a major: reached" in text
    assert "major of lineage at 800 presets" in text


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({"churn": 0.01}, "no published id changed outside a major"),
        ({"inertia_ratio": 1.03}, "inertia / re-fit at most 1.026 in the end"),
        ({"late_found": 0.1, "late_found_refit": 0.2}, "as many late styles found"),
    ],
)
def test_the_table_says_what_is_missed(bench: GrowthBench, change: dict[str, float], missed: str) -> None:
    lineage = bench.strategies[0]
    last = lineage.steps[-1].model_copy(
        update={"inertia_ratio": 1.0, "late_found": 1.0, "late_found_refit": 1.0, **change}
    )
    good = [one.model_copy(update={"inertia_ratio": 1.0}) for one in lineage.steps[:-1]]
    spoiled = bench.model_copy(update={"strategies": [lineage.model_copy(update={"steps": [*good, last]})]})
    lines = [line for line in shown(spoiled).splitlines() if line.startswith("lineage: ")]
    assert [line for line in lines if line.startswith(f"lineage: {missed}") and line.endswith("missed")]
    assert sum(line.endswith("missed") for line in lines) == (2 if "inertia" in missed else 1)


def test_what_acts_cost_is_measured_at_each_size() -> None:
    bench = bench_scale(TINY, sizes=[900, 400], batch_rows=100, parameters=PARAMETERS)
    assert [(one.act, one.presets, one.batch) for one in bench.figures] == [
        ("first", 400, 0), ("lineage", 400, 100), ("minor", 400, 100), ("major", 500, 0),
        ("first", 900, 0), ("lineage", 900, 100), ("minor", 900, 100), ("major", 1000, 0),
    ]  # fmt: skip
    for one in bench.figures:
        assert one.time_s > 0
        assert one.peak_memory_bytes > 10e6
        assert one.changed <= {"minor": 0.02, "major": 0.05}.get(one.act, 0) * one.presets
    text = shown(bench)
    assert "a batch of 100 with" in text
    assert "under 2 s: reached" in text
    slow = bench.figures[-1].model_copy(update={"time_s": 61.0, "peak_memory_bytes": 2 * 2**30})
    text = shown(bench.model_copy(update={"figures": [*bench.figures[:-1], slow]}))
    assert "a major at 1,000 presets under 60 s: missed" in text
    assert "both under 1.5 GiB: missed" in text


def test_peak_memory_sees_what_was_let_go_again() -> None:
    import time

    with PeakMemory() as before:
        pass
    with PeakMemory() as memory:
        held = np.ones(60_000_000 // 8)
        time.sleep(0.2)
        del held
    assert memory.peak_bytes - before.peak_bytes > 30e6


def test_an_inertia_is_that_of_the_sums(bench: GrowthBench) -> None:
    last: StepFigures = bench.strategies[0].steps[0]
    (result, _, after), *_ = replayed("lineage", ["lineage"])
    rows = RowParts.of(next(Growth.draw(TINY).batches()).rows)
    np.testing.assert_array_equal(exact_sums(rows, result.state.places(after), last.k), result.state.sums)
