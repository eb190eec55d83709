import numpy as np

from aivj_assets.cluster.checks import check_clusters, check_drift, check_far
from aivj_assets.contracts.clusters import Cluster, Clusters

CENTROIDS = np.eye(3, dtype=np.float32)


def clusters(assignments: dict[str, str], ids: tuple[str, ...] = ("c00", "c01", "c02")) -> Clusters:
    """Clusters as a hand-edited or foreign file might hold them: not validated."""
    sizes = {name: sum(1 for own in assignments.values() if own == name) for name in ids}
    return Clusters.model_construct(
        k=len(ids),
        seed=1,
        strategy="versioned",
        previous=None,
        clusters=[
            Cluster.model_construct(id=name, size=sizes[name], centroid=row, born_in="b", label=name)
            for row, name in enumerate(ids)
        ],
        assignments=assignments,
    )


GOOD = {"a": "c00", "b": "c01", "c": "c02", "d": "c00"}


def failed(found: Clusters, centroids: np.ndarray = CENTROIDS, embedded: str = "abcd") -> set[str]:
    return {finding.name for finding in check_clusters(found, centroids, list(embedded)) if not finding.passed}


def test_sound_clusters_pass_everything() -> None:
    assert failed(clusters(GOOD)) == set()


def test_a_preset_left_out_or_unknown_is_found() -> None:
    assert failed(clusters(GOOD), embedded="abcde") == {"every_preset_assigned_once"}
    assert failed(clusters(GOOD), embedded="abc") == {"every_preset_assigned_once"}
    assert failed(clusters(GOOD), embedded="abcdd") == {"every_preset_assigned_once"}


def test_an_empty_cluster_and_an_undeclared_one_are_found() -> None:
    assert failed(clusters({**GOOD, "c": "c01"})) == {"no_empty_cluster"}
    assert failed(clusters({**GOOD, "c": "c07"})) == {"no_empty_cluster", "cluster_ids_legal"}


def test_an_illegal_id_is_found() -> None:
    renamed = {name: cluster.replace("c02", "style-2") for name, cluster in GOOD.items()}
    assert failed(clusters(renamed, ("c00", "c01", "style-2"))) == {"cluster_ids_legal"}


def test_centroids_must_be_finite_of_unit_length_and_one_a_cluster() -> None:
    assert failed(clusters(GOOD), CENTROIDS * 1.1) == {"centroids_unit_length"}
    assert failed(clusters(GOOD), CENTROIDS[:2]) == {"centroids_unit_length"}
    assert failed(clusters(GOOD), np.where(CENTROIDS == 1, np.nan, CENTROIDS)) == {"centroids_unit_length"}


def test_one_cluster_that_swallows_the_batch_is_a_warning() -> None:
    lopsided = {f"p{number}": "c00" for number in range(20)} | {"x": "c01", "y": "c02"}
    finding = next(
        finding
        for finding in check_clusters(clusters(lopsided), CENTROIDS, list(lopsided))
        if finding.name == "largest_cluster_share"
    )
    assert not finding.passed
    assert finding.severity == "warning"
    assert "c00 holds 20 of 22 presets (90.9%" in finding.detail


def test_a_centroid_that_turns_far_is_a_warning() -> None:
    assert check_drift({"c00": 0.99, "c01": 0.93}).passed
    finding = check_drift({"c00": 0.99, "c01": 0.62})
    assert (finding.passed, finding.severity) == (False, "warning")
    assert "c01 turned most: cosine 0.620" in finding.detail
    assert finding.figures == {"lowest_cosine": 0.62}
    assert check_drift({}).passed


def test_many_presets_far_from_their_centroids_are_a_warning() -> None:
    low = np.full(10, 0.5)
    assert check_far(np.array([0.4, 0.4, *[0.6] * 8]), low).passed
    finding = check_far(np.array([0.4, 0.4, 0.4, *[0.6] * 7]), low)
    assert (finding.passed, finding.severity) == (False, "warning")
    assert "3 of 10 presets (30.0%)" in finding.detail
    assert check_far(np.empty(0), np.empty(0)).passed
