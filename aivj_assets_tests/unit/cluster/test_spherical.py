import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_info, threadpool_limits

from aivj_assets.cluster.checks import check_clusters
from aivj_assets.cluster.spherical import ClusterFit, count_distinct, fit_clusters, nearest_centroids
from aivj_assets.contracts.clusters import Clusters, load_centroids, save_centroids
from aivj_assets.errors import UserError

Rows = npt.NDArray[np.float32]


def styles(n: int, count: int, dim: int, spread: float, seed: int = 0) -> tuple[Rows, npt.NDArray[np.int64]]:
    """Unit rows around `count` directions (projected normal noise, close to a von Mises-Fisher mixture)."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(count, dim))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    truth = random.integers(0, count, n)
    rows = centres[truth] + random.normal(size=(n, dim)) * spread / np.sqrt(dim)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), truth


def names(n: int) -> list[str]:
    return [f"pack-preset-{number:05d}" for number in range(n)]


def labels(fit: ClusterFit, ids: list[str]) -> list[str]:
    return [fit.clusters.assignments[preset_id] for preset_id in ids]


def test_known_styles_are_found_again() -> None:
    rows, truth = styles(400, 10, 128, spread=0.5)
    fit = fit_clusters(rows, names(400), batch="starter", requested_k=10)
    assert adjusted_rand_score(truth, labels(fit, names(400))) > 0.99
    assert fit.clusters.k == len(fit.centroids) == 10
    assert fit.clusters.strategy == "versioned"
    assert fit.clusters.previous is None
    assert {cluster.born_in for cluster in fit.clusters.clusters} == {"starter"}


def test_every_preset_is_with_the_centroid_of_largest_cosine_and_centroids_are_mean_directions() -> None:
    rows, _ = styles(600, 30, 32, spread=1.5)
    ids = names(600)
    fit = fit_clusters(rows, ids, batch="b", requested_k=20)
    own = np.array([int(label[1:]) for label in labels(fit, ids)])
    np.testing.assert_array_equal(nearest_centroids(rows, fit.centroids)[0], own)
    for number in range(20):
        mean = rows[own == number].astype(np.float64).sum(axis=0)
        np.testing.assert_allclose(fit.centroids[number], mean / np.linalg.norm(mean), atol=1e-5)
    assert fit.mean_cosine == pytest.approx(np.einsum("ij,ij->i", rows, fit.centroids[own]).mean(), abs=1e-5)


def test_cosine_of_a_fit_is_at_least_that_of_plain_k_means() -> None:
    from sklearn.cluster import KMeans

    rows, _ = styles(800, 40, 64, spread=1.2)
    plain = KMeans(n_clusters=40, n_init=10, random_state=1).fit(rows)
    centres = plain.cluster_centers_ / np.linalg.norm(plain.cluster_centers_, axis=1, keepdims=True)
    fit = fit_clusters(rows, names(800), batch="b", requested_k=40)
    assert fit.mean_cosine >= np.einsum("ij,ij->i", rows, centres[plain.labels_]).mean() - 1e-6


def test_order_of_rows_and_number_of_threads_change_nothing() -> None:
    rows, _ = styles(3000, 60, 64, spread=1.6)
    ids = names(3000)
    with threadpool_limits(limits=1):
        one = fit_clusters(rows, ids, batch="b")
    with threadpool_limits(limits=2):
        two = fit_clusters(rows, ids, batch="b")
    order = np.random.default_rng(5).permutation(3000)
    permuted = fit_clusters(rows[order], [ids[row] for row in order], batch="b")
    assert one.clusters.assignments == two.clusters.assignments == permuted.clusters.assignments
    assert one.centroids.tobytes() == two.centroids.tobytes() == permuted.centroids.tobytes()


def test_k_means_runs_on_one_thread_whatever_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.cluster import KMeans

    seen: list[int] = []
    fit = KMeans.fit

    def watched(self: KMeans, *arguments: object) -> KMeans:
        seen.extend(pool["num_threads"] for pool in threadpool_info())
        return fit(self, *arguments)

    monkeypatch.setattr(KMeans, "fit", watched)
    with threadpool_limits(limits=2):
        fit_clusters(styles(60, 4, 16, spread=0.3)[0], names(60), batch="b")
        assert max(pool["num_threads"] for pool in threadpool_info()) == min(2, os.cpu_count() or 1)
    assert set(seen) == {1}


def test_ids_go_by_size_and_then_by_smallest_preset_id() -> None:
    directions = np.eye(4, dtype=np.float32)
    rows = directions[[3, 1, 1, 1, 0, 0, 2, 3]]
    fit = fit_clusters(rows, list("abcdefgh"), batch="b", requested_k=4, presets_per_cluster=1)
    assert labels(fit, list("abcdefgh")) == ["c01", "c00", "c00", "c00", "c02", "c02", "c03", "c01"]
    assert [cluster.size for cluster in fit.clusters.clusters] == [3, 2, 2, 1]
    np.testing.assert_allclose(fit.centroids, directions[[1, 3, 0, 2]], atol=1e-6)


def test_ids_of_a_later_batch_count_on_and_pass_the_checks() -> None:
    rows, _ = styles(40, 3, 16, spread=0.3)
    fit = fit_clusters(rows, names(40), batch="big/batch-0002", requested_k=3, first_number=98)
    assert [cluster.id for cluster in fit.clusters.clusters] == ["c98", "c99", "c100"]
    assert [cluster.centroid for cluster in fit.clusters.clusters] == [0, 1, 2]
    assert set(fit.clusters.assignments.values()) == {"c98", "c99", "c100"}
    assert all(finding.passed for finding in check_clusters(fit.clusters, fit.centroids, names(40)))


def test_equal_rows_make_one_cluster_and_few_distinct_rows_no_empty_one() -> None:
    same = np.tile(styles(1, 1, 16, spread=0.1)[0], (40, 1))
    fit = fit_clusters(same, names(40), batch="b")
    assert fit.clusters.k == 1
    assert fit.mean_cosine == pytest.approx(1)
    few = styles(3, 3, 16, spread=0.1)[0][np.arange(90) % 3]
    fit = fit_clusters(few, names(90), batch="b", presets_per_cluster=1)
    assert [cluster.size for cluster in fit.clusters.clusters] == [30, 30, 30]
    assert "3 different embeddings" in (fit.clusters.k_reason or "")


@pytest.mark.parametrize("seed", range(6))
def test_no_cluster_is_empty_however_many_are_wanted(seed: int) -> None:
    rows, _ = styles(60, 3, 8, spread=0.3, seed=seed)
    fit = fit_clusters(rows, names(60), batch="b", requested_k=60, presets_per_cluster=1, seed=seed)
    assert fit.clusters.k == 60
    assert {cluster.size for cluster in fit.clusters.clusters} == {1}


def test_rounding_of_an_embedding_is_no_difference() -> None:
    rows = np.tile(styles(1, 1, 16, spread=0.1)[0], (2, 1))
    rows[1] *= 1 - 1e-7
    rows[0, 0], rows[1, 0] = -0.0, 0.0
    assert count_distinct(rows) == 1


def test_opposite_rows_in_one_cluster_still_give_a_unit_centroid() -> None:
    rows = np.array([[1, 0], [-1, 0]], dtype=np.float32)
    fit = fit_clusters(rows, ["a", "b"], batch="b", requested_k=1)
    np.testing.assert_allclose(np.linalg.norm(fit.centroids, axis=1), 1)


def test_rows_that_cannot_be_clustered_are_refused_by_name() -> None:
    rows, _ = styles(20, 2, 8, spread=0.3)
    broken = rows.copy()
    broken[7, 3] = np.nan
    with pytest.raises(UserError, match="pack-preset-00007"):
        fit_clusters(broken, names(20), batch="b")
    broken[7] = 0
    with pytest.raises(UserError, match="pack-preset-00007"):
        fit_clusters(broken, names(20), batch="b")
    with pytest.raises(UserError, match="19 ids"):
        fit_clusters(rows, names(19), batch="b")
    with pytest.raises(UserError, match="occurs twice"):
        fit_clusters(rows, ["same"] * 20, batch="b")
    with pytest.raises(UserError, match="no embedded preset"):
        fit_clusters(rows[:0], [], batch="b")


def test_a_fit_survives_its_files_and_passes_its_checks(tmp_path: Path) -> None:
    rows, _ = styles(120, 8, 32, spread=0.5)
    fit = fit_clusters(rows, names(120), batch="big/batch-0001", embeddings_sha256="ab" * 32)
    fit.clusters.save(tmp_path / "clusters.v0.json")
    save_centroids(tmp_path / "centroids.npy", fit.centroids)
    loaded, centroids = Clusters.load(tmp_path / "clusters.v0.json"), load_centroids(tmp_path / "centroids.npy")
    assert loaded == fit.clusters
    assert centroids.dtype == np.float32
    assert all(finding.passed for finding in check_clusters(loaded, centroids, names(120)))
    assert {"numpy", "scikit-learn", "blas"} <= (loaded.libraries or {}).keys()
    assert (loaded.libraries or {})["blas"] != "unknown"
