"""What is heard as a place among the presets: ridge regression from audio to the embeddings of liked presets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aivj_assets.contracts.audio_style_model import Retrieval, RetrievalScore
from aivj_assets.show.learn.design import Design, Floats, group_folds
from aivj_assets.show.learn.evaluate import FOLDS
from aivj_assets.show.learn.export import rounded
from aivj_assets.show.learn.fit import prepare

MIN_LIKED = 20
REGULARISATIONS = (1.0, 10.0, 100.0, 1000.0)
"""alpha of scikit-learn's ridge regression; the one that is taken leaves the least error, pick by pick left out."""
_CHUNK = 64


@dataclass(frozen=True)
class PresetRows:
    """The pack's embeddings: float32 [n, dim] of unit length, ids in row order, and the model card in words."""

    rows: npt.NDArray[np.float32]
    ids: Sequence[str]
    card: str


def fit_retrieval(
    design: Design, preset_ids: Sequence[str], presets: PresetRows, inputs: list[str]
) -> tuple[Retrieval | None, str | None]:
    """Return the regression with its score on held-out tracks, or why there is none. `preset_ids` go with `design`."""
    place = {preset_id: row for row, preset_id in enumerate(presets.ids)}
    row = np.array([place.get(preset_id, -1) for preset_id in preset_ids], dtype=np.int64)
    chosen = design.liked & design.counts & (row >= 0)
    if int(chosen.sum()) < MIN_LIKED:
        return None, f"{int(chosen.sum())} liked picks are fewer than the {MIN_LIKED} that a retrieval is made from"
    liked, targets = design.rows(chosen), presets.rows[row[chosen]].astype(np.float64)
    pipeline = _fitted(liked.x, targets, inputs)
    ridge = pipeline.named_steps["ridge"]
    return Retrieval(
        matrix=[rounded(one) for one in ridge.coef_], bias=rounded(ridge.intercept_),
        regularisation=float(ridge.alpha_),
        embedded_by=presets.card, score=_score(liked, targets, row[chosen], presets, inputs),
    ), None  # fmt: skip


def _fitted(x: Floats, targets: Floats, inputs: list[str]) -> Any:
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import Pipeline

    prepared = prepare(x, inputs)
    ridge = RidgeCV(alphas=REGULARISATIONS).fit(prepared.transform(x), targets)
    return Pipeline([*prepared.steps, ("ridge", ridge)])


def _score(
    liked: Design, targets: Floats, rows: npt.NDArray[np.int64], presets: PresetRows, inputs: list[str]
) -> RetrievalScore | None:
    groups = len(np.unique(liked.group))
    if groups < 2:
        return None
    found: dict[str, list[float]] = {"model": [], "baseline": []}
    for train, test in group_folds(liked, min(FOLDS, groups)):
        pipeline = _fitted(liked.x[train], targets[train], inputs)
        predicted = pipeline.predict(liked.x[test])
        means = _tier_means(liked.tier[train], targets[train])
        found["model"] += _rank_fractions(predicted, rows[test], presets)
        found["baseline"] += _rank_fractions(np.array([means(tier) for tier in liked.tier[test]]), rows[test], presets)
    return RetrievalScore(
        liked=len(liked),
        model_median_rank_fraction=float(np.median(found["model"])),
        baseline_median_rank_fraction=float(np.median(found["baseline"])),
    )


def _tier_means(tier: npt.NDArray[np.int64], targets: Floats) -> Callable[[int], Floats]:
    every = targets.mean(axis=0)
    means = {int(one): targets[tier == one].mean(axis=0) for one in np.unique(tier)}
    return lambda one: means.get(int(one), every)


def _rank_fractions(places: Floats, rows: npt.NDArray[np.int64], presets: PresetRows) -> list[float]:
    found: list[float] = []
    # A few at a time: a library has a hundred thousand rows.
    for start in range(0, len(rows), _CHUNK):
        some = rows[start : start + _CHUNK]
        cosines = places[start : start + _CHUNK].astype(np.float32) @ presets.rows.T
        own = cosines[np.arange(len(some)), some][:, None]
        found += ((cosines > own).sum(axis=1) / max(1, len(presets.ids) - 1)).tolist()
    return found
