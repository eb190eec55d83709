from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from aivj_assets.cluster import rows as rows_module
from aivj_assets.cluster.lloyd import (
    Fit,
    cosines_between,
    directions,
    exact_sums,
    extend,
    fit_anew,
    inertia,
    lloyd,
    mean_cosine,
    moved_sums,
    nearest,
    own_cosines,
    refill,
)
from aivj_assets.cluster.rows import RowParts
from aivj_assets_tests.growth_builders import style_rows, unit


def test_a_row_goes_to_the_centroid_of_largest_cosine_and_ties_to_the_first() -> None:
    rows, _ = style_rows({0: 40, 1: 40, 2: 40}, seed=1, noise=1.5)
    centroids = unit(np.random.default_rng(2).normal(size=(7, 24)))
    expected = (rows.astype(np.float64) @ centroids.T.astype(np.float64)).argmax(axis=1)
    np.testing.assert_array_equal(nearest(RowParts.of(rows[:50], rows[50:]), centroids), expected)
    doubled = np.concatenate([centroids[[3, 5, 3, 5]], centroids])
    assert set(nearest(RowParts.of(rows), doubled)[np.isin(expected, [3, 5])].tolist()) <= {0, 1}
    assert nearest(RowParts.of(rows), centroids[:1]).tolist() == [0] * 120


def test_cosines_closer_than_float32_can_tell_are_decided_in_float64() -> None:
    """Two centroids whose cosines with a row differ by about 1e-8: in float32 they are equal or in wrong order."""
    random = np.random.default_rng(0)
    base = unit(random.normal(size=(400, 512)))
    close = base.copy()
    close[np.arange(400), np.abs(base).argmax(axis=1)] = np.nextafter(
        base[np.arange(400), np.abs(base).argmax(axis=1)], np.float32(0)
    )
    found = [int(nearest(RowParts.of(base[[row]]), np.stack([close[row], base[row]]))[0]) for row in range(400)]
    exact = [
        int(np.dot(base[row].astype(np.float64), base[row]) > np.dot(base[row].astype(np.float64), close[row]))
        for row in range(400)
    ]
    assert found == exact == [1] * 400


@settings(deadline=None, max_examples=25)
@given(st.randoms(use_true_random=False), st.integers(0, 60))
def test_sums_have_the_same_bits_for_every_order_and_cut(random: object, cut: int) -> None:
    rows, labels = style_rows({0: 30, 1: 20, 2: 10}, seed=4, dim=5, noise=2.0)
    places = list(range(60))
    random.shuffle(places)  # type: ignore[attr-defined]
    mixed = RowParts.of(rows[places][:cut], rows[places][cut:])
    assert exact_sums(mixed, labels[places], 3).tobytes() == exact_sums(RowParts.of(rows), labels, 3).tobytes()


def test_components_of_all_magnitudes_add_up_the_same_in_any_order() -> None:
    random = np.random.default_rng(1)
    rows = unit(random.normal(size=(500, 6)) * 10.0 ** -random.uniform(0, 18, size=(500, 6)))
    labels = np.zeros(500, np.int64)
    sums = exact_sums(RowParts.of(rows), labels, 1)
    order = random.permutation(500)
    assert exact_sums(RowParts.of(rows[order]), labels, 1).tobytes() == sums.tobytes()
    without = moved_sums(RowParts.of(rows), sums, labels, np.where(np.arange(500) < 100, -1, 0))
    assert without.tobytes() == exact_sums(RowParts.of(rows[100:]), labels[100:], 1).tobytes()


def test_sums_are_those_of_the_rows_and_a_label_below_zero_belongs_to_none() -> None:
    rows, labels = style_rows({0: 30, 1: 20, 2: 10}, seed=4)
    labels[labels == 2] = -1
    sums = exact_sums(RowParts.of(rows), labels, 3)
    np.testing.assert_allclose(sums[1], rows[labels == 1].astype(np.float64).sum(axis=0), atol=1e-7)
    assert not sums[2].any()


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(-1, 3), min_size=40, max_size=40), st.lists(st.integers(-1, 3), min_size=40, max_size=40))
def test_sums_that_follow_moves_are_those_counted_anew(before: list[int], after: list[int]) -> None:
    rows = RowParts.of(style_rows({0: 20, 1: 20}, seed=4, dim=6)[0])
    old, new = np.array(before), np.array(after)
    sums = exact_sums(rows, old, 4)
    moved = moved_sums(rows, sums, old, new)
    assert moved.tobytes() == exact_sums(rows, new, 4).tobytes()
    np.testing.assert_array_equal(moved_sums(rows, moved, new, old), sums)


def test_inertia_by_hand() -> None:
    rows = RowParts.of(unit([[1, 0], [0, 1], [-1, 0]]))
    sums = exact_sums(rows, np.array([0, 0, 1]), 2)
    assert mean_cosine(sums, 3) == pytest.approx((2 * np.sqrt(0.5) + 1) / 3)
    centroids = directions(sums, np.eye(2, dtype=np.float32))
    labels = np.array([0, 0, 1])
    distances = [((rows.take([row])[0] - centroids[labels[row]]) ** 2).sum() for row in range(3)]
    assert inertia(sums, 3) == pytest.approx(np.mean(distances), abs=1e-6)


def test_a_sum_without_direction_keeps_the_former_centroid() -> None:
    fallback = unit([[3, 4], [1, 0]])
    np.testing.assert_allclose(directions(np.array([[0.0, 0.0], [0.0, 5.0]]), fallback), [[0.6, 0.8], [0, 1]])


def test_each_step_of_lloyd_brings_rows_nearer_and_it_ends_where_none_moves() -> None:
    rows = RowParts.of(style_rows(dict.fromkeys(range(6), 60), seed=5, noise=1.2)[0])
    start = rows.take(np.arange(6))
    cosines = [mean_cosine(lloyd(rows, start, max_steps=steps).sums, 360) for steps in range(6)]
    assert cosines == sorted(cosines)
    assert cosines[-1] > cosines[0]
    fit = lloyd(rows, start, max_steps=100, tolerance_fraction=0)
    assert fit.steps < 100
    np.testing.assert_array_equal(fit.labels, nearest(rows, fit.centroids))
    np.testing.assert_array_equal(fit.centroids, directions(fit.sums, fit.centroids))


def test_lloyd_keeps_the_centroid_of_an_empty_cluster() -> None:
    rows = RowParts.of(style_rows({0: 20, 1: 20}, seed=5)[0])
    far = -np.eye(24, dtype=np.float32)[:1]
    fit = lloyd(rows, np.concatenate([np.eye(24, dtype=np.float32)[:2], far]), max_steps=10)
    assert np.bincount(fit.labels, minlength=3).tolist() == [20, 20, 0]
    np.testing.assert_array_equal(fit.centroids[2], far[0])


def test_a_fit_finds_known_styles_and_is_as_good_as_scikit_learns() -> None:
    from sklearn.cluster import KMeans

    rows, truth = style_rows(dict.fromkeys(range(12), 40), seed=6)
    fit = fit_anew(RowParts.of(rows), 12, seed=1)
    assert adjusted_rand_score(truth, fit.labels) > 0.99
    loose, _ = style_rows(dict.fromkeys(range(20), 40), seed=6, noise=1.5)
    own = mean_cosine(fit_anew(RowParts.of(loose), 16, seed=1).sums, 800)
    plain = KMeans(16, n_init=10, random_state=0).fit(loose)
    theirs = mean_cosine(exact_sums(RowParts.of(loose), plain.labels_.astype(np.int64), 16), 800)
    assert 1 - own <= (1 - theirs) * 1.02


def test_order_parts_and_threads_change_no_bit_of_a_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, _ = style_rows(dict.fromkeys(range(12), 50), seed=7, noise=1.5)
    with threadpool_limits(limits=1):
        one = fit_anew(RowParts.of(rows), 10, seed=1, sample_rows=400)
    order = np.random.default_rng(1).permutation(600)
    monkeypatch.setattr(rows_module, "CHUNK_ROWS", 97)
    with threadpool_limits(limits=2):
        other = fit_anew(RowParts.of(rows[order][:101], rows[order][101:]), 10, seed=1, sample_rows=400)
    np.testing.assert_array_equal(one.labels[order], other.labels)
    assert one.sums.tobytes() == other.sums.tobytes()
    assert one.centroids.tobytes() == other.centroids.tobytes()


def test_no_cluster_of_a_fit_is_empty_as_long_as_there_are_rows() -> None:
    rows = np.repeat(unit([[1, 0], [0, 1], [1, 1]]), [10, 4, 1], axis=0)
    fit = fit_anew(RowParts.of(rows), 5, seed=1)
    assert np.bincount(fit.labels, minlength=5).all()
    np.testing.assert_array_equal(fit.sums, exact_sums(RowParts.of(rows), fit.labels, 5))


def test_an_empty_cluster_gets_the_row_that_fits_its_own_worst() -> None:
    rows = RowParts.of(unit([[1, 0.05], [1, 0], [1, -0.4], [0, 1]]))
    labels = np.array([0, 0, 0, 1])
    sums = exact_sums(rows, labels, 3)
    fit = refill(rows, Fit(labels, sums, unit([[1, 0], [0, 1], [-1, 0]]), 1))
    assert fit.labels.tolist() == [0, 0, 2, 1]
    np.testing.assert_array_equal(fit.sums, exact_sums(rows, fit.labels, 3))


def test_new_rows_pull_a_centroid_that_few_published_ones_hold() -> None:
    """Rows between two centroids: one of two published rows comes to meet them, one of two thousand does not."""
    new = RowParts.of(unit(np.random.default_rng(1).normal(size=(40, 3)) * 0.05 + [0.6, 0.6, 0]))
    centroids = unit([[1, 0, 0], [0, 1, 0]])
    at_first = int((nearest(new, centroids) == 0).sum())
    assert 0 < at_first < 40
    light = extend(new, np.array([[2.0, 0, 0], [0, 2000, 0]]), centroids, steps=20)
    heavy = extend(new, np.array([[2000.0, 0, 0], [0, 2000, 0]]), centroids, steps=20)
    assert (light == 0).all()
    assert abs(int((heavy == 0).sum()) - at_first) <= 2


def test_extending_leaves_new_rows_with_the_centroid_that_results() -> None:
    published, labels = style_rows({0: 50, 1: 50, 2: 50}, seed=8, noise=1.5)
    fixed = exact_sums(RowParts.of(published), labels, 3)
    new = RowParts.of(style_rows({0: 40, 1: 40, 2: 40, 3: 40}, seed=9, noise=1.5)[0])
    start = directions(fixed, np.eye(3, 24, dtype=np.float32))
    found = extend(new, fixed, start, steps=50)
    result = directions(fixed + exact_sums(new, found, 3), start)
    np.testing.assert_array_equal(found, nearest(new, result))
    frozen = nearest(new, start)
    assert mean_cosine(fixed + exact_sums(new, found, 3), 310) > mean_cosine(fixed + exact_sums(new, frozen, 3), 310)


def test_cosines_with_the_own_centroid_and_between_centroids() -> None:
    rows = unit([[1, 0], [1, 1]])
    np.testing.assert_allclose(own_cosines(RowParts.of(rows), unit([[0, 1], [1, 0]]), np.array([1, 0])), [1, 0.5**0.5])
    np.testing.assert_allclose(cosines_between(rows, rows), [[1, 0.5**0.5], [0.5**0.5, 1]], atol=1e-7)
