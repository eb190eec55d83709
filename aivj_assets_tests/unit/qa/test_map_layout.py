"""Where presets lie on the style map, and how familiar the next map is."""

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.neighbors import NearestNeighbors

from aivj_assets.qa.map_layout import Places, align, lay_out, movement

STYLES, DIM = 6, 32


def styled_rows(count: int, seed: int = 0) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(STYLES, DIM))
    style = np.arange(count) % STYLES
    rows = centres[style] + 0.35 * random.normal(size=(count, DIM))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32), style


def names(count: int) -> list[str]:
    return [f"p{number:03d}" for number in range(count)]


def placed(ids: list[str], places: Places) -> dict[str, tuple[float, float]]:
    return {name: (float(x), float(y)) for name, (x, y) in zip(ids, places, strict=True)}


def test_what_is_of_one_style_lies_together_and_the_same_input_gives_the_same_map() -> None:
    rows, style = styled_rows(180)
    told: list[tuple[int, int]] = []
    made = lay_out(rows, names(180), progress=lambda done, total: told.append((done, total)))
    near = NearestNeighbors(n_neighbors=6).fit(made.places).kneighbors(return_distance=False)
    assert (style[near] == style[:, None]).mean() > 0.97
    assert (made.begun_from, made.moved) == (0, None)
    assert told[0][0] == 0
    assert told[-1][0] == told[-1][1]
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert np.array_equal(lay_out(rows, names(180)).places, made.places)


def test_a_fifth_more_presets_leave_known_ones_where_they_were_and_join_their_like() -> None:
    rows, style = styled_rows(216)
    first = lay_out(rows[:180], names(180))
    grown = lay_out(rows, names(216), placed(names(180), first.places))
    assert grown.moved is not None
    assert (grown.begun_from, grown.moved.known) == (180, 180)
    anew = lay_out(rows, names(216))
    known = np.arange(216) < 180
    from_nothing = movement(first.places, align(anew.places, known, first.places)[known])
    assert grown.moved.median_fraction < 0.05
    assert grown.moved.p95_fraction < from_nothing.p95_fraction
    near = NearestNeighbors(n_neighbors=6).fit(grown.places).kneighbors(grown.places[180:], return_distance=False)
    assert (style[near[:, 1:]] == style[180:, None]).mean() > 0.9


def test_a_map_of_mostly_new_presets_is_laid_out_in_full_but_turned_like_the_one_before() -> None:
    rows, _ = styled_rows(180)
    first = lay_out(rows[:40], names(40))
    grown = lay_out(rows, names(180), placed(names(40), first.places))
    assert (grown.begun_from, "laid out in full" in grown.method) == (40, True)
    # No turn or mirror image of the result would lie nearer to the old places.
    known = np.arange(180) < 40
    assert np.allclose(align(grown.places, known, first.places), grown.places, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 12])
def test_a_pack_of_a_few_presets_has_a_map(count: int) -> None:
    rows, _ = styled_rows(count)
    places = lay_out(rows, names(count)).places
    assert places.shape == (count, 2)
    assert np.isfinite(places).all()
    again = lay_out(rows, names(count), placed(names(count), places)).places
    assert np.isfinite(again).all()


def test_equal_presets_are_no_trouble() -> None:
    rows = np.repeat(styled_rows(1)[0], 30, axis=0)
    assert np.isfinite(lay_out(rows, names(30)).places).all()


def test_turned_mirrored_and_shifted_places_come_back() -> None:
    old = np.random.default_rng(1).normal(size=(20, 2))
    turned = old @ np.array([[0.0, 1.0], [1.0, 0.0]]) + 7
    known = np.ones(20, dtype=bool)
    assert np.allclose(align(turned, known, old), old)
    diagonal = np.linalg.norm(np.ptp(old, axis=0))
    assert movement(old, old + np.array([3.0, 4.0])).median_fraction == pytest.approx(5 / diagonal)
