"""Labels of clusters: from a list of prompts where the model has a text side, else words for what the frames show."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aivj_assets.contracts.cluster_labels import MAX_LABEL_CHARS, ClusterLabel, LabelScore
from aivj_assets.errors import UserError
from aivj_assets.style.appearance import Appearance
from aivj_assets.style.describe import Description, describe_clusters
from aivj_assets.style.prompts import Prompt

Vectors = npt.NDArray[np.float32]

DEFAULT_LOGIT_SCALE = 100.0
"""CLIP's bound of its learned temperature, at which trained models end up; the model's own where it is known."""
MIN_LIFT = 2.0
"""A zero-shot label counts from this many times the score that every prompt would have by chance."""
ALTERNATIVES = 4


def zero_shot_labels(
    centroids: Vectors, text_vectors: Vectors, prompts: Sequence[Prompt], *, logit_scale: float = DEFAULT_LOGIT_SCALE
) -> list[list[LabelScore]]:
    """Return for each cluster all labels with their scores 0..1 (sum 1), best first; equal ones in the list's order.

    `centroids` float32 [k, d] and `text_vectors` float32 [p, d] (of `prompt_vectors`) are of one model. The score is
    softmax(logit_scale · (cosine - mean cosine of the prompt over the clusters)) over the prompts. Without the mean the
    prompts that suit any computer graphics win everywhere: cosines of images and texts differ more between prompts
    than between clusters (the gap between modalities: Liang et al. 2022, "Mind the Gap"). It is the same as moving the
    library's mean picture to the origin, so that a label tells what sets a cluster apart from the others. A single
    cluster has no others: its plain cosines count. Scores rank labels; they are not probabilities that one is right.

    Raises `UserError` when the dimensions differ or a centroid is no direction.
    """
    if text_vectors.shape[0] != len(prompts):
        raise ValueError(f"{len(prompts)} prompts, but {text_vectors.shape[0]} text vectors")
    if centroids.shape[1] != text_vectors.shape[1]:
        raise UserError(
            f"Centroids have {centroids.shape[1]} dimensions, the text vectors {text_vectors.shape[1]}: "
            "labels need the model that made the embeddings."
        )
    if not math.isfinite(logit_scale) or logit_scale <= 0:
        raise UserError(f"The logit scale is {logit_scale}; it is a number above 0, in CLIP about 100.")
    cosines = _unit(centroids, "centroid") @ _unit(text_vectors, "text vector").T
    if len(cosines) > 1:
        cosines -= cosines.mean(axis=0)
    logits = logit_scale * cosines
    scores = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores /= scores.sum(axis=1, keepdims=True)
    # Rounded before sorting: the last bits of a product differ between machines.
    scores = np.round(scores, 6)
    ranking = np.argsort(-scores, axis=1, kind="stable")
    return [
        [LabelScore(label=prompts[place].label, score=float(row[place])) for place in order]
        for row, order in zip(scores, ranking, strict=True)
    ]


def _unit(vectors: Vectors, name: str) -> npt.NDArray[np.float64]:
    rows = vectors.astype(np.float64)
    norms: npt.NDArray[np.float64] = np.linalg.norm(rows, axis=1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(norms[:, 0]) | (norms[:, 0] < 1e-12))
    if len(bad):
        raise UserError(f"The {name} in row {bad[0]} is no direction: its length is {norms[bad[0], 0]}.")
    unit: npt.NDArray[np.float64] = rows / norms
    return unit


@dataclass(frozen=True)
class ZeroShot:
    """Ranked labels {cluster id: of `zero_shot_labels`} and the name of the model behind them (`ModelCard.name`)."""

    ranked: Mapping[str, Sequence[LabelScore]]
    model: str


@dataclass(frozen=True)
class ComputedLabels:
    """Labels by cluster id, and why other clusters have none; both go into `merged_labels`."""

    labels: dict[str, ClusterLabel]
    unlabelled: dict[str, str]


def compute_labels(
    appearances: Mapping[str, Appearance],
    *,
    at: str,
    zero_shot: ZeroShot | None = None,
    taken: Collection[str] = (),
    min_lift: float = MIN_LIFT,
) -> ComputedLabels:
    """Return a label for each cluster of `appearances` (of `measure_clusters`) and of `zero_shot`.

    With `zero_shot` a cluster has its best label when that scores at least `min_lift` times what all prompts would
    have alike; when two clusters have the same, its words are added: "tunnel (dark blue, fast)". All others are
    described by their frames. `taken` are labels of clusters that are not labelled now and keep theirs: none of them is
    given again as it is. `at` is the time, ISO-8601 UTC.
    """
    described = describe_clusters(appearances, taken=taken)
    ranked = zero_shot.ranked if zero_shot else {}
    sure = {key: best for key, best in ranked.items() if best and best[0].score * len(best) >= min_lift}
    counts = Counter(best[0].label for best in sure.values()) + Counter(taken)
    labels: dict[str, ClusterLabel] = {}
    unlabelled: dict[str, str] = {}
    for key in sorted({*appearances, *ranked}, key=lambda name: (len(name), name)):
        words = described.get(key)
        if key in sure and zero_shot is not None:
            is_shared = counts[sure[key][0].label] > 1
            labels[key] = _zero_shot_label(sure[key], words, zero_shot.model, is_shared=is_shared, at=at)
        elif words is not None:
            labels[key] = _descriptive_label(words, ranked.get(key, ()), at)
        else:
            unlabelled[key] = appearances[key].problem or "nothing fits" if key in appearances else "no label fits"
    return ComputedLabels(labels, unlabelled)


def _zero_shot_label(
    ranked: Sequence[LabelScore], words: Description | None, model: str, *, is_shared: bool, at: str
) -> ClusterLabel:
    best = ranked[0]
    label = f"{best.label} ({words.label})" if is_shared and words else best.label
    return ClusterLabel(
        # Both parts are short unless a user's list has long labels; a list's label alone always fits.
        label=label if len(label) <= MAX_LABEL_CHARS else best.label,
        source="zero-shot",
        score=best.score,
        alternatives=list(ranked[1 : 1 + ALTERNATIVES]),
        evidence={"model": model, "prompts": len(ranked), **(_evidence(words) if words else {})},
        set_at=at,
    )


def _descriptive_label(words: Description, ranked: Sequence[LabelScore], at: str) -> ClusterLabel:
    return ClusterLabel(
        label=words.label,
        source="descriptive",
        alternatives=list(ranked[:ALTERNATIVES]),
        evidence=_evidence(words),
        set_at=at,
    )


def _evidence(words: Description) -> dict[str, object]:
    """Return the figures for a person: three digits, so that a file does not change with the last bits."""
    return {
        "words": words.label,
        "colours": {name: round(share, 3) for name, share in words.colours.items()},
        "means": {name: round(value, 3) for name, value in words.figures.items()},
        "ranks": {name: round(value, 3) for name, value in words.ranks.items()},
        "presets": words.presets,
    }
