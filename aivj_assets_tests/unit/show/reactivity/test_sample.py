from __future__ import annotations

from collections import Counter

from aivj_assets.show.reactivity.sample import draw_sample

CLUSTERS = {f"p{number:03d}": f"c{number % 4:02d}" for number in range(40)} | {"lone": "c09"}


def test_every_cluster_has_its_share_of_the_sample() -> None:
    drawn = draw_sample(CLUSTERS, 13, seed=1)
    assert Counter(CLUSTERS[preset_id] for preset_id in drawn) == {"c00": 3, "c01": 3, "c02": 3, "c03": 3, "c09": 1}
    assert len(set(drawn)) == 13


def test_a_larger_sample_begins_with_the_smaller_one_and_another_seed_draws_others() -> None:
    assert draw_sample(CLUSTERS, 20, seed=1)[:10] == draw_sample(dict(reversed(CLUSTERS.items())), 10, seed=1)
    assert set(draw_sample(CLUSTERS, 10, seed=1)) != set(draw_sample(CLUSTERS, 10, seed=2))


def test_a_sample_is_never_larger_than_what_there_is() -> None:
    assert sorted(draw_sample(CLUSTERS, 99, seed=1)) == sorted(CLUSTERS)
    assert draw_sample({}, 5, seed=1) == []
