"""Groups of rows that are near one leader: the leader algorithm (Hartigan, "Clustering Algorithms", 1975).

Rows come in the order of preference. Each joins the nearest leader before it, or leads. So a row that is left out for
its leader has been compared with that one itself: there is no chain whose ends have little in common.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

FloatRows = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]
NearPairs = Callable[[Places, Places], npt.NDArray[np.bool_]]

BLOCK_ROWS = 512


def find_nearest(rows: FloatRows, others: FloatRows, min_cosine: float, near: NearPairs) -> tuple[Places, FloatRows]:
    """Return of each unit row [n, d] the nearest of some others [m, d], its place or -1, and the cosine with it.

    Only pairs count whose cosine is at least `min_cosine` and for which `near(places, others' places)`, asked for such
    pairs only, says yes. It is asked for at most 512 x 512 pairs at once, and nothing else grows with their number. Of
    equal cosines the first place counts.
    """
    found = np.full(len(rows), -1, dtype=np.int64)
    best = np.full(len(rows), -np.inf, dtype=np.float32)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = slice(start, min(start + BLOCK_ROWS, len(rows)))
        for first in range(0, len(others), BLOCK_ROWS):
            cosines = rows[block] @ others[first : first + BLOCK_ROWS].T
            places = np.arange(start, start + len(cosines)), np.arange(first, first + cosines.shape[1])
            allowed = _allowed(cosines, cosines >= min_cosine, _among(near, *places))
            nearest = allowed.argmax(axis=1)
            values = allowed[np.arange(len(allowed)), nearest]
            better = values > best[block]
            best[block][better], found[block][better] = values[better], nearest[better] + first
    return found, best


def follow_leaders(rows: FloatRows, min_cosine: float, near: NearPairs) -> Places:
    """Return for each unit row [n, d], in the order of preference, the place of the row that it follows, int64 [n].

    A leader follows itself. A row joins the leader with the largest cosine of those before it that it may join, as in
    `find_nearest`. Takes n * leaders * d multiplications; beside its arguments it holds a copy of the leaders.
    """
    leader = np.arange(len(rows))
    leads = np.zeros(len(rows), dtype=bool)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = np.arange(start, min(start + BLOCK_ROWS, len(rows)))
        known = np.flatnonzero(leads)
        found, best = find_nearest(rows[block], rows[known], min_cosine, _among(near, block, known))
        cosines = rows[block] @ rows[block].T
        allowed = _allowed(cosines, np.tril(cosines >= min_cosine, -1), _among(near, block, block))
        for place, row in enumerate(block):
            values = np.where(leads[block[:place]], allowed[place, :place], -np.inf)
            if place and values.max() > best[place]:
                leader[row] = block[values.argmax()]
            elif found[place] >= 0:
                leader[row] = known[found[place]]
            else:
                leads[row] = True
    return leader


def _among(near: NearPairs, some: Places, others: Places) -> NearPairs:
    """Return `near` for pairs of places in these two lists of places."""

    def asked(one: Places, two: Places) -> npt.NDArray[np.bool_]:
        return near(some[one], others[two])

    return asked


def _allowed(cosines: FloatRows, asked: npt.NDArray[np.bool_], near: NearPairs) -> FloatRows:
    """Return the cosines of the pairs that are asked for and near, of all others minus infinity."""
    one, two = np.nonzero(asked)
    kept = near(one, two)
    allowed = np.full(cosines.shape, -np.inf, dtype=np.float32)
    allowed[one[kept], two[kept]] = cosines[one[kept], two[kept]]
    return allowed
