"""Whether embeddings are fit to be clustered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aivj_assets.contracts.embeddings import Embeddings
from aivj_assets.contracts.findings import Finding
from aivj_assets.contracts.frames_index import BLACK_MAX_LUMA, FailedRecord, OkRecord
from aivj_assets.contracts.gates import OK_RATE
from aivj_assets.embed.quality import effective_dimension

UNIT_NORM_TOLERANCE = 1e-4
NEAR_BLACK_MAX_FRACTION = 0.2
COLLAPSE_MIN_DIMENSION = 4.0
"""Rows whose effective dimension is below this have collapsed: one or two directions are all that tells presets apart.

Measured on real presets, three frames each, least and median of random draws: the offline model gives 4.4 and 6.0 from
8 rows, 23 and 25 from 60, and 37 from 300; networks with random weights, OpenCLIP's ViT-B-32 and a small one, give
1.7 to 2.2 from 38 to 400 rows.
"""
_BLOCK_VALUES = 2**22


def check_embeddings(
    embeddings: Embeddings, expected_ids: Sequence[str], *, presets: int | None = None
) -> list[Finding]:
    """Check embeddings against the ids of the batch's ok presets.

    `presets` is the number of presets in the manifest, by default as many as `expected_ids`. Findings, in this order:
    `shape` (as many rows as ids, as many columns as the card says), `finite`, `unit_norm` (within 1e-4), `unique_ids`,
    `one_row_per_ok_preset` (each has a row, or a reason why it was left out; rows / presets holds the gate ok_rate, in
    which a preset that was left out counts as failed). Rows may be memory-mapped; they are read a block at a time.
    """
    vectors, ids = embeddings.vectors, embeddings.preset_ids
    wanted = (len(ids), embeddings.meta.dim)
    rows, broken, deviation = _norms(vectors)
    repeated = [preset_id for preset_id, count in Counter(ids).items() if count > 1]
    return [
        Finding("shape", vectors.shape == wanted, f"{vectors.shape}, expected {wanted}"),
        Finding("finite", rows > 0 and broken == 0, f"{broken} of {rows} rows hold NaN or infinity"),
        Finding("unit_norm", deviation <= UNIT_NORM_TOLERANCE, f"largest deviation from length 1: {deviation:.2g}"),
        Finding("unique_ids", not repeated, _examples("ids with more than one row", repeated)),
        _coverage(embeddings, expected_ids, len(expected_ids) if presets is None else presets),
    ]


def rows_are_sound(vectors: np.ndarray[Any, np.dtype[np.float32]]) -> bool:
    """Return whether every row [n, d] is finite and of unit length; rows may be memory-mapped."""
    rows, broken, deviation = _norms(vectors)
    return rows > 0 and broken == 0 and deviation <= UNIT_NORM_TOLERANCE


def _norms(vectors: np.ndarray[Any, np.dtype[np.float32]]) -> tuple[int, int, float]:
    """Return (rows, rows with a value that is no number, largest deviation from length 1; NaN where there is none)."""
    if vectors.ndim != 2 or not vectors.size:
        return 0, 0, float("nan")
    broken, deviation = 0, 0.0
    step = max(1, _BLOCK_VALUES // vectors.shape[1])
    for start in range(0, len(vectors), step):
        block = np.asarray(vectors[start : start + step])
        broken += int(len(block) - np.isfinite(block).all(axis=1).sum())
        # In float64: the check must not add the rounding that it looks for.
        lengths = np.linalg.norm(block.astype(np.float64), axis=1)
        deviation = max(deviation, float(np.max(np.abs(lengths - 1)))) if not broken else float("nan")
    return len(vectors), broken, deviation


def _coverage(embeddings: Embeddings, expected_ids: Sequence[str], presets: int) -> Finding:
    present, expected = set(embeddings.preset_ids), set(expected_ids)
    reasons = embeddings.meta.left_out
    without_row = [preset_id for preset_id in expected_ids if preset_id not in present]
    explained = [f"{preset_id} ({reasons[preset_id]})" for preset_id in without_row if reasons.get(preset_id)]
    missing = [preset_id for preset_id in without_row if not reasons.get(preset_id)]
    foreign = [preset_id for preset_id in embeddings.preset_ids if preset_id not in expected]
    rows = len(present & expected)
    fraction = rows / presets if presets else None
    enough = OK_RATE.holds(fraction)
    share = f"{rows}/{presets}" + ("" if fraction is None else f" = {fraction:.4f}")
    rule = f"rows / presets of the manifest is {share}, required {OK_RATE.comparison} {OK_RATE.threshold:g}"
    parts = [f"{rows} of {len(expected)} ok presets have a row; {rule}"]
    for what, items in (
        ("left out with a reason", explained),
        ("ok presets without a row or a reason", missing),
        ("rows of other presets", foreign),
    ):
        if items:
            parts.append(_examples(what, items))
    if explained and not enough:
        parts.append("materialise frames again")
    return Finding("one_row_per_ok_preset", enough and not missing and not foreign, "; ".join(parts))


def check_inputs(embeddings: Embeddings, records: Mapping[str, OkRecord | FailedRecord]) -> Finding:
    """Check that few of the embedded presets are black: the warning `near_black_inputs`.

    A preset is near-black when its record carries the flag `black`, or its avgLuma (0..1) is below that flag's bound.
    """
    embedded = [record for record in map(records.get, embeddings.preset_ids) if isinstance(record, OkRecord)]
    dark = [
        record.preset_id
        for record in embedded
        if "black" in (record.metrics.flags or ()) or record.metrics.avg_luma < BLACK_MAX_LUMA
    ]
    fraction = len(dark) / len(embedded) if embedded else 0.0
    return Finding(
        "near_black_inputs",
        bool(embedded) and fraction <= NEAR_BLACK_MAX_FRACTION,
        f"{_examples(f'of {len(embedded)} embedded presets are near-black', dark)} ({fraction:.1%}; up to "
        f"{NEAR_BLACK_MAX_FRACTION:.0%} is usual)",
        "warning",
        {"near_black_fraction": fraction},
    )


def check_collapse(embeddings: Embeddings) -> Finding:
    """Check that rows differ in many directions: the warning `collapse`, on their effective dimension.

    With fewer rows than twice the bound the figure says nothing: the finding passes and tells so.
    """
    name, rows = "collapse", len(embeddings.vectors)
    if rows < 2 * COLLAPSE_MIN_DIMENSION:
        return Finding(name, True, f"not judged: {rows} rows, fewer than {2 * COLLAPSE_MIN_DIMENSION:g}", "warning")
    dimension = effective_dimension(embeddings.vectors)
    detail = f"effective dimension {dimension:.1f} of {rows} rows (at least {COLLAPSE_MIN_DIMENSION:g} is usual)"
    passed = dimension >= COLLAPSE_MIN_DIMENSION
    if not passed:
        detail += "; are the weights trained, and do the frames differ?"
    return Finding(name, passed, detail, "warning", {"effective_dimension": dimension})


def _examples(what: str, items: Sequence[str]) -> str:
    shown = f", e.g. {', '.join(items[:3])}" if items else ""
    return f"{len(items)} {what}{shown}"
