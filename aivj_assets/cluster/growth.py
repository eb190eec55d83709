"""A library that grows: unit rows of styles that overlap, drift, and in part appear only in later batches.

What the rows are drawn from, so that figures can be compared:

- styles come in families of about six; two styles of a family have the cosine `overlap`, styles of different families
  are independent directions. Their centres lie in a subspace of `intrinsic_dim` dimensions, as embeddings of real
  pictures nearly do: in all 512, any two styles would be told apart without error;
- a row is normalise(centre + noise), the noise as long as the centre, four fifths of its variance inside the subspace;
- a style's share of a batch is log-normal (sigma 0.5), so that the largest of 100 styles has about ten times the share
  of the smallest;
- a centre moves by `drift` of its length in a direction of its own over all steps;
- `late_fraction` of the styles appear first at a step drawn evenly from the second to three quarters of all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from aivj_assets.cluster.rows import Figures, FloatRows, Labels
from aivj_assets.errors import UserError


@dataclass(frozen=True)
class GrowthPlan:
    """What grows and how."""

    seed: int = 1
    overlap: float = 0.5
    styles: int = 100
    late_fraction: float = 0.36
    drift: float = 0.3
    steps: int = 12
    first: int = 2_000
    middle: int = 15_000
    final: int = 130_000
    dim: int = 512
    intrinsic_dim: int = 20
    noise: float = 1.0

    def __post_init__(self) -> None:
        if not (0 <= self.overlap < 1 and 0 <= self.late_fraction < 1):
            raise UserError("overlap and the share of late styles must be at least 0 and below 1.")
        if self.styles < 2 or self.steps < 2 or self.intrinsic_dim > self.dim:
            raise UserError("a growth needs two styles, two steps and no more intrinsic dimensions than dimensions.")
        if not self.styles <= self.first <= self.final:
            raise UserError("the first batch must hold a preset a style and not be larger than the library at the end.")

    @property
    def totals(self) -> list[int]:
        """Size of the library after each step: by equal factors to `middle`, then by equal batches to `final`."""
        middle = min(max(self.middle, self.first), self.final)
        early = min(self.steps - 2, max(1, self.steps // 3 - 1)) if middle > self.first else 0
        if middle == self.final:
            early = self.steps - 1
        growing = [self.first * (middle / self.first) ** (step / max(early, 1)) for step in range(early + 1)]
        even = [
            middle + (self.final - middle) * step / (self.steps - 1 - early) for step in range(1, self.steps - early)
        ]
        return [round(total) for total in [*growing, *even]]


@dataclass(frozen=True)
class GrowthBatch:
    """Rows float32 [n, d] that come in a step, and the true style of each."""

    step: int
    rows: FloatRows
    truth: Labels


@dataclass(frozen=True)
class Growth:
    """A drawn plan: `first_step` int [styles] says in which step each style appears."""

    plan: GrowthPlan
    first_step: Labels
    _centres: Figures = field(repr=False)
    _paths: Figures = field(repr=False)
    _shares: Figures = field(repr=False)
    _basis: Figures = field(repr=False)

    @classmethod
    def draw(cls, plan: GrowthPlan) -> Growth:
        """Draw the styles of a plan by its seed."""
        random = np.random.default_rng([plan.seed, 0])
        basis = np.linalg.qr(random.normal(size=(plan.dim, plan.intrinsic_dim)))[0].T
        family = random.integers(0, max(1, round(plan.styles / 6)), plan.styles)
        common = _unit(random.normal(size=(plan.styles, plan.intrinsic_dim)))[family]
        own = _unit(random.normal(size=(plan.styles, plan.intrinsic_dim)))
        centres = _unit(np.sqrt(plan.overlap) * common + np.sqrt(1 - plan.overlap) * own)
        paths = _unit(random.normal(size=(plan.styles, plan.intrinsic_dim)))
        shares = np.exp(random.normal(scale=0.5, size=plan.styles))
        late = random.permutation(plan.styles) < round(plan.late_fraction * plan.styles)
        last = max(1, plan.steps * 3 // 4 - 1)
        first_step = np.where(late, random.integers(1, last + 1, plan.styles), 0)
        return cls(plan, first_step.astype(np.int64), centres, paths, shares, basis)

    def batches(self) -> Iterator[GrowthBatch]:
        """Yield the batches in turn."""
        before = 0
        for step, total in enumerate(self.plan.totals):
            yield self._batch(step, total - before)
            before = total

    def _batch(self, step: int, count: int) -> GrowthBatch:
        plan = self.plan
        random = np.random.default_rng([plan.seed, 1, step])
        moved = _unit(self._centres + plan.drift * step / max(1, plan.steps - 1) * self._paths)
        shares = self._shares * (self.first_step <= step)
        truth = random.choice(plan.styles, count, p=shares / shares.sum())
        inside = moved[truth] + random.normal(size=(count, plan.intrinsic_dim)) * plan.noise * np.sqrt(
            0.8 / plan.intrinsic_dim
        )
        rows = np.empty((count, plan.dim), dtype=np.float32)
        for begin in range(0, count, 4096):
            part = slice(begin, begin + 4096)
            around = random.normal(size=(len(truth[part]), plan.dim)) * plan.noise * np.sqrt(0.2 / plan.dim)
            rows[part] = _unit(inside[part] @ self._basis + around)
        return GrowthBatch(step, rows, truth.astype(np.int64))


def _unit(vectors: Figures) -> Figures:
    unit: Figures = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit
