from __future__ import annotations

import numpy as np
import pytest

from aivj_assets.cluster.growth import Growth, GrowthPlan
from aivj_assets.errors import UserError

SMALL = GrowthPlan(styles=12, steps=6, first=600, middle=1200, final=4800, dim=48, intrinsic_dim=12)


def test_the_default_grows_from_two_thousand_over_fifteen_to_a_hundred_and_thirty_in_twelve_steps() -> None:
    totals = GrowthPlan().totals
    assert len(totals) == 12
    assert (totals[0], totals[3], totals[-1]) == (2_000, 15_000, 130_000)
    factors = np.array(totals[1:4]) / totals[:3]
    assert factors.max() / factors.min() < 1.001
    batches = np.diff(totals[3:])
    assert len(batches) == 8
    assert batches.max() - batches.min() <= 1


@pytest.mark.parametrize(
    "plan",
    [
        GrowthPlan(first=200, middle=200, final=1000, steps=2),
        GrowthPlan(first=200, middle=1000, final=1000, steps=7),
        GrowthPlan(first=200, middle=100, final=900, steps=4),
        GrowthPlan(first=200, middle=5000, final=900, steps=4),
        GrowthPlan(first=200, middle=200, final=200, steps=3),
        GrowthPlan(first=200, middle=500, final=900, steps=2),
    ],
)
def test_every_plan_has_its_steps_and_ends_where_it_says(plan: GrowthPlan) -> None:
    totals = plan.totals
    assert len(totals) == plan.steps
    assert (totals[0], totals[-1]) == (plan.first, plan.final)
    assert totals == sorted(totals)


def test_batches_hold_what_the_plan_says() -> None:
    batches = list(Growth.draw(SMALL).batches())
    assert [batch.step for batch in batches] == list(range(6))
    assert np.cumsum([len(batch.rows) for batch in batches]).tolist() == SMALL.totals
    for batch in batches:
        assert batch.rows.dtype == np.float32
        assert batch.rows.shape == (len(batch.truth), 48)
        np.testing.assert_allclose(np.linalg.norm(batch.rows, axis=1), 1, atol=1e-5)


def test_late_styles_come_when_they_should_and_not_before() -> None:
    for seed in range(5):
        growth = Growth.draw(GrowthPlan(**{**SMALL.__dict__, "seed": seed, "late_fraction": 0.5}))
        assert (growth.first_step > 0).sum() == 6
        assert growth.first_step.max() <= 6 * 3 // 4 - 1
        for batch in growth.batches():
            present = np.bincount(batch.truth, minlength=12) > 0
            assert not present[growth.first_step > batch.step].any()
            assert present[growth.first_step <= batch.step].all()


def centre_of(growth: Growth, step: int) -> np.ndarray:
    batch = list(growth.batches())[step]
    sums = np.stack([batch.rows[batch.truth == style].sum(axis=0) for style in range(growth.plan.styles)])
    return sums / np.linalg.norm(sums, axis=1, keepdims=True)


def test_styles_of_a_family_have_the_overlap_as_cosine() -> None:
    cosines = {}
    for overlap in (0.2, 0.8):
        plan = GrowthPlan(
            styles=12, steps=2, first=12_000, middle=12_000, final=12_001, dim=300, intrinsic_dim=300,
            overlap=overlap, late_fraction=0, noise=0.2, seed=3,
        )  # fmt: skip
        centres = centre_of(Growth.draw(plan), 0)
        pairs = (centres @ centres.T)[np.triu_indices(12, 1)]
        same = pairs > overlap / 2
        cosines[overlap] = pairs[same].mean()
        assert np.abs(pairs[~same]).max() < 0.2
        assert same.any()
    assert cosines == pytest.approx({0.2: 0.2, 0.8: 0.8}, abs=0.04)


def test_styles_drift_as_far_as_the_plan_says() -> None:
    for drift in (0.0, 0.3):
        plan = GrowthPlan(**{**SMALL.__dict__, "drift": drift, "late_fraction": 0.0, "noise": 0.3, "final": 9000})
        growth = Growth.draw(plan)
        moved = np.linalg.norm(centre_of(growth, 5) - centre_of(growth, 0), axis=1)
        assert moved.mean() == pytest.approx(drift, abs=0.06)


def test_the_seed_decides_every_row() -> None:
    one, same = (list(Growth.draw(SMALL).batches()) for _ in range(2))
    other = list(Growth.draw(GrowthPlan(**{**SMALL.__dict__, "seed": 2})).batches())
    assert all(a.rows.tobytes() == b.rows.tobytes() for a, b in zip(one, same, strict=True))
    assert all(a.rows.tobytes() != b.rows.tobytes() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        ({"overlap": 1.0}, "overlap"),
        ({"overlap": -0.1}, "overlap"),
        ({"late_fraction": 1.0}, "share of late styles"),
        ({"styles": 1}, "two styles"),
        ({"steps": 1}, "two steps"),
        ({"intrinsic_dim": 49}, "intrinsic dimensions"),
        ({"first": 11}, "a preset a style"),
        ({"final": 599}, "larger than the library"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(mistake: dict[str, float], says: str) -> None:
    with pytest.raises(UserError, match=says):
        GrowthPlan(**{**SMALL.__dict__, **mistake})
