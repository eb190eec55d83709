import numpy as np
import pytest

from aivj_assets.contracts.clusters import Cluster, Clusters
from aivj_assets.contracts.embeddings import Embeddings
from aivj_assets.errors import UserError
from aivj_assets.qa.figures import cluster_figures
from aivj_assets_tests.builders import embeddings_meta


def clusters_of(assignments: dict[str, str]) -> Clusters:
    ids = sorted(set(assignments.values()))
    listed = list(assignments.values())
    return Clusters(
        k=len(ids), seed=1, strategy="lineage", previous=None, assignments=assignments,
        clusters=[
            Cluster(id=name, size=listed.count(name), centroid=row, born_in="b", label=name)
            for row, name in enumerate(ids)
        ],
    )  # fmt: skip


def at_angles(degrees: list[float]) -> np.ndarray:
    turned = np.radians(degrees)
    return np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32)


def test_medoids_are_nearest_outliers_farthest_and_none_is_both() -> None:
    names = [f"p{number:02d}" for number in range(20)]
    embeddings = Embeddings(at_angles([3.0 * number for number in range(20)]), names, embeddings_meta(20, 2))
    found = cluster_figures(clusters_of(dict.fromkeys(reversed(names), "c00")), embeddings, at_angles([0]))["c00"]
    assert found.medoids == names[:5]
    assert found.outliers == names[:14:-1]
    cosines = np.cos(np.radians(np.arange(20) * 3.0))
    assert found.cohesion == pytest.approx(cosines.mean(), abs=1e-6)
    assert found.spread == pytest.approx(cosines.std(), abs=1e-6)
    assert found.cosines["p07"] == pytest.approx(cosines[7], abs=1e-6)


@pytest.mark.parametrize(("size", "medoids", "outliers"), [(1, 1, 0), (3, 1, 0), (5, 1, 1), (9, 2, 2), (40, 6, 6)])
def test_in_a_small_cluster_they_are_a_quarter_each(size: int, medoids: int, outliers: int) -> None:
    names = [f"p{number:02d}" for number in range(size)]
    embeddings = Embeddings(at_angles(list(range(size))), names, embeddings_meta(size, 2))
    found = cluster_figures(clusters_of(dict.fromkeys(names, "c00")), embeddings, at_angles([0]))["c00"]
    assert (len(found.medoids), len(found.outliers)) == (medoids, outliers)
    assert not {*found.medoids} & {*found.outliers}


def test_the_nearest_clusters_come_with_the_cosine_of_the_centroids() -> None:
    names = ["a", "b", "c", "d", "e"]
    angles = [0.0, 10.0, 40.0, 100.0, 20.0]
    clusters = clusters_of({name: f"c{row:02d}" for row, name in enumerate(names)})
    found = cluster_figures(clusters, Embeddings(at_angles(angles), names, embeddings_meta(5, 2)), at_angles(angles))
    assert [other.cluster for other in found["c00"].nearest] == ["c01", "c04", "c02"]
    assert found["c00"].nearest[2].cosine == pytest.approx(np.cos(np.radians(40)), abs=1e-6)


def test_rows_or_centroids_that_do_not_belong_to_the_clusters_are_one_line() -> None:
    clusters = clusters_of({"a": "c00", "b": "c01"})
    embeddings = Embeddings(at_angles([0, 90]), ["a", "b"], embeddings_meta(2, 2))
    with pytest.raises(UserError, match="'b' has no row"):
        cluster_figures(clusters, Embeddings(at_angles([0]), ["a"], embeddings_meta(1, 2)), at_angles([0, 90]))
    with pytest.raises(UserError, match="has 1 rows, too few"):
        cluster_figures(clusters, embeddings, at_angles([0]))
