import numpy as np
import numpy.typing as npt
import pytest

from aivj_assets.qa import leaders
from aivj_assets.qa.leaders import FloatRows, Places, find_nearest, follow_leaders


def everyone(some: Places, others: Places) -> npt.NDArray[np.bool_]:
    return np.ones(len(some), dtype=bool)


def at_degrees(*angles: float) -> FloatRows:
    turned = np.radians(angles)
    return np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32)


def one_by_one(rows: FloatRows, min_cosine: float, allowed: npt.NDArray[np.bool_]) -> list[int]:
    """The algorithm as its definition reads."""
    found: list[int] = []
    for row in range(len(rows)):
        before = [place for place in range(row) if found[place] == place and allowed[row, place]]
        cosines = {place: float(rows[row] @ rows[place]) for place in before}
        near = {place: cosine for place, cosine in cosines.items() if cosine >= min_cosine}
        found.append(max(near, key=lambda place: near[place]) if near else row)
    return found


def test_no_chain_the_one_in_the_middle_does_not_tie_its_ends_together() -> None:
    near_by_10 = float(np.cos(np.radians(10.5)))
    assert follow_leaders(at_degrees(0, 10, 20, 30), near_by_10, everyone).tolist() == [0, 0, 2, 2]
    assert follow_leaders(at_degrees(10, 0, 20, 30), near_by_10, everyone).tolist() == [0, 0, 0, 3]


def test_a_row_joins_the_nearest_leader_and_of_equals_the_preferred_one() -> None:
    rows = at_degrees(0, 20, 12, 10)
    assert follow_leaders(rows, float(np.cos(np.radians(13))), everyone).tolist() == [0, 1, 1, 0]


def test_pairs_that_are_not_near_by_the_second_measure_stay_apart() -> None:
    def not_the_first(some: Places, others: Places) -> npt.NDArray[np.bool_]:
        return others != 0

    assert follow_leaders(at_degrees(0, 1, 2), 0.9, not_the_first).tolist() == [0, 1, 1]


@pytest.mark.parametrize("seed", range(5))
def test_blocks_make_no_difference(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(150, 3)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    allowed = draw.random((150, 150)) < 0.6
    asked: list[int] = []

    def near(some: Places, others: Places) -> npt.NDArray[np.bool_]:
        asked.append(len(some))
        assert (np.einsum("ij,ij->i", rows[some], rows[others]) > 0.9 - 1e-6).all()
        return allowed[some, others]

    monkeypatch.setattr(leaders, "BLOCK_ROWS", 16)
    assert follow_leaders(rows, 0.9, near).tolist() == one_by_one(rows, 0.9, allowed)
    assert max(asked) <= 16 * 16


def test_nearest_of_others_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaders, "BLOCK_ROWS", 2)
    rows, others = at_degrees(0, 50, 90), at_degrees(170, 8, 4, 93, 91)
    found, cosines = find_nearest(rows, others, 0.99, everyone)
    assert found.tolist() == [2, -1, 4]
    assert cosines[[0, 2]] == pytest.approx(np.cos(np.radians([4, 1])), abs=1e-6)


def test_no_rows() -> None:
    none = np.zeros((0, 4), dtype=np.float32)
    assert follow_leaders(none, 0.9, everyone).tolist() == []
    assert find_nearest(at_degrees(0), at_degrees(), 0.9, everyone)[0].tolist() == [-1]
