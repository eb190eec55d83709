"""Judged picks as arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from aivj_assets.contracts.audio_style_model import TIER_INPUTS
from aivj_assets.contracts.style import ENERGIES, Energy, StyleIndex
from aivj_assets.show.learn.evidence import Judged

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

SMALLEST_P = 1e-6
"""No pick costs more than this: 13.8."""


@dataclass(frozen=True)
class Design:
    """Picks as arrays of one length n; `counts` picks prove something, the others only train."""

    x: Floats
    """[n, inputs], NaN where an input is missing."""
    tier: Ints
    """[n] row in `ENERGIES`."""
    cluster: Ints
    """[n] row in the model's clusters."""
    liked: Bools
    weight: Floats
    group: Ints
    """[n] number of the track."""
    counts: Bools

    def __len__(self) -> int:
        return len(self.tier)

    def rows(self, chosen: Bools | Ints) -> Design:
        """Return the picks that are chosen."""
        return Design(*(getattr(self, name)[chosen] for name in Design.__dataclass_fields__))

    @staticmethod
    def of_one_tier(design: Design) -> Design:
        """Return the same picks as if all were of the first tier."""
        return replace(design, tier=np.zeros_like(design.tier))

    def with_x(self, x: Floats) -> Design:
        """Return the same picks with other audio."""
        return replace(self, x=x)


def input_row(features: Mapping[str, float], tier: Energy | None, inputs: Sequence[str]) -> Floats:
    """Return the inputs of a model, float64 [inputs]; NaN where one is missing or no finite number."""
    tiers = {} if tier is None else {name: float(name == f"tier.{tier}") for name in TIER_INPUTS}
    values = {**features, **tiers}
    row = np.array([float(values.get(name, math.nan)) for name in inputs])
    row[~np.isfinite(row)] = np.nan
    return row


def make_design(
    judged: Sequence[Judged], clusters: Sequence[str], inputs: Sequence[str], counts: Sequence[bool] | None = None
) -> Design:
    """Return pairs as arrays; groups are numbered in the order of their names."""
    place = {name: row for row, name in enumerate(clusters)}
    groups = {name: number for number, name in enumerate(sorted({pair.group for pair in judged}))}
    return Design(
        x=np.array([input_row(pair.features, pair.tier, inputs) for pair in judged]).reshape(len(judged), len(inputs)),
        tier=np.array([ENERGIES.index(pair.tier) for pair in judged], dtype=np.int64),
        cluster=np.array([place[pair.cluster] for pair in judged], dtype=np.int64),
        liked=np.array([pair.liked for pair in judged], dtype=np.bool_),
        weight=np.array([pair.weight for pair in judged], dtype=np.float64),
        group=np.array([groups[pair.group] for pair in judged], dtype=np.int64),
        counts=np.array(counts if counts is not None else [True] * len(judged), dtype=np.bool_),
    )


def log_losses(p: Floats, design: Design) -> Floats:
    """Return each pick's loss, float64 [n]: -log p(shown) when liked, -log(1 - p(shown)) when skipped."""
    shown = p[np.arange(len(design)), design.cluster]
    right = np.where(design.liked, shown, 1 - shown)
    losses: Floats = -np.log(np.clip(right, SMALLEST_P, 1.0))
    return losses


def group_folds(design: Design, folds: int) -> list[tuple[Ints, Ints]]:
    """Return (training rows, held-out rows): tracks whole; what does not count trains."""
    from sklearn.model_selection import GroupKFold

    counted = np.flatnonzero(design.counts)
    split = []
    for _, test in GroupKFold(folds).split(counted, groups=design.group[counted]):
        held = counted[test]
        seen = ~np.isin(design.group, np.unique(design.group[held]))
        split.append((np.flatnonzero(seen).astype(np.int64), held.astype(np.int64)))
    return split


def tier_shares(index: StyleIndex, clusters: Sequence[str]) -> Floats:
    """Return the share of each cluster among the presets of each tier, float64 [tiers, clusters], rows of sum 1.

    A tier without presets has the shares of the whole index. What nobody has judged yet is taken to be as frequent as
    its presets are.
    """
    place = {name: row for row, name in enumerate(clusters)}
    shares = np.zeros((len(ENERGIES), len(clusters)))
    for entry in index.entries:
        if entry.author_key in place:
            shares[ENERGIES.index(entry.energy), place[entry.author_key]] += 1
    shares[shares.sum(axis=1) == 0] = np.maximum(shares.sum(axis=0), 1e-9)
    dealt: Floats = shares / shares.sum(axis=1, keepdims=True)
    return dealt
