"""A k report with figures that are easy to find again."""

from __future__ import annotations

from typing import Any

from aivj_assets.contracts.k_report import (
    KFigures,
    KRecommendation,
    KReport,
    KReportBatch,
    KSampling,
    KUse,
    Measured,
)
from aivj_assets_tests.builders import NOW


def made_figures(k: int, shift: float = 0.0) -> KFigures:
    def pair(value: float, control: float) -> Measured:
        return Measured(value=value, control=control)

    return KFigures(
        k=k,
        presets_per_cluster=1000 / k,
        smallest_cluster=3,
        largest_cluster=120,
        largest_share_fraction=0.12,
        balance=0.95,
        full_sheets_fraction=0.9,
        clusters_by_energy={"calm": k - 1, "groove": k, "peak": k - 2},
        inertia=pair(400, 900),
        explained_fraction=0.262 + shift,
        cohesion_median=pair(0.55 + shift, 0.3),
        cohesion_worst_decile=pair(0.45 + shift, 0.2),
        silhouette=pair(0.1, -0.05),
        davies_bouldin=pair(3, 9),
        stability_ari=pair(0.7, -0.0001),
        duration_s=2.5,
    )


def made_report(**more: Any) -> KReport:
    """Return a report over k 16 and 32, with fields replaced by `more`."""
    fields: dict[str, Any] = {
        "generated_at": NOW,
        "pack": "big",
        "batches": [KReportBatch(batch="big/batch-0001", presets=1000, embeddings_sha256="0" * 64)],
        "presets": 1000,
        "dim": 8,
        "model": "test-model",
        "seed": 1,
        "sampling": KSampling(
            fit_rows=1000, restarts=3, silhouette_rows=1000, stability_fits=5, stability_fraction=0.8, control_draws=3
        ),
        "use": KUse(presets_per_cluster_min=8, sheet_presets=12, tier_presets=4, cluster_cooldown_switches=2),
        "figures": [made_figures(16), made_figures(32, 0.05)],
        "recommendation": KRecommendation(k=16, reason="it serves.", against=["k 32: too fine"]),
        "libraries": {"numpy": "2"},
        "duration_s": 12.3,
    }
    return KReport(**fields | more)
