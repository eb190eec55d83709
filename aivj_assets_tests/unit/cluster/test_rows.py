from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from aivj_assets.cluster.rows import (
    CHUNK_ROWS,
    RowParts,
    canonical_order,
    check_unit_rows,
    content_digest,
    count_distinct,
    row_hashes,
)
from aivj_assets.errors import UserError
from aivj_assets_tests.growth_builders import style_rows, unit


def test_parts_count_as_one_array() -> None:
    rows, _ = style_rows({0: 10, 1: 10}, seed=1)
    parts = RowParts.of(rows[:3], rows[3:3], rows[3:11]) + RowParts.of(rows[11:])
    assert (len(parts), parts.dim) == (20, 24)
    wanted = [19, 0, 3, 2, 11, 10, 0]
    np.testing.assert_array_equal(parts.take(wanted), rows[wanted])
    seen = [(start, len(chunk)) for start, chunk in parts.chunks()]
    assert seen == [(0, 3), (3, 8), (11, 9)]
    assert len(RowParts.of()) == len(RowParts.of(rows[:0])) == 0
    assert RowParts.of(rows[:0]).take([]).shape == (0, 24)


def test_a_large_part_comes_in_chunks_and_results_in_their_order() -> None:
    rows = np.zeros((2 * CHUNK_ROWS + 5, 1), np.float32)
    found = RowParts.of(rows, rows[:7]).map_chunks(lambda start, chunk: (start, len(chunk)))
    ends = 2 * CHUNK_ROWS
    assert found == [(0, CHUNK_ROWS), (CHUNK_ROWS, CHUNK_ROWS), (ends, 5), (ends + 5, 7)]


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_blas_works_with_one_thread_a_chunk_and_as_before_afterwards() -> None:
    rows = RowParts.of(np.zeros((3, 2), np.float32))
    with threadpool_limits(limits=2):
        assert rows.map_chunks(lambda *_: blas_threads()) == [{1}]
        assert blas_threads() == {2}
        with pytest.raises(ZeroDivisionError):
            rows.map_chunks(lambda *_: 1 // 0)
        assert blas_threads() == {2}


def test_all_processors_that_blas_may_use_work_on_chunks_at_once() -> None:
    rows = np.zeros((1, 1), np.float32)
    with threadpool_limits(limits=3):
        together = threading.Barrier(3, timeout=10)
        assert len(RowParts.of(rows, rows, rows).map_chunks(lambda *_: together.wait())) == 3


def test_a_memory_mapped_file_is_a_part(tmp_path: Path) -> None:
    rows, _ = style_rows({0: 9}, seed=1)
    np.save(tmp_path / "rows.npy", rows)
    mapped = RowParts.of(np.load(tmp_path / "rows.npy", mmap_mode="r"))
    np.testing.assert_array_equal(mapped.take([8, 1]), rows[[8, 1]])
    assert content_digest(mapped) == content_digest(RowParts.of(rows))


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ([np.zeros((2, 3))], "float32 rows .* not float64"),
        ([np.zeros(3, np.float32)], r"shape \(3,\)"),
        ([np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32)], "3 and 4 dimensions"),
    ],
)
def test_arrays_that_are_no_rows_are_refused(parts: list[np.ndarray], says: str) -> None:
    with pytest.raises(UserError, match=says):
        RowParts.of(*parts)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1.3])
def test_rows_that_are_not_finite_or_not_unit_are_counted_and_the_first_is_named(bad: float) -> None:
    rows, _ = style_rows({0: 30}, seed=1)
    rows[[17, 23], 0] = bad
    with pytest.raises(UserError, match=r"^2 of 30 embeddings of batch x .*the first is row 17\)") as told:
        check_unit_rows(RowParts.of(rows[:5], rows[5:]), "batch x")
    assert "\n" not in str(told.value)


def test_rounding_of_a_unit_row_is_no_error() -> None:
    rows, _ = style_rows({0: 30}, seed=1)
    check_unit_rows(RowParts.of(rows.astype(np.float16).astype(np.float32)), "x")


@settings(deadline=None, max_examples=25)
@given(st.randoms(use_true_random=False), st.integers(0, 12))
def test_order_by_content_and_digest_do_not_depend_on_places_or_parts(random: object, cut: int) -> None:
    rows, _ = style_rows({0: 8, 1: 4}, seed=3, dim=3)
    rows[5] = rows[2]
    places = list(range(12))
    random.shuffle(places)  # type: ignore[attr-defined]
    mixed = RowParts.of(rows[places][:cut], rows[places][cut:])
    plain = RowParts.of(rows)
    assert mixed.take(canonical_order(mixed)).tobytes() == plain.take(canonical_order(plain)).tobytes()
    assert content_digest(mixed) == content_digest(plain)


def test_the_digest_tells_contents_apart() -> None:
    rows, _ = style_rows({0: 8}, seed=3)
    changed = rows.copy()
    changed[4, 0] = np.nextafter(changed[4, 0], 2)
    digests = [content_digest(RowParts.of(*parts)) for parts in ([rows], [rows[:7]], [rows, rows[:1]], [changed])]
    assert len(set(digests)) == 4


def test_minus_zero_is_zero() -> None:
    rows = unit([[0.0, 1.0], [-0.0, 1.0]])
    hashes = row_hashes(RowParts.of(rows))
    assert hashes[0] == hashes[1]


def test_order_by_content_of_some_rows_only() -> None:
    rows, _ = style_rows({0: 8}, seed=3)
    whole = canonical_order(RowParts.of(rows)).tolist()
    assert canonical_order(RowParts.of(rows), [6, 1, 3]).tolist() == [row for row in whole if row in {6, 1, 3}]


def test_rounding_of_an_embedding_is_no_difference() -> None:
    row = np.random.default_rng(1).normal(size=16).astype(np.float32)
    rows = np.stack([row, row * np.float32(1 - 1e-7), row + np.float32(0.01)])
    rows[0, 0], rows[1, 0] = -0.0, 0.0
    assert count_distinct(rows[:2]) == 1
    assert count_distinct(rows) == 2
