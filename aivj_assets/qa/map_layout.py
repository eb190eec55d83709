"""Where each preset lies on the style map: t-SNE in the plane, begun from the places of the map before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

FloatRows = npt.NDArray[np.float32]
Places = npt.NDArray[np.float64]
Progress = Callable[[int, int], None]

COMPONENTS = 50
NEIGHBOURS = 15
# A new preset begins at the mean of so many known ones.
ANCHORS = 5
# Below this share of known presets the map is laid out in full; their places still say where its parts begin.
KNOWN_MIN_FRACTION = 0.5

_INTERPOLATED_FROM = 2_000
_EARLY_ITERATIONS, _EARLY_EXAGGERATION = 250, 12
_ITERATIONS, _SETTLING_ITERATIONS = 500, 100
_CALLBACK_ITERATIONS = 25
_FEWEST_POINTS = 8
_START_DEVIATION = 1e-4
_CHUNK_ROWS = 128


@dataclass(frozen=True)
class Moved:
    """How far the presets that were on the map before have moved, as fractions of the map's diagonal."""

    known: int
    median_fraction: float
    p95_fraction: float


@dataclass(frozen=True)
class MapLayout:
    """Places float64 [n, 2], centred, and how far known presets moved (None without a map before)."""

    places: Places
    begun_from: int
    """Presets that had a place before; 0 for a first map."""
    moved: Moved | None
    method: str


def lay_out(
    rows: FloatRows,
    preset_ids: Sequence[str],
    before: Mapping[str, tuple[float, float]] | None = None,
    *,
    seed: int = 1,
    progress: Progress | None = None,
) -> MapLayout:
    """Return places in the plane for unit rows float32 [n, d].

    t-SNE (openTSNE) on the first 50 principal components, with the 15 nearest neighbours of each row. Presets in
    `before` begin where they were, others at the mean of their five nearest known ones; the result is turned and
    shifted, never scaled, so that known presets lie as near to their old places as possible. On one machine the same
    input gives the same places. `progress` hears (steps done, steps).
    """
    components = principal_components(rows, seed)
    known = np.array([name in (before or {}) for name in preset_ids], dtype=bool)
    old = np.array([before[name] for name in preset_ids if before and name in before], dtype=np.float64).reshape(-1, 2)
    start = None if not len(old) else _start(components, known, old, seed)
    settled = start is not None and known.mean() >= KNOWN_MIN_FRACTION
    if len(rows) < _FEWEST_POINTS:
        places = _plane(components) if start is None else start
    else:
        places = _embed(components, start, settled=settled, seed=seed, progress=progress)
    places = places - places.mean(axis=0)
    moved = None
    if known.sum() >= 3:
        places = align(places, known, old)
        moved = movement(old, places[known])
    how = "settled from the map before" if settled else "laid out in full"
    return MapLayout(places, int(known.sum()), moved, f"openTSNE {version('openTSNE')}, {how}")


def principal_components(rows: FloatRows, seed: int) -> FloatRows:
    """Return the rows' first principal components, float32 [n, at most 50]."""
    from sklearn.decomposition import PCA

    count = min(COMPONENTS, *rows.shape)
    if count < 1 or len(rows) < 3:
        return np.zeros((len(rows), 2), dtype=np.float32)
    wide = rows.shape[1] > len(rows)
    model = PCA(count, svd_solver="full" if wide else "covariance_eigh", random_state=seed)
    return np.ascontiguousarray(model.fit_transform(np.asarray(rows)), dtype=np.float32)


def align(places: Places, known: npt.NDArray[np.bool_], old: Places) -> Places:
    """Turn, mirror and shift `places` [n, 2] so that those `known` come as near as possible to `old` [known, 2]."""
    from scipy.linalg import orthogonal_procrustes

    mine = places[known]
    turn, _ = orthogonal_procrustes(mine - mine.mean(axis=0), old - old.mean(axis=0))
    aligned: Places = (places - mine.mean(axis=0)) @ turn + old.mean(axis=0)
    return aligned


def movement(old: Places, new: Places) -> Moved:
    """Return how far points [n, 2] have moved, as fractions of the diagonal that the old ones span."""
    diagonal = float(np.linalg.norm(np.ptp(old, axis=0))) or 1.0
    way = np.linalg.norm(new - old, axis=1) / diagonal
    return Moved(len(old), float(np.median(way)), float(np.quantile(way, 0.95)))


def _plane(components: FloatRows) -> Places:
    plane = np.zeros((len(components), 2))
    width = min(2, components.shape[1])
    plane[:, :width] = components[:, :width]
    return plane


def _start(components: FloatRows, known: npt.NDArray[np.bool_], old: Places, seed: int) -> Places:
    """Return where each point begins [n, 2]: known ones at their old place, others among their nearest known ones."""
    start = np.empty((len(components), 2))
    start[known] = old
    base, fresh = components[known], np.flatnonzero(~known)
    count = min(ANCHORS, len(base))
    base_squares = np.einsum("ij,ij->i", base, base)
    for begin in range(0, len(fresh), _CHUNK_ROWS):
        part = fresh[begin : begin + _CHUNK_ROWS]
        distance = base_squares - 2 * components[part] @ base.T
        nearest = np.argpartition(distance, count - 1, axis=1)[:, :count]
        start[part] = old[nearest].mean(axis=1)
    # Two points at one place would never part.
    spread = 1e-3 * max(float(old.std()), 1e-9)
    start[fresh] += np.random.default_rng(seed).normal(scale=spread, size=(len(fresh), 2))
    return start


def _embed(
    components: FloatRows, start: Places | None, *, settled: bool, seed: int, progress: Progress | None
) -> Places:
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import Uniform
    from openTSNE.initialization import rescale

    early = 0 if settled else _EARLY_ITERATIONS
    late = _SETTLING_ITERATIONS if settled else _ITERATIONS
    # The neighbours take about as long as the early iterations.
    total = _EARLY_ITERATIONS + early + late
    tell = progress or (lambda _done, _total: None)
    tell(0, total)
    affinities = Uniform(
        components, k_neighbors=min(NEIGHBOURS, len(components) - 1), method="annoy", symmetrize="mean", n_jobs=1,
        random_state=seed,
    )  # fmt: skip
    tell(_EARLY_ITERATIONS, total)
    begin = start if start is not None else _plane(components)
    if not settled:
        begin = rescale(begin, target_std=_START_DEVIATION)
    # One thread: sums over several would differ in their last bits, and with them the map.
    # Interpolation costs 5 s however few the points are; Barnes-Hut 0.2 s for 180, 2.6 s for 2,000.
    method = "fft" if len(components) >= _INTERPOLATED_FROM else "bh"
    made = TSNEEmbedding(begin, affinities, negative_gradient_method=method, n_jobs=1, random_state=seed)

    def phase(count: int, before: int, **how: Any) -> None:
        def told(iteration: int, _error: float, _places: Any) -> bool:
            tell(before + iteration, total)
            return False

        made.optimize(
            count, inplace=True, momentum=0.8, callbacks=told, callbacks_every_iters=_CALLBACK_ITERATIONS, **how
        )

    if early:
        phase(early, _EARLY_ITERATIONS, exaggeration=_EARLY_EXAGGERATION)
    phase(late, _EARLY_ITERATIONS + early)
    tell(total, total)
    return np.array(made, dtype=np.float64)
