from collections import Counter

from aivj_assets.qa.sampling import sample_clusters

ASSIGNMENTS = {f"p{number:03d}": f"c{number % 3:02d}" for number in range(90)}


def test_up_to_so_many_of_each_cluster_without_repeats() -> None:
    drawn = sample_clusters({**ASSIGNMENTS, "lonely": "c07"}, 12, seed=1)
    assert list(drawn) == ["c00", "c01", "c02", "c07"]
    assert [len(set(names)) for names in drawn.values()] == [12, 12, 12, 1]
    assert all(ASSIGNMENTS[name] == cluster for cluster in ("c00", "c01", "c02") for name in drawn[cluster])


def test_a_draw_depends_on_nothing_but_seed_cluster_and_members() -> None:
    drawn = sample_clusters(ASSIGNMENTS, 12, seed=1)
    assert sample_clusters(dict(reversed(ASSIGNMENTS.items())), 12, seed=1) == drawn
    alone = {name: cluster for name, cluster in ASSIGNMENTS.items() if cluster == "c01"}
    assert sample_clusters(alone, 12, seed=1) == {"c01": drawn["c01"]}
    assert sample_clusters(ASSIGNMENTS, 12, seed=2)["c01"] != drawn["c01"]


def test_clusters_stand_in_id_order_beyond_a_hundred() -> None:
    assert list(sample_clusters({"a": "c100", "b": "c99", "c": "c09"}, 1, seed=1)) == ["c09", "c99", "c100"]


def test_over_many_seeds_every_member_has_the_same_chance() -> None:
    members = {f"p{number}": "c00" for number in range(10)}
    seen = Counter(name for seed in range(1000) for name in sample_clusters(members, 3, seed)["c00"])
    assert len(seen) == 10
    # 300 expected, standard deviation 14.5.
    assert all(230 < count < 370 for count in seen.values())
