"""Whether embeddings are fit to be clustered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from aivj_assets.contracts.embeddings import Embeddings
from aivj_assets.contracts.findings import Finding

UNIT_NORM_TOLERANCE = 1e-4


def check_embeddings(embeddings: Embeddings, expected_ids: Sequence[str]) -> list[Finding]:
    """Check embeddings against the ids of the batch's ok presets.

    Findings, in this order: `shape` (as many rows as ids, as many columns as the card says), `finite`, `unit_norm`
    (within 1e-4), `unique_ids`, `one_row_per_ok_preset`.
    """
    vectors = np.asarray(embeddings.vectors)
    ids = embeddings.preset_ids
    wanted = (len(ids), embeddings.meta.dim)
    finite_rows = np.isfinite(vectors).all(axis=1) if vectors.ndim == 2 else np.zeros(0, bool)
    # In float64: the check must not add the rounding that it looks for.
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1) if vectors.ndim == 2 else np.zeros(0)
    deviation = float(np.max(np.abs(norms - 1))) if norms.size and finite_rows.all() else float("nan")
    broken = int(finite_rows.size - finite_rows.sum())
    repeated = [preset_id for preset_id, count in Counter(ids).items() if count > 1]
    return [
        Finding("shape", vectors.shape == wanted, f"{vectors.shape}, expected {wanted}"),
        Finding("finite", norms.size > 0 and broken == 0, f"{broken} of {finite_rows.size} rows hold NaN or infinity"),
        Finding("unit_norm", deviation <= UNIT_NORM_TOLERANCE, f"largest deviation from length 1: {deviation:.2g}"),
        Finding("unique_ids", not repeated, _examples("ids with more than one row", repeated)),
        _coverage(embeddings, expected_ids),
    ]


def _coverage(embeddings: Embeddings, expected_ids: Sequence[str]) -> Finding:
    present, expected = set(embeddings.preset_ids), set(expected_ids)
    left_out = embeddings.meta.left_out
    missing = [
        f"{preset_id} ({left_out[preset_id]})" if preset_id in left_out else preset_id
        for preset_id in expected_ids
        if preset_id not in present
    ]
    foreign = [preset_id for preset_id in embeddings.preset_ids if preset_id not in expected]
    detail = f"{_examples('ok presets without a row', missing)}; {_examples('rows of other presets', foreign)}"
    return Finding("one_row_per_ok_preset", not missing and not foreign, detail)


def _examples(what: str, items: Sequence[str]) -> str:
    shown = f", e.g. {', '.join(items[:3])}" if items else ""
    return f"{len(items)} {what}{shown}"
