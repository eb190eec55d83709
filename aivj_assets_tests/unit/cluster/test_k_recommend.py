from __future__ import annotations

from typing import Any

from aivj_assets.cluster.k_recommend import recommend_k
from aivj_assets.cluster.k_report import use_of_clusters
from aivj_assets.contracts.k_report import KFigures, Measured

USE = use_of_clusters(2)


def figures(k: int, explained: float, *, full: float = 1.0, clusters: int | None = None, **more: Any) -> KFigures:
    pair = Measured(value=0.5, control=0.1)
    tiers = dict.fromkeys(("calm", "groove", "peak"), k if clusters is None else clusters)
    fields: dict[str, Any] = {
        "k": k, "presets_per_cluster": 1000 / k, "smallest_cluster": 5, "largest_cluster": 90,
        "largest_share_fraction": 0.1, "balance": 0.9, "full_sheets_fraction": full, "clusters_by_energy": tiers,
        "inertia": pair, "explained_fraction": explained, "cohesion_median": pair, "cohesion_worst_decile": pair,
        "silhouette": pair, "davies_bouldin": pair, "stability_ari": pair, "duration_s": 1.0,
    }  # fmt: skip
    return KFigures(**fields | more)


def test_the_largest_k_whose_clusters_serve_is_taken() -> None:
    sweep = [figures(16, 0.3), figures(32, 0.4, full=0.96), figures(64, 0.5, full=0.89), figures(128, 0.6, full=0.4)]
    found = recommend_k(sweep, USE)
    assert found.k == 32
    assert "96% of its clusters fill a sheet of 12" in found.reason
    assert "10.0 points more than k 16" in found.reason
    assert [line.partition(":")[0] for line in found.against] == ["k 64", "k 128"]
    assert "only 89%" in found.against[0]


def test_k_stops_where_more_clusters_explain_no_more() -> None:
    # From 32 to 48 is 0.585 of a doubling: 1.5 points there are 2.6 a doubling.
    sweep = [figures(16, 0.3), figures(32, 0.4), figures(48, 0.415), figures(96, 0.43), figures(192, 0.6)]
    found = recommend_k(sweep, USE)
    assert found.k == 48
    assert found.against == [
        "k 96: from k 48 to 96 a doubling explains 1.5 points more beyond chance, less than 2",
        "k 192: from k 48 to 96 a doubling explains 1.5 points more beyond chance, less than 2",
    ]


def test_every_energy_needs_more_clusters_than_the_cooldown_has_switches() -> None:
    sweep = [figures(16, 0.3), figures(32, 0.4, clusters=2)]
    assert recommend_k(sweep, USE).k == 16
    assert "too few for one to stay away for 2 switches" in recommend_k(sweep, USE).against[0]
    assert recommend_k(sweep, use_of_clusters(1)).k == 32


def test_where_no_k_serves_the_one_with_most_full_sheets_is_named_and_why() -> None:
    found = recommend_k([figures(16, 0.3, full=0.5), figures(32, 0.4, full=0.2)], USE)
    assert found.k == 16
    assert "no k of the sweep serves" in found.reason
    assert "only 50%" in found.reason
    assert len(found.against) == 1


def test_a_single_k_is_not_compared() -> None:
    found = recommend_k([figures(16, 0.0)], USE)
    assert found.k == 16
    assert "more than" not in found.reason
