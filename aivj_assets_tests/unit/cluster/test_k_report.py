from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from aivj_assets.cluster import k_report
from aivj_assets.cluster.k_report import PackRows, Sweep, parse_ks, sweep_k, use_of_clusters
from aivj_assets.contracts.style import Energy
from aivj_assets.errors import UserError

Rows = npt.NDArray[np.float32]
USE = use_of_clusters(2)


def styles(n: int, count: int, dim: int, spread: float, seed: int = 0) -> tuple[Rows, npt.NDArray[np.int64]]:
    """Unit rows around `count` directions, each style in turn."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(count, dim))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    truth = np.arange(n) % count
    rows = centres[truth] + random.normal(size=(n, dim)) * spread / np.sqrt(dim)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), truth


def names(n: int) -> list[str]:
    return [f"p{number:05d}" for number in range(n)]


def pack(*parts: tuple[Rows, list[str]]) -> PackRows:
    return PackRows([(lambda rows=rows: rows, ids) for rows, ids in parts])


def swept(
    rows: Rows, ks: list[int], energy_of: Callable[[str], Energy | None] = lambda _: "calm", **more: Any
) -> Sweep:
    return sweep_k(pack((rows, names(len(rows)))), use=USE, energy_of=energy_of, ks=ks, **more)


def without_times(sweep: Sweep) -> list[dict[str, Any]]:
    return [{**figure.to_json(), "durationS": None} for figure in sweep.figures]


def test_figures_of_known_styles_are_those_of_the_styles() -> None:
    rows, truth = styles(600, 12, 64, spread=0.5)
    (figure,) = swept(rows, [12]).figures
    sums = np.stack([rows[truth == number].sum(axis=0, dtype=np.float64) for number in range(12)])
    own = (sums / np.linalg.norm(sums, axis=1, keepdims=True))[truth]
    assert figure.inertia.value == pytest.approx(np.square(rows - own).sum(), rel=1e-5)
    cosine = np.einsum("ij,ij->i", rows, own)
    of_style = [cosine[truth == number].mean() for number in range(12)]
    assert figure.cohesion_median.value == pytest.approx(np.median(of_style), abs=1e-5)
    assert figure.cohesion_worst_decile.value == pytest.approx(np.quantile(of_style, 0.1), abs=1e-5)
    assert figure.stability_ari.value == pytest.approx(1)
    assert (figure.smallest_cluster, figure.largest_cluster) == (50, 50)
    assert (figure.presets_per_cluster, figure.balance, figure.full_sheets_fraction) == (50, 1, 1)
    assert figure.explained_fraction == pytest.approx(1 - figure.inertia.value / figure.inertia.control, abs=1e-5)


def test_silhouette_and_davies_bouldin_are_scikit_learn_s() -> None:
    from sklearn.metrics import davies_bouldin_score, silhouette_score

    rows, truth = styles(300, 6, 32, spread=0.6)
    (figure,) = swept(rows, [6]).figures
    assert figure.silhouette.value == pytest.approx(silhouette_score(rows, truth, metric="cosine"), abs=1e-5)
    assert figure.davies_bouldin.value == pytest.approx(davies_bouldin_score(rows, truth), abs=1e-4)


def test_controls_are_what_random_clusters_of_the_same_sizes_have() -> None:
    rows, truth = styles(400, 8, 32, spread=1.0)
    (figure,) = swept(rows, [8]).figures
    random = np.random.default_rng(0)
    inertia, cohesion = [], []
    for _ in range(50):
        labels = random.permutation(truth)
        sums = np.stack([rows[labels == number].sum(axis=0) for number in range(8)])
        own = (sums / np.linalg.norm(sums, axis=1, keepdims=True))[labels]
        inertia.append(np.square(rows - own).sum())
        cosine = np.einsum("ij,ij->i", rows, own)
        cohesion.append(np.median([cosine[labels == number].mean() for number in range(8)]))
    # The clusters found are of nearly the sizes of the styles.
    assert figure.inertia.control == pytest.approx(np.mean(inertia), rel=0.01)
    assert figure.cohesion_median.control == pytest.approx(np.mean(cohesion), rel=0.05)
    assert abs(figure.stability_ari.control) < 0.02
    assert figure.silhouette.control < 0.01 < figure.silhouette.value
    assert figure.davies_bouldin.control > 2 * figure.davies_bouldin.value


def test_without_structure_no_k_explains_much_and_nothing_is_stable() -> None:
    rows, _ = styles(800, 800, 64, spread=0.0)
    with_styles, _ = styles(800, 16, 64, spread=0.8)
    (none,), (some,) = swept(rows, [16]).figures, swept(with_styles, [16]).figures
    assert none.explained_fraction < 0.5 * some.explained_fraction
    assert none.stability_ari.value < 0.3 < some.stability_ari.value


def test_more_clusters_than_styles_explain_no_more_beyond_chance() -> None:
    figures = swept(styles(960, 24, 64, spread=0.8)[0], [12, 24, 48]).figures
    few, right, many = (figure.explained_fraction for figure in figures)
    assert right - few > 0.1
    assert many - right < 0.02
    # What k-means makes small goes on falling: it says nothing by itself.
    assert figures[2].inertia.value < figures[1].inertia.value


def test_order_batches_threads_and_other_k_change_nothing() -> None:
    rows, _ = styles(500, 15, 48, spread=1.4)
    ids = names(500)
    with threadpool_limits(limits=1):
        one = without_times(swept(rows, [8, 16]))
    with threadpool_limits(limits=2):
        assert without_times(swept(rows, [16, 8, 16])) == one
    order = np.random.default_rng(1).permutation(500)
    mixed = pack(*((rows[part], [ids[row] for row in part]) for part in (order[:180], order[180:190], order[190:])))
    again = sweep_k(mixed, use=USE, energy_of=lambda _: "calm", ks=[16])
    assert without_times(again) == one[1:]
    assert without_times(swept(rows, [16], seed=2)) != one[1:]


def test_it_runs_on_one_thread_whatever_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.cluster import KMeans

    seen: list[int] = []
    fit = KMeans.fit

    def watched(self: KMeans, *arguments: object) -> KMeans:
        seen.extend(pool["num_threads"] for pool in threadpool_info())
        return fit(self, *arguments)

    monkeypatch.setattr(KMeans, "fit", watched)
    with threadpool_limits(limits=2):
        swept(styles(80, 4, 16, spread=0.3)[0], [4])
    assert set(seen) == {1}


def test_of_a_large_pack_a_sample_is_fitted_and_all_presets_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(k_report, "_FIT_ROWS", 300)
    monkeypatch.setattr(k_report, "_SILHOUETTE_ROWS", 100)
    monkeypatch.setattr(k_report, "_BLOCK_ROWS", 128)
    rows, truth = styles(1200, 10, 32, spread=0.4)
    sweep = swept(rows, [10])
    assert (sweep.presets, sweep.sampling.fit_rows, sweep.sampling.silhouette_rows) == (1200, 300, 100)
    (figure,) = sweep.figures
    assert (figure.smallest_cluster, figure.largest_cluster) == (120, 120)
    sums = np.stack([rows[truth == number].sum(axis=0, dtype=np.float64) for number in range(10)])
    assert figure.inertia.value == pytest.approx(2 * (1200 - np.linalg.norm(sums, axis=1).sum()), rel=1e-5)


def test_a_cluster_counts_for_an_energy_of_which_it_holds_four_presets() -> None:
    rows, truth = styles(120, 3, 32, spread=0.2)
    # Style 0 is calm throughout, style 1 has three peak presets, style 2 has four; two presets have no energy.
    peak = {*np.flatnonzero(truth == 1)[:3], *np.flatnonzero(truth == 2)[:4]}
    energies: dict[str, Energy | None] = {
        name: None if row in {0, 3} else "peak" if row in peak else "calm" for row, name in enumerate(names(120))
    }
    (figure,) = swept(rows, [3], energies.__getitem__).figures
    assert figure.clusters_by_energy == {"calm": 3, "groove": 0, "peak": 1}


def test_sheets_are_full_from_twelve_presets_on() -> None:
    rows, truth = styles(90, 3, 32, spread=0.2)
    kept = np.concatenate(
        [np.flatnonzero(truth == 0)[:11], np.flatnonzero(truth == 1)[:12], np.flatnonzero(truth == 2)]
    )
    (figure,) = swept(rows[kept], [3]).figures
    assert figure.full_sheets_fraction == pytest.approx(2 / 3, abs=1e-5)
    assert (figure.smallest_cluster, figure.largest_cluster) == (11, 30)
    assert figure.largest_share_fraction == pytest.approx(30 / 53, abs=1e-5)


def test_k_with_too_few_presets_is_left_out_and_said() -> None:
    sweep = swept(styles(64, 4, 16, spread=0.3)[0], [4, 8, 9])
    assert [figure.k for figure in sweep.figures] == [4, 8]
    assert [(left.k, left.why) for left in sweep.left_out] == [(9, "64 presets are fewer than 8 a cluster")]
    few = styles(4, 4, 16, spread=0.3)[0][np.arange(64) % 4]
    assert [left.why for left in swept(few, [4, 8]).left_out] == ["there are 4 different embeddings"]


@pytest.mark.parametrize(
    ("presets", "hint"), [(60, "try --k 7 and smaller ones"), (9, "such a pack needs no clusters")]
)
def test_a_pack_too_small_for_every_k_is_one_line(presets: int, hint: str) -> None:
    with pytest.raises(UserError, match=hint) as refused:
        swept(styles(presets, 4, 16, spread=0.3)[0], [16, 32])
    assert "\n" not in str(refused.value)
    with pytest.raises(UserError, match="no embedded preset"):
        swept(np.empty((0, 16), np.float32), [16])


def test_rows_that_cannot_be_compared_are_refused_by_name() -> None:
    rows, _ = styles(40, 2, 16, spread=0.3)
    for value in (np.nan, 7.0):
        broken = rows.copy()
        broken[7, 3] = value
        with pytest.raises(UserError, match="p00007"):
            swept(broken, [2])
    with pytest.raises(UserError, match="presets in two batches: 'p00003'"):
        pack((rows[:20], names(20)), (rows[:1], ["p00003"]))


def test_progress_goes_up_to_the_number_of_fits() -> None:
    seen: list[tuple[int, int]] = []
    swept(styles(80, 4, 16, spread=0.3)[0], [2, 4, 64], progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 12) for done in range(1, 13)]


def test_files_are_open_only_while_rows_are_read() -> None:
    import gc
    import weakref

    rows, _ = styles(80, 4, 16, spread=0.3)
    opened: list[weakref.ref[Rows]] = []

    def open_rows() -> Rows:
        copy = rows.copy()
        opened.append(weakref.ref(copy))
        return copy

    def look(_done: int, _total: int) -> None:
        gc.collect()
        assert not any(each() is not None for each in opened)

    sweep_k(PackRows([(open_rows, names(80))]), use=USE, energy_of=lambda _: None, ks=[2, 4], progress=look)
    assert len(opened) >= 3


@pytest.mark.parametrize(("text", "ks"), [("16,32,64", [16, 32, 64]), (" 64, 16 ,16", [16, 64]), ("2", [2])])
def test_a_list_of_k_is_sorted_and_each_counts_once(text: str, ks: list[int]) -> None:
    assert parse_ks(text) == ks


@pytest.mark.parametrize("text", ["", "16,", "16;32", "a", "1.5", "-4", "1e3", "²", "9" * 400, "1,2", "0"])
def test_a_malformed_list_of_k_is_one_line(text: str) -> None:
    with pytest.raises(UserError) as refused:
        parse_ks(text)
    assert "\n" not in str(refused.value)
