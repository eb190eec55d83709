from __future__ import annotations

import numpy as np
import pytest

from aivj_assets.cluster.match import (
    Changes,
    Migration,
    best_pairs,
    match_by_cosine,
    migration_table,
    moves_within_budget,
)
from aivj_assets_tests.growth_builders import unit


def test_a_new_centroid_continues_the_former_one_of_largest_cosine() -> None:
    former = unit(np.random.default_rng(1).normal(size=(9, 16)))
    order = np.random.default_rng(2).permutation(9)
    moved = unit(former[order] + np.random.default_rng(3).normal(size=(9, 16)) * 0.02)
    assert match_by_cosine(former, moved).tolist() == order.tolist()


def test_the_sum_of_cosines_decides_not_each_by_itself() -> None:
    """Both new centroids are nearest to the first former one; the pairing of largest sum gives each its own."""
    former, new = unit([[1, 0], [0, 1]]), unit([[1, 0.1], [1, 0.9]])
    assert (former[0] @ new.T > former[1] @ new.T).all()
    assert match_by_cosine(former, new).tolist() == [0, 1]
    assert match_by_cosine(former, new[::-1]).tolist() == [1, 0]


def test_more_new_clusters_than_former_ones_leave_some_without() -> None:
    former = unit(np.eye(4)[:2])
    assert match_by_cosine(former, unit(np.eye(4)[[3, 1, 2, 0]])).tolist() == [-1, 1, -1, 0]
    assert match_by_cosine(unit(np.eye(4)), former).tolist() == [0, 1]


def test_pairs_of_most_worth() -> None:
    assert best_pairs(np.array([[5.0, 4.0], [4.0, 0.0]])).tolist() == [1, 0]


def test_the_migration_table_counts_every_change_once() -> None:
    changes = Changes(
        np.arange(5), np.array([3, 1, 3, 3, 1]), np.array([1, 2, 1, 2, 2]), np.array([0.1, 0.2, 0.3, 0.5, 0.4])
    )
    table = migration_table(changes)
    assert [(line.old, line.new, line.presets) for line in table] == [(1, 2, 2), (3, 1, 2), (3, 2, 1)]
    assert [line.mean_gain for line in table] == pytest.approx([0.3, 0.2, 0.5])
    order = [4, 2, 0, 3, 1]
    mixed = Changes(np.arange(5), changes.old[order], changes.new[order], changes.gain[order])
    assert migration_table(mixed) == table
    assert all(isinstance(line, Migration) and type(line.presets) is int for line in table)
    assert migration_table(Changes.none()) == ()


@pytest.mark.parametrize(("most", "expected"), [(0, []), (1, [3]), (2, [1, 3]), (3, [1, 3, 4]), (99, [1, 3, 4])])
def test_the_largest_gains_move_first_and_none_below_the_margin(most: int, expected: list[int]) -> None:
    gains = np.array([0.019, 0.3, -0.5, 0.4, 0.02])
    assert moves_within_budget(gains, 0.02, most, np.arange(5)).tolist() == expected


def test_equal_gains_move_by_the_given_order() -> None:
    gains = np.full(4, 0.1)
    assert moves_within_budget(gains, 0.02, 2, [3, 0, 2, 1]).tolist() == [1, 3]
