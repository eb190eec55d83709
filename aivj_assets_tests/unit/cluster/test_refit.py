"""`minor` and `major`: what they may move, and what they found, merge and retire."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aivj_assets.cluster.lloyd import exact_sums, inertia, nearest
from aivj_assets.cluster.rows import RowParts
from aivj_assets.cluster.strategies import StepResult
from aivj_assets_tests.growth_builders import DIM, Lineage, small_parameters, style_rows


def gains_by_hand(lineage: Lineage, result: StepResult) -> np.ndarray:
    """Cosine of each moved preset with its new cluster's centroid minus that with its former one's."""
    rows = lineage.library.take(result.changes.rows).astype(np.float64)
    state, former = result.state, lineage.now
    centroids = dict(zip(former.numbers.tolist(), former.centroids, strict=True))
    centroids |= dict(zip(state.numbers.tolist(), state.centroids, strict=True))
    own = np.array([centroids[number] for number in result.changes.new.tolist()])
    since = np.array([centroids[number] for number in result.changes.old.tolist()])
    return (rows * own).sum(axis=1) - (rows * since).sum(axis=1)


def blurred(seed: int = 1) -> Lineage:
    """Six styles that overlap, with a tenth of the presets in a wrong cluster."""
    rows, truth = style_rows(dict.fromkeys(range(6), 100), seed=seed, noise=1.0)
    wrong = np.random.default_rng(seed).random(600) < 0.1
    return Lineage(small_parameters(6)).start_with(rows, np.where(wrong, (truth + 1) % 6, truth))


@pytest.mark.parametrize(("strategy", "budget"), [("minor", 12), ("major", 30)])
@pytest.mark.parametrize("with_batch", [True, False])
def test_published_presets_move_within_the_budget_and_only_for_the_gain(
    strategy: str, budget: int, with_batch: bool
) -> None:
    lineage = blurred()
    batch = style_rows(dict.fromkeys(range(6), 30), seed=7, noise=1.0)[0] if with_batch else None
    result = lineage.tried(strategy, batch, "b1" if with_batch else None)
    assert len(result.changes) == budget
    np.testing.assert_allclose(result.changes.gain, gains_by_hand(lineage, result), atol=1e-6)
    assert result.changes.gain.min() >= 0.02
    assert sum(line.presets for line in result.migration) == budget
    assert (result.published != lineage.labels).sum() == budget
    assert len(result.new_labels) == (180 if with_batch else 0)
    assert len(result.state.batches) == (2 if with_batch else 1)


def test_the_largest_gains_move_first() -> None:
    lineage = blurred()
    few = lineage.tried("minor", None, None)
    lineage.parameters = replace(lineage.parameters, minor_budget_fraction=1.0)
    all_of_them = lineage.tried("minor", None, None)
    assert len(all_of_them.changes) > 40
    moved_too = np.isin(all_of_them.changes.rows, few.changes.rows)
    assert moved_too.sum() == len(few.changes)
    assert np.median(all_of_them.changes.gain[moved_too]) > np.median(all_of_them.changes.gain[~moved_too])


@pytest.mark.parametrize("strategy", ["minor", "major"])
def test_no_move_gains_less_than_the_margin_with_the_centroids_that_result(strategy: str) -> None:
    """With a generous budget the moves themselves shift centroids: those that then gain too little are taken back."""
    for seed, noise in ((2, 1.0), (0, 1.6), (1, 1.6)):
        rows, truth = style_rows(dict.fromkeys(range(8), 60), seed=seed, noise=noise)
        mixed = np.where(np.random.default_rng(seed).random(480) < 0.5, truth % 4, (truth + 1) % 4)
        parameters = small_parameters(4, minor_budget_fraction=0.5, major_budget_fraction=0.5, min_gain=0.05)
        lineage = Lineage(parameters).start_with(rows, mixed)
        result = lineage.tried(strategy, style_rows({0: 40, 5: 40}, seed=9, noise=noise)[0], "b1")
        assert len(result.changes) > 20
        staying = ~np.isin(result.changes.old, [gone.number for gone in result.retirements])
        assert result.changes.gain[staying].min() >= 0.05


@pytest.mark.parametrize("strategy", ["minor", "major"])
def test_a_margin_that_nobody_gains_moves_nobody(strategy: str) -> None:
    lineage = blurred()
    lineage.parameters = replace(lineage.parameters, min_gain=2.0)
    result = lineage.tried(strategy, style_rows({0: 30}, seed=7)[0], "b1")
    assert len(result.changes) == 0
    assert result.migration == ()


@pytest.mark.parametrize("strategy", ["minor", "major"])
def test_what_moved_brings_the_library_nearer_to_its_centroids(strategy: str) -> None:
    lineage = blurred()
    result = lineage.tried(strategy, None, None)
    assert inertia(result.state.sums, 600) < inertia(lineage.now.sums, 600)
    assert result.state.sums.tobytes() == exact_sums(lineage.library, result.published, 6).tobytes()


def test_a_minor_founds_a_cluster_for_a_new_style_of_its_batch() -> None:
    rows, labels = style_rows(dict.fromkeys(range(6), 100), seed=1, noise=1.0)
    lineage = Lineage(small_parameters(6)).start_with(rows, labels)
    batch, truth = style_rows({**dict.fromkeys(range(6), 40), 9: 40}, seed=7, noise=1.0)
    result = lineage.tried("minor", batch, "b1")
    assert [birth.number for birth in result.births] == [6]
    assert (result.new_labels[truth == 9] == 6).mean() > 0.9
    assert len(result.changes) <= 12


def test_a_major_finds_a_style_that_published_presets_were_hiding() -> None:
    """Batches too small for a birth brought a style into others' clusters; together they are enough."""
    lineage = Lineage(small_parameters(5, major_budget_fraction=0.2))
    rows, truth = style_rows(dict.fromkeys(range(5), 80), seed=1)
    lineage.start_with(rows, truth)
    for number in range(4):
        few, _ = style_rows({**dict.fromkeys(range(5), 10), 9: 8}, seed=10 + number)
        assert lineage.add("lineage", few, f"b{number}").births == ()
    hidden = lineage.library.take(np.arange(len(lineage.library))) @ np.eye(DIM, dtype=np.float32)[9] > 0.7
    result = lineage.tried("major", None, None)
    (birth,) = result.births
    assert birth.number == 5
    assert (result.published[hidden] == 5).all()
    assert set(result.changes.new.tolist()) == {5}
    assert result.state.k == 6


def test_a_major_merges_two_halves_of_one_style_and_retires_the_smaller() -> None:
    rows, truth = style_rows(dict.fromkeys(range(5), 200), seed=1, noise=0.3)
    halves = np.where((truth == 4) & (np.cumsum(truth == 4) > 180), 5, truth)
    lineage = Lineage(small_parameters(6))
    lineage.start_with(rows, halves)
    result = lineage.add("major", None, None)
    (gone,) = result.retirements
    assert (gone.number, gone.into) == (5, 4)
    assert "major" in gone.reason
    (line,) = result.migration
    assert (line.old, line.new, line.presets) == (5, 4, 20)
    assert lineage.now.numbers.tolist() == [0, 1, 2, 3, 4]
    later = lineage.add("lineage", style_rows({0: 40, 12: 40}, seed=4, noise=0.3)[0], "b1")
    assert [birth.number for birth in later.births] == [6]


def test_a_merge_that_the_budget_does_not_allow_is_left_undone() -> None:
    rows, truth = style_rows(dict.fromkeys(range(5), 200), seed=1, noise=0.3)
    halves = np.where((truth == 4) & (np.cumsum(truth == 4) > 100), 5, truth)
    lineage = Lineage(small_parameters(6)).start_with(rows, halves)
    result = lineage.tried("major", None, None)
    assert result.retirements == ()
    assert len(result.changes) <= 50


def test_merges_and_moves_share_one_budget() -> None:
    rows, truth = style_rows(dict.fromkeys(range(5), 200), seed=1, noise=0.3)
    halves = np.where((truth == 4) & (np.cumsum(truth == 4) > 180), 5, truth)
    wrong = np.random.default_rng(1).permutation(np.flatnonzero(truth < 4))[:60]
    halves[wrong] = (truth[wrong] + 1) % 4
    result = Lineage(small_parameters(6)).start_with(rows, halves).tried("major", None, None)
    assert [gone.number for gone in result.retirements] == [5]
    assert sum(line.presets for line in result.migration if line.old == 5) == 20
    assert len(result.changes) == 50


def test_a_major_without_anything_to_mend_changes_nothing() -> None:
    rows, truth = style_rows(dict.fromkeys(range(5), 100), seed=1)
    lineage = Lineage(small_parameters(5)).start_with(rows, truth)
    result = lineage.tried("major", None, None)
    assert (len(result.changes), result.births, result.retirements) == (0, (), ())
    assert result.state.version == 2
    assert result.state.sums.tobytes() == lineage.now.sums.tobytes()


def test_new_presets_join_the_nearest_of_the_clusters_that_result() -> None:
    for strategy in ("minor", "major"):
        lineage = blurred()
        batch = style_rows(dict.fromkeys(range(6), 40), seed=7, noise=1.0)[0]
        result = lineage.tried(strategy, batch, "b1")
        wanted = result.state.numbers[nearest(RowParts.of(batch), result.state.centroids)]
        assert (wanted == result.new_labels).mean() > 0.98
