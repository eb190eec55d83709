"""Births at the level of one batch: what founds a cluster, what does not, and the evidence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aivj_assets.cluster.births import Birth, BirthRules, find_births
from aivj_assets.cluster.lloyd import nearest, own_cosines
from aivj_assets.cluster.rows import FloatRows, RowParts
from aivj_assets.cluster.state import LineageState
from aivj_assets_tests.growth_builders import SMALL_BIRTHS, Lineage, small_parameters, style_rows, unit


@pytest.fixture(scope="module")
def known() -> LineageState:
    """Six styles of 100 presets, each a cluster."""
    rows, truth = style_rows(dict.fromkeys(range(6), 100), seed=1)
    return Lineage(small_parameters(6)).start_with(rows, truth).now


def births_of(
    state: LineageState, batch: FloatRows, rules: BirthRules = SMALL_BIRTHS, most: int = 10
) -> tuple[FloatRows, tuple[Birth, ...]]:
    rows, clustering = RowParts.of(batch), state.clustering(rules)
    labels = nearest(rows, clustering.centroids)
    return find_births(
        rows, labels, own_cosines(rows, clustering.centroids, labels), clustering,
        rules=rules, most=most, first_number=state.next_number, seed=1,
    )  # fmt: skip


def test_a_new_style_founds_a_cluster_with_evidence(known: LineageState) -> None:
    batch, truth = style_rows({**dict.fromkeys(range(6), 60), 9: 40}, seed=2)
    centroids, births = births_of(known, batch)
    (birth,) = births
    np.testing.assert_allclose(centroids[0], np.eye(24)[9], atol=0.15)
    assert birth.number == 6
    # All but the few that are far from the new centroid, too.
    members = batch[truth == 9].astype(np.float64)
    members = members[members @ centroids[0] > known.clustering(SMALL_BIRTHS).usual_reach]
    assert 36 <= birth.members == birth.far_members == len(members) <= 40
    assert birth.mean_cosine == pytest.approx((members @ centroids[0]).mean(), abs=1e-6)
    with_former = members @ known.centroids.T.astype(np.float64)
    assert birth.former_mean_cosine == pytest.approx(with_former.max(axis=1).mean(), abs=1e-6)
    assert birth.former_mean_cosine < 0.4
    assert birth.mean_cosine > 0.8
    close = known.centroids.astype(np.float64) @ centroids[0]
    assert birth.nearest_centroid_cosine == pytest.approx(close.max(), abs=1e-6)
    assert birth.nearest_cluster == known.numbers[close.argmax()]


def test_more_of_known_styles_found_nothing(known: LineageState) -> None:
    for seed in range(3, 8):
        batch, _ = style_rows(dict.fromkeys(range(6), 100), seed=seed)
        assert births_of(known, batch)[1] == ()


def test_noise_is_no_style(known: LineageState) -> None:
    """Sixty rows in all directions are as far from every centroid as a new style, and are not together."""
    batch, _ = style_rows(dict.fromkeys(range(6), 60), seed=2)
    noise = unit(np.random.default_rng(3).normal(size=(60, 24)))
    assert births_of(known, np.concatenate([batch, noise]))[1] == ()


def test_too_few_are_no_style(known: LineageState) -> None:
    for members, expected in ((9, 0), (13, 1)):
        batch, _ = style_rows({**dict.fromkeys(range(6), 60), 9: members}, seed=2)
        assert len(births_of(known, batch)[1]) == expected


def test_members_needed_grow_with_the_batch() -> None:
    rules = BirthRules()
    assert [rules.members_needed(count) for count in (100, 10_000, 40_000, 130_000)] == [40, 40, 60, 195]


def test_several_new_styles_at_once_do_not_win_each_others_rows(known: LineageState) -> None:
    batch, _ = style_rows({**dict.fromkeys(range(6), 60), **dict.fromkeys(range(8, 13), 25)}, seed=2)
    centroids, births = births_of(known, batch)
    assert sorted(centroids.argmax(axis=1).tolist()) == list(range(8, 13))
    assert centroids.max(axis=1).min() > 0.95
    assert {birth.members for birth in births} <= set(range(20, 26))


def test_no_more_than_asked_for_and_no_more_than_a_batch_may_found(known: LineageState) -> None:
    new = {style: 25 + 10 * (style > 13) for style in range(8, 16)}
    batch, _ = style_rows({**dict.fromkeys(range(6), 60), **new}, seed=2)
    assert len(births_of(known, batch)[1]) == SMALL_BIRTHS.most_a_batch == 6
    centroids, births = births_of(known, batch, most=2)
    assert [birth.number for birth in births] == [6, 7]
    # Those that bring most: the largest of styles that are alike otherwise.
    assert sorted(centroids.argmax(axis=1).tolist()) == [14, 15]
    assert births_of(known, batch, most=0)[1] == ()
    assert births_of(known, batch, replace(SMALL_BIRTHS, most_a_batch=1))[1] == births[:1]


def test_a_group_that_lies_too_close_to_a_cluster_founds_none(known: LineageState) -> None:
    """Far from style 0 by its own measure, and yet with a cosine of 0.95 to it."""
    rows, truth = style_rows(dict.fromkeys(range(6), 100), seed=1, noise=0.2)
    state = Lineage(small_parameters(6)).start_with(rows, truth).now
    random = np.random.default_rng(4)
    group = unit([1, *np.zeros(22), np.sqrt(1 / 0.95**2 - 1)] + random.normal(size=(60, 24)) * 0.01)
    batch = np.concatenate([style_rows(dict.fromkeys(range(6), 60), seed=2, noise=0.2)[0], group])
    (birth,) = births_of(state, batch, replace(SMALL_BIRTHS, max_centroid_cosine=0.97))[1]
    assert birth.nearest_centroid_cosine == pytest.approx(0.95, abs=0.01)
    assert births_of(state, batch)[1] == ()


def test_a_loose_group_founds_none_where_clusters_are_tight(known: LineageState) -> None:
    batch, _ = style_rows(dict.fromkeys(range(6), 60), seed=2)
    loose, _ = style_rows({9: 60}, seed=5, noise=1.2)
    assert births_of(known, np.concatenate([batch, loose]))[1] == ()
    assert len(births_of(known, np.concatenate([batch, loose]), replace(SMALL_BIRTHS, min_cohesion_quantile=0))[1]) == 0
    tight, _ = style_rows({9: 60}, seed=5, noise=0.5)
    assert len(births_of(known, np.concatenate([batch, tight]))[1]) == 1


def nearer_fraction(birth: Birth) -> float:
    return (birth.mean_cosine - birth.former_mean_cosine) / (1 - birth.former_mean_cosine)


def test_a_part_of_a_loose_style_that_is_hardly_nearer_founds_none() -> None:
    rows, truth = style_rows(dict.fromkeys(range(4), 300), seed=1, noise=1.3)
    state = Lineage(small_parameters(4)).start_with(rows, truth).now
    batch, _ = style_rows(dict.fromkeys(range(4), 400), seed=2, noise=1.3)
    rules = replace(SMALL_BIRTHS, min_unexplained_fraction=0)
    parts = births_of(state, batch, replace(rules, min_nearer_fraction=0))[1]
    assert min(nearer_fraction(birth) for birth in parts) < 0.15
    for least in (0.2, 0.25):
        assert all(
            nearer_fraction(birth) >= least
            for birth in births_of(state, batch, replace(rules, min_nearer_fraction=least))[1]
        )


def test_a_batch_with_hardly_more_far_presets_than_usual_founds_hardly_a_cluster() -> None:
    """Tails of loose styles look like groups of their own; but every batch of these styles has them."""
    rows, truth = style_rows(dict.fromkeys(range(4), 300), seed=1, noise=1.5)
    state = Lineage(small_parameters(4)).start_with(rows, truth).now
    counts = {0.0: 0, 0.5: 0, 1.0: 0}
    for seed in range(2, 6):
        batch, _ = style_rows(dict.fromkeys(range(4), 400), seed=seed, noise=1.5)
        for share in counts:
            counts[share] += len(births_of(state, batch, replace(SMALL_BIRTHS, min_unexplained_fraction=share))[1])
    assert counts[0.0] >= 20
    assert counts[1.0] <= counts[0.5] <= counts[0.0] / 2


def test_one_new_style_in_a_large_batch_is_found_beside_the_tails_of_loose_ones() -> None:
    rows, truth = style_rows(dict.fromkeys(range(12), 300), seed=1, noise=1.0)
    state = Lineage(small_parameters(12)).start_with(rows, truth).now
    for seed in (2, 3):
        batch, _ = style_rows({**dict.fromkeys(range(12), 300), 15: 60}, seed=seed, noise=1.0)
        centroids, births = births_of(state, batch, BirthRules())
        assert [(birth.number, int(row.argmax())) for birth, row in zip(births, centroids, strict=True)] == [(12, 15)]


def test_a_model_whose_pictures_lie_in_a_narrow_cone_has_births_too() -> None:
    """All centroids have cosines above 0.93 with each other: what is distinct is taken from them."""
    cone = {"cone": 5.0, "noise": 0.3}
    rows, truth = style_rows(dict.fromkeys(range(6), 100), seed=1, **cone)
    state = Lineage(small_parameters(6)).start_with(rows, truth).now
    others = (state.centroids @ state.centroids.T)[~np.eye(6, dtype=bool)]
    assert others.min() > 0.95
    batch, _ = style_rows({**dict.fromkeys(range(6), 60), 9: 40}, seed=2, **cone)
    (birth,) = births_of(state, batch)[1]
    assert 36 <= birth.members <= 40
    assert birth.nearest_centroid_cosine > 0.93
