"""How a figure grows with the library: a straight line, and the exponent of a power."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Growth:
    """A figure over a library's size. `exponent` is the slope of log(figure) over log(size): 0 constant, 1 linear.

    `r2` says how much of the logarithm's variance the power explains; `per_thousand` is the slope of the straight line
    per thousand presets, `line_r2` how much of the variance it explains. NaN becomes None: too few points.
    """

    exponent: float | None
    r2: float | None
    per_thousand: float | None
    line_r2: float | None
    last: float
    points: int

    def to_json(self) -> dict[str, Any]:
        """Return the figures for a report."""
        return {name: None if value is None else round(value, 4) for name, value in asdict(self).items()}


def growth_of(sizes: Sequence[int], figures: Sequence[float]) -> Growth:
    """Fit a figure over library sizes by least squares; points that are not positive have no logarithm."""
    x, y = np.asarray(sizes, np.float64), np.asarray(figures, np.float64)
    slope, line_r2 = _line(x, y)
    positive = (x > 0) & (y > 0)
    exponent, r2 = _line(np.log(x[positive]), np.log(y[positive]))
    per_thousand = None if slope is None else 1000 * slope
    return Growth(exponent, r2, per_thousand, line_r2, float(y[-1]) if len(y) else 0.0, len(y))


def _line(x: Any, y: Any) -> tuple[float | None, float | None]:
    """Return (slope, R2) of a straight line; (None, None) of fewer than three points or one size."""
    if len(x) < 3 or float(np.ptp(x)) == 0:
        return None, None
    slope, base = np.polyfit(x, y, 1)
    spread = float(((y - y.mean()) ** 2).sum())
    left = float(((y - (slope * x + base)) ** 2).sum())
    return float(slope), 1.0 if spread == 0 else 1 - left / spread
