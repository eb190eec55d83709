"""Each strategy by what a user notices: which ids change, which appear, which are gone; and every way to be refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from aivj_assets.cluster import rows as rows_module
from aivj_assets.cluster.lloyd import exact_sums, inertia, nearest
from aivj_assets.cluster.rows import FloatRows, RowParts
from aivj_assets.cluster.state import LineageState
from aivj_assets.cluster.strategies import DEFAULT_STRATEGY, STRATEGIES, StepResult, step
from aivj_assets.errors import UserError
from aivj_assets_tests.growth_builders import DIM, MODEL, Lineage, small_parameters, style_rows, unit

KNOWN = dict.fromkeys(range(4), 60)


def four_styles(**parameters: Any) -> Lineage:
    """Styles 0 to 3, 60 presets each, in clusters 0 to 3."""
    rows, truth = style_rows(KNOWN, seed=1)
    return Lineage(small_parameters(**parameters)).start_with(rows, truth)


def figures(result: StepResult) -> tuple[Any, ...]:
    """All that a step returned, to the last bit, but for what is in row order."""
    facts, arrays = result.state.to_plain()
    arrays_bytes = {name: array.tobytes() for name, array in arrays.items()}
    return facts, arrays_bytes, result.births, result.retirements, result.migration


def check_accounts(lineage: Lineage, result: StepResult) -> None:
    """Hold a result against the lineage before it: the migration accounts for every change and nothing is lost."""
    before, after = lineage.labels, result.published
    moved = np.flatnonzero(before != after)
    changes = result.changes
    assert changes.rows.tolist() == moved.tolist()
    assert changes.old.tolist() == before[moved].tolist()
    assert changes.new.tolist() == after[moved].tolist()
    pairs = {(line.old, line.new): line.presets for line in result.migration}
    assert sum(pairs.values()) == len(moved)
    assert all(((before == old) & (after == new)).sum() == count for (old, new), count in pairs.items())
    state = result.state
    everything = np.concatenate([after, result.new_labels])
    assert set(everything.tolist()) == set(state.numbers.tolist())
    assert np.bincount(state.places(everything), minlength=state.k).tolist() == state.sizes.tolist()
    assert lineage.state is not None
    gone = set(lineage.state.numbers.tolist()) - set(state.numbers.tolist())
    assert {retired.number for retired in result.retirements} == gone
    assert state.retired == lineage.state.retired + result.retirements


# --- the first version


def test_the_first_batch_is_fitted_with_ids_by_size_whatever_the_strategy() -> None:
    rows, truth = style_rows({0: 30, 1: 60, 2: 45}, seed=1)
    results = []
    for strategy in STRATEGIES:
        lineage = Lineage(small_parameters(3))
        results.append(lineage.add(strategy, rows, "b1"))
        assert lineage.now.kind == "first"
        assert lineage.now.sizes.tolist() == [60, 45, 30]
        assert lineage.now.born_in == ("b1", "b1", "b1")
        assert adjusted_rand_score(truth, lineage.labels) == 1
    assert len({str(figures(result)[1]) for result in results}) == 1


# --- lineage


def test_lineage_assigns_a_batch_and_leaves_published_presets_alone() -> None:
    lineage = four_styles()
    before = lineage.labels.copy()
    batch, truth = style_rows({0: 25, 1: 25, 2: 25, 3: 25}, seed=2)
    result = lineage.tried("lineage", batch, "b1")
    check_accounts(lineage, result)
    assert len(result.changes) == 0
    np.testing.assert_array_equal(result.published, before)
    np.testing.assert_array_equal(result.new_labels, truth)
    assert (result.state.kind, result.state.version, result.births, result.migration) == ("extend", 2, (), ())


def test_lineage_never_moves_a_published_preset_over_many_batches_with_births_and_drift() -> None:
    lineage = four_styles(k_limit=9)
    for number in range(8):
        random = np.random.default_rng(number)
        batch, _ = style_rows({**dict.fromkeys(range(4), 20), 5 + number: 25}, seed=20 + number, noise=0.8)
        drifted = unit(batch + 0.05 * number * np.roll(np.eye(DIM), 1, axis=1)[random.integers(0, 4, len(batch))])
        before = lineage.labels.copy()
        result = lineage.tried("lineage", drifted, f"b{number}")
        check_accounts(lineage, result)
        lineage.add("lineage", drifted, f"b{number}")
        np.testing.assert_array_equal(lineage.labels[: len(before)], before)
    assert lineage.now.k == 9
    assert lineage.now.retired == ()
    assert lineage.now.numbers.tolist() == list(range(9))


def test_a_new_style_founds_a_cluster_that_later_batches_join() -> None:
    lineage = four_styles()
    batch, truth = style_rows({**KNOWN, 7: 30}, seed=2)
    result = lineage.add("lineage", batch, "b1")
    (birth,) = result.births
    assert birth.number == 4
    assert set(result.new_labels[truth == 7].tolist()) == {4}
    assert lineage.now.born_in == ("start", "start", "start", "start", "b1")
    later, later_truth = style_rows({7: 20, 0: 20}, seed=3)
    joined = lineage.add("lineage", later, "b2")
    assert joined.births == ()
    np.testing.assert_array_equal(joined.new_labels, np.where(later_truth == 7, 4, 0))


@pytest.mark.parametrize("strategy", ["lineage", "minor", "major"])
def test_births_stop_at_the_k_limit(strategy: str) -> None:
    lineage = four_styles(k_limit=6)
    batch, _ = style_rows({**KNOWN, **dict.fromkeys(range(8, 13), 25)}, seed=2)
    result = lineage.add(strategy, batch, "b1")
    assert len(result.births) == 2
    assert lineage.now.k == 6
    more, _ = style_rows({**KNOWN, 15: 40}, seed=4)
    assert lineage.add(strategy, more, "b2").births == ()


@pytest.mark.parametrize("strategy", ["lineage", "minor", "major"])
def test_noise_and_groups_that_are_too_small_found_nothing(strategy: str) -> None:
    batch, _ = style_rows({**KNOWN, 8: 9, 9: 9}, seed=2)
    noise = unit(np.random.default_rng(3).normal(size=(30, DIM)))
    result = four_styles().tried(strategy, np.concatenate([batch, noise]), "b1")
    assert result.births == ()
    assert result.state.numbers.tolist() == [0, 1, 2, 3]


# --- warm start, hungarian, versioned


def overlapping(seed: int, count: int = 60) -> FloatRows:
    """Six styles that overlap so much that a re-fit with four clusters moves many presets."""
    return style_rows(dict.fromkeys(range(6), count), seed=seed, noise=1.3)[0]


def test_warm_start_runs_k_means_from_the_last_centroids_and_keeps_every_id() -> None:
    lineage = Lineage(small_parameters(4))
    lineage.add("warm_start", overlapping(1), "b1")
    before = lineage.now
    result = lineage.tried("warm_start", overlapping(2), "b2")
    check_accounts(lineage, result)
    assert result.state.numbers.tolist() == [0, 1, 2, 3]
    assert len(result.changes) > 0
    rows, labels = lineage.library + RowParts.of(overlapping(2)), np.concatenate([result.published, result.new_labels])
    # Converged: each preset is with the nearest of the centroids, which are the directions of their presets.
    np.testing.assert_array_equal(nearest(rows, result.state.centroids), labels)
    frozen = np.concatenate([lineage.labels, nearest(RowParts.of(overlapping(2)), before.centroids)])
    assert inertia(result.state.sums, len(rows)) < inertia(exact_sums(rows, frozen, 4), len(rows))


def test_hungarian_fits_anew_and_the_nearest_centroid_inherits_the_id() -> None:
    lineage = four_styles()
    batch, truth = style_rows(KNOWN, seed=2)
    result = lineage.tried("hungarian", batch, "b1")
    check_accounts(lineage, result)
    assert len(result.changes) == 0
    np.testing.assert_array_equal(result.new_labels, truth)
    cosines = np.einsum("ij,ij->i", result.state.centroids, lineage.now.centroids)
    assert result.state.numbers.tolist() == [0, 1, 2, 3]
    assert cosines.min() > 0.98


def test_hungarian_moves_published_presets_where_the_new_fit_says_so() -> None:
    lineage = Lineage(small_parameters(4))
    lineage.add("hungarian", overlapping(1), "b1")
    result = lineage.tried("hungarian", overlapping(2), "b2")
    check_accounts(lineage, result)
    assert 0 < len(result.changes) < len(lineage.labels)
    assert result.state.numbers.tolist() == [0, 1, 2, 3]


def test_hungarian_gives_unmatched_clusters_new_ids_and_retires_unmatched_former_ones() -> None:
    lineage = four_styles()
    lineage.parameters = replace(lineage.parameters, k=6)
    batch, truth = style_rows({**KNOWN, 8: 40, 9: 20}, seed=2)
    result = lineage.add("hungarian", batch, "b1")
    assert lineage.now.numbers.tolist() == [0, 1, 2, 3, 4, 5]
    assert set(result.new_labels[truth == 8].tolist()) == {4}
    assert set(result.new_labels[truth == 9].tolist()) == {5}
    lineage.parameters = replace(lineage.parameters, k=3)
    fewer = lineage.tried("hungarian", style_rows(KNOWN, seed=3)[0], "b2")
    check_accounts(lineage, fewer)
    assert fewer.state.k == 3
    assert len(fewer.retirements) == 3
    for gone in fewer.retirements:
        heirs = [line for line in fewer.migration if line.old == gone.number]
        assert gone.into == max(heirs, key=lambda line: line.presets).new
        assert gone.version == 3


def test_versioned_changes_every_id_and_uses_none_again() -> None:
    lineage = four_styles()
    result = lineage.tried("versioned", style_rows(KNOWN, seed=2)[0], "b1")
    check_accounts(lineage, result)
    assert result.state.numbers.tolist() == [4, 5, 6, 7]
    assert len(result.changes) == len(lineage.labels)
    assert [gone.number for gone in result.retirements] == [0, 1, 2, 3]
    assert adjusted_rand_score(lineage.labels, result.published) == 1
    # Their heirs are the clusters that their presets are in.
    for gone in result.retirements:
        assert set(result.published[lineage.labels == gone.number].tolist()) == {gone.into}


# --- ids


def test_an_id_that_is_gone_never_comes_back() -> None:
    """Strategies one after the other, with a k that shrinks and grows: every number that appears is new."""
    lineage = four_styles()
    ever, gone = set(range(4)), set[int]()
    for number, (strategy, k) in enumerate(
        [
            ("versioned", 4), ("hungarian", 2), ("lineage", 3), ("hungarian", 5), ("minor", 5), ("versioned", 3),
            ("major", 4), ("warm_start", 4), ("hungarian", 2), ("hungarian", 6), ("lineage", 6),
        ]
    ):  # fmt: skip
        lineage.parameters = replace(lineage.parameters, k=k, k_limit=20)
        before = set(lineage.now.numbers.tolist())
        batch, _ = style_rows({**dict.fromkeys(range(4), 20), 6 + number: 24}, seed=50 + number)
        check_accounts(lineage, lineage.tried(strategy, batch, f"b{number}"))
        lineage.add(strategy, batch, f"b{number}")
        now = set(lineage.now.numbers.tolist())
        gone |= before - now
        assert not now & gone
        assert not (now - before) & ever
        ever |= now
        assert {retired.number for retired in lineage.now.retired} == gone
        assert lineage.now.next_number > max(ever)
    assert len(gone) > 8


# --- results are a function of the rows


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_order_parts_chunks_and_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch, strategy: str) -> None:
    rows = [style_rows(dict.fromkeys(range(8), 45), seed=seed, noise=1.2)[0] for seed in (1, 2)]
    batch = np.concatenate([rows[1], style_rows({12: 40}, seed=3, noise=0.7)[0], rows[0][:20]])
    parameters = small_parameters(7, k_limit=12)
    results: list[StepResult] = []
    orders: list[Any] = []
    for threads, chunk in ((1, 8192), (2, 41)):
        random = np.random.default_rng(threads)
        orders = [np.arange(360), np.arange(len(batch))] if threads == 1 else [
            random.permutation(360), random.permutation(len(batch))
        ]  # fmt: skip
        monkeypatch.setattr(rows_module, "CHUNK_ROWS", chunk)
        cut = 0 if threads == 1 else 133
        with threadpool_limits(limits=threads):
            lineage = Lineage(parameters)
            old, new = rows[0][orders[0]], batch[orders[1]]
            lineage.add(strategy, old, "b1")
            lineage.library = RowParts.of(old[:cut], old[cut:])
            result = step(
                strategy, lineage.state, lineage.library, lineage.labels, RowParts.of(new[:cut], new[cut:]),
                batch="b2", model=MODEL, parameters=parameters,
            )  # fmt: skip
        results.append(result)
    one, two = results
    assert figures(one) == figures(two)
    np.testing.assert_array_equal(one.published[orders[0]], two.published)
    np.testing.assert_array_equal(one.new_labels[orders[1]], two.new_labels)
    gains = [dict(zip(result.changes.rows.tolist(), result.changes.gain.tolist(), strict=True)) for result in results]
    assert gains[1] == {row: gains[0][old] for row, old in enumerate(orders[0].tolist()) if old in gains[0]}


@settings(deadline=None, max_examples=12)
@given(st.randoms(use_true_random=False), st.integers(0, 164))
def test_lineage_does_not_depend_on_the_order_of_a_batch_or_on_its_parts(random: Any, cut: int) -> None:
    lineage = four_styles()
    batch, _ = style_rows({**dict.fromkeys(range(4), 30), 7: 25, 8: 20}, seed=5)
    order = list(range(len(batch)))
    random.shuffle(order)
    mixed = batch[order]
    plain = lineage.tried("lineage", batch, "b1")
    result = step(
        "lineage", lineage.state, lineage.library, lineage.labels, RowParts.of(mixed[:cut], mixed[cut:]),
        batch="b1", model=MODEL, parameters=lineage.parameters,
    )  # fmt: skip
    assert len(plain.births) == 2
    assert figures(result) == figures(plain)
    np.testing.assert_array_equal(result.new_labels, plain.new_labels[order])


def test_the_seed_and_nothing_else_decides() -> None:
    rows = style_rows(dict.fromkeys(range(8), 45), seed=1, noise=1.4)[0]
    labels = [Lineage(small_parameters(7, seed=seed)).add("lineage", rows, "b1").new_labels for seed in (1, 1, 2)]
    np.testing.assert_array_equal(labels[0], labels[1])
    assert (labels[0] != labels[2]).any()


def test_a_step_changes_nothing_that_it_was_given() -> None:
    lineage = four_styles()
    facts, arrays = lineage.now.to_plain()
    kept = str(facts), {name: array.copy() for name, array in arrays.items()}
    labels, rows = lineage.labels.copy(), lineage.library.take(np.arange(240))
    for strategy in STRATEGIES:
        lineage.tried(strategy, overlapping(3), "b1")
    facts, arrays = lineage.now.to_plain()
    assert str(facts) == kept[0]
    assert all(np.array_equal(arrays[name], kept[1][name]) for name in arrays)
    np.testing.assert_array_equal(lineage.labels, labels)
    np.testing.assert_array_equal(lineage.library.take(np.arange(240)), rows)


def test_versions_are_recorded_with_each_state() -> None:
    libraries = four_styles().add("lineage", overlapping(2), "b1").state.libraries
    assert {"numpy", "scikit-learn", "blas", "threads", "dtype"} <= set(libraries)


# --- refusals


def refused(lineage: Lineage, says: str, act: Callable[[], object]) -> None:
    state, labels = lineage.state, lineage.labels.copy()
    with pytest.raises(UserError, match=says) as told:
        act()
    assert "\n" not in str(told.value)
    assert lineage.state is state
    np.testing.assert_array_equal(lineage.labels, labels)


def test_a_strategy_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    lineage = four_styles()
    refused(lineage, "named 'kmeans'; there are lineage, minor", lambda: lineage.add("kmeans", overlapping(2), "b1"))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_bad_rows_are_refused(strategy: str) -> None:
    lineage, batch = four_styles(), overlapping(2)
    spoiled = batch.copy()
    spoiled[7, 3] = np.nan
    refused(lineage, r"1 of 360 .* of batch b1 .*row 7\)", lambda: lineage.add(strategy, spoiled, "b1"))
    long = batch * np.float32(2)
    refused(lineage, "360 of 360 .* not finite rows of unit length", lambda: lineage.add(strategy, long, "b1"))
    wide = style_rows({0: 30}, seed=1, dim=30)[0]
    refused(lineage, "batch b1 has embeddings of 30 dim.* of 24", lambda: lineage.tried(strategy, wide, "b1"))


def test_another_model_is_refused_and_both_are_named() -> None:
    lineage = four_styles()
    lineage.model = "b" * 64
    refused(
        lineage,
        "model card bbbbbbbbbbbb, the lineage with aaaaaaaaaaaa",
        lambda: lineage.add("lineage", overlapping(2), "b1"),
    )


def test_a_batch_comes_once_by_key_and_by_content() -> None:
    lineage = four_styles()
    lineage.add("lineage", overlapping(2), "b1")
    refused(lineage, "batch b1 is in the lineage already; remove", lambda: lineage.add("lineage", overlapping(3), "b1"))
    same = overlapping(2)[::-1].copy()
    refused(lineage, "b2 is in the lineage already as batch b1", lambda: lineage.add("lineage", same, "b2"))


@pytest.mark.parametrize("strategy", ["versioned", "hungarian"])
def test_fewer_presets_than_k_are_refused(strategy: str) -> None:
    empty = Lineage(small_parameters(50))
    refused(
        empty,
        "40 embedded presets are fewer than k 50; set a smaller k",
        lambda: empty.add(strategy, style_rows({0: 40}, seed=1)[0], "b1"),
    )
    lineage = four_styles()
    lineage.parameters = replace(lineage.parameters, k=300)
    refused(
        lineage,
        "280 embedded presets are fewer than k 300",
        lambda: lineage.add(strategy, style_rows({0: 40}, seed=1)[0], "b1"),
    )


def test_a_k_limit_below_the_clusters_there_are_is_refused() -> None:
    lineage = four_styles()
    lineage.parameters = small_parameters(4, k_limit=3)
    refused(lineage, "k limit 3 is below the 4 clusters", lambda: lineage.add("lineage", overlapping(2), "b1"))
    first = Lineage(small_parameters(4, k_limit=3))
    refused(first, "k limit 3 is below", lambda: first.add("lineage", overlapping(2), "b1"))
    zero = Lineage(small_parameters(0))
    refused(zero, "k 0 must be at least 1", lambda: zero.add("lineage", overlapping(2), "b1"))


def test_published_assignments_of_another_version_are_refused() -> None:
    lineage = four_styles()
    right = lineage.labels
    swapped = np.where(right == 0, 1, right)
    for labels, says in (
        (right[:-1], "239 published assignments of 240 rows are not those of version 1"),
        (swapped, "240 published assignments of 240 rows are not those of version 1"),
        (np.where(right == 0, 9, right), "name cluster c09, which version 1"),
        (np.empty(0, np.int64), "0 published assignments of 240 rows"),
    ):
        lineage.labels = labels
        refused(lineage, says, lambda: lineage.add("lineage", overlapping(2), "b1"))


def test_a_state_that_contradicts_itself_is_refused() -> None:
    lineage = four_styles()
    lineage.state = replace(lineage.now, next_number=2)
    refused(
        lineage, "version 1 of the lineage contradicts itself", lambda: lineage.add("lineage", overlapping(2), "b1")
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_batch_without_rows_or_rows_without_a_batch_are_refused(strategy: str) -> None:
    lineage = four_styles()
    refused(lineage, "batch b1 has no embedded preset", lambda: lineage.add(strategy, None, "b1"))
    refused(lineage, "needs its key", lambda: lineage.add(strategy, overlapping(2), None))
    if strategy not in {"minor", "major"}:
        refused(lineage, "the batch has no embedded preset", lambda: lineage.add(strategy, None, None))
    empty = Lineage()
    refused(empty, "0 embedded presets are fewer than k 4", lambda: empty.add(strategy, None, "b1"))


def test_the_default_is_the_one_that_moves_nothing() -> None:
    assert DEFAULT_STRATEGY == "lineage" == STRATEGIES[0]
    assert isinstance(four_styles().now, LineageState)
