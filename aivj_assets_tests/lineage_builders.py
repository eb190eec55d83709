"""Rows of styles for tests of lineages: unit vectors around well-separated directions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from aivj_assets.cluster.births import BirthRules
from aivj_assets.cluster.lineage import BatchRows
from aivj_assets.cluster.rows import FloatRows
from aivj_assets.cluster.state import LineageParameters
from aivj_assets.cluster.version import shas_of

DIM = 16
PARAMETERS = LineageParameters(k=4, k_limit=8, births=BirthRules(min_members=8))
MODEL = "m" * 64


def style_rows(styles: Sequence[int], *, seed: int, noise: float = 0.25) -> FloatRows:
    """Return a unit row float32 [n, 16] around the axis of each style (0..15)."""
    rows = np.eye(DIM)[list(styles)] + np.random.default_rng(seed).normal(size=(len(styles), DIM)) * noise / DIM**0.5
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def sha(name: str) -> str:
    """Return a SHA-256 that stands for a preset's content."""
    return hashlib.sha256(name.encode()).hexdigest()


def batch_of(key: str, names: Sequence[str], rows: FloatRows) -> BatchRows:
    """Return a batch of presets known by name."""
    return BatchRows(key, shas_of([sha(name) for name in names]), rows)


def names(prefix: str, count: int) -> list[str]:
    """Return `prefix000` …"""
    return [f"{prefix}{number:03d}" for number in range(count)]
