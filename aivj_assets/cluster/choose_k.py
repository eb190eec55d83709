"""How many clusters a batch gets: the wish, capped for small packs. Measuring which k is good is another matter."""

from __future__ import annotations

from aivj_assets.errors import UserError

DEFAULT_K = 64
DEFAULT_PRESETS_PER_CLUSTER = 8


def capped_k(
    requested_k: int,
    n: int,
    presets_per_cluster: int = DEFAULT_PRESETS_PER_CLUSTER,
    *,
    distinct: int | None = None,
) -> tuple[int, str]:
    """Return (k, one sentence that says how it came about) for `n` embedded presets.

    k is `requested_k`, but not more than n / `presets_per_cluster` rounded to the nearest number, so that a cluster of
    a small pack still holds about that many presets, nor more than `distinct` rows (by default n); at least 1.
    Raises `UserError` when there is nothing to cluster or a figure is below 1.
    """
    if n < 1:
        raise UserError("there is no embedded preset to cluster; look at the batch's frames and embeddings.")
    if requested_k < 1 or presets_per_cluster < 1:
        raise UserError(f"k {requested_k} and presets per cluster {presets_per_cluster} must both be at least 1.")
    fitting = max(1, (2 * n + presets_per_cluster) // (2 * presets_per_cluster))
    available = n if distinct is None else distinct
    k = min(requested_k, fitting, available)
    if k == requested_k:
        return k, f"k {k} as requested, for {n} presets."
    if k == fitting:
        return k, (
            f"k {k} instead of the requested {requested_k}, so that each cluster holds about {presets_per_cluster} "
            f"of the {n} presets."
        )
    return k, f"k {k} instead of the requested {requested_k}: the {n} presets have {available} different embeddings."
