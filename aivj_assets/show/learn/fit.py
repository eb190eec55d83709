"""Fitting: which style fits what is heard, from likes and skips.

A like names the style, a skip names one that it was not: a partial label. With one style that fits best the likelihood
of a pick of style c is p(c) when liked and 1 - p(c) when skipped; it is maximised by expectation-maximisation (Jin and
Ghahramani 2002, Learning with multiple labels), whose inner step is scikit-learn's weighted classifier. Where several
styles may fit, each has a logistic regression of its own on its own picks.

All begin from the baseline's prior (`frequencies`): likes at each tier's mean sound, dealt to the styles as the tier's
presets are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aivj_assets.contracts.audio_style_model import TIER_INPUTS, ModelKind, StyleForm
from aivj_assets.contracts.style import ENERGIES
from aivj_assets.show.learn.design import Design, Floats, Ints
from aivj_assets.show.learn.frequencies import Smoothing, liked_share, others, tier_frequencies

CLIP = 6.0
"""Standard deviations beyond which an input is cut."""
TIER_GAIN = 4.0
"""The tier's inputs are so much larger: regularisation holds the audio back, not what the baseline knows too."""
REGULARISATIONS = (0.01, 0.05, 0.25)
"""C of scikit-learn's logistic regression: the smaller, the nearer to the tier's frequencies."""
HIDDEN_UNITS = 12
_MLP_ALPHA = 10.0
_ROUNDS = 3
_DRAWN_LABELS = 3_000
_LEAST_DRAWS = 3


@dataclass(frozen=True)
class Setting:
    """How a model is fitted. `c` is the regularisation of the logistic regressions."""

    kind: ModelKind = "logistic"
    form: StyleForm = "one"
    seed: int = 1
    c: float = 0.05
    smoothing: Smoothing = field(default_factory=Smoothing)


@dataclass(frozen=True)
class Fitted:
    """A fitted model: inputs -> p over the clusters. `pipelines` are scikit-learn's, one, or one a cluster."""

    setting: Setting
    pipelines: tuple[Any, ...]

    def probabilities(self, x: Floats) -> Floats:
        """Return p, float64 [n, clusters], of inputs [n, inputs] with NaN where one is missing."""
        if self.setting.form == "one":
            return np.asarray(self.pipelines[0].predict_proba(x), dtype=np.float64)
        return np.column_stack([pipeline.predict_proba(x)[:, 1] for pipeline in self.pipelines])


def fit(design: Design, shares: Floats, inputs: list[str], setting: Setting) -> Fitted:
    """Fit a model to picks; deterministic. `shares` float64 [tiers, clusters], see `tier_shares`."""
    prepared = prepare(design.x, inputs)
    z = prepared.transform(design.x)
    anchors = prepared.transform(_tier_anchors(design, inputs))
    if setting.form == "several":
        return Fitted(setting, tuple(_pipelines(prepared, _fit_several(design, z, anchors, shares.shape[1], setting))))
    return Fitted(setting, tuple(_pipelines(prepared, [_fit_one(design, z, anchors, shares, setting)])))


def prepare(x: Floats, inputs: list[str]) -> Any:
    """Return the scikit-learn steps before a model, fitted to x: means for what is missing, scaling, cutting."""
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    return make_pipeline(
        SimpleImputer(strategy="mean", keep_empty_features=True),
        StandardScaler(),
        FunctionTransformer(_amplified, kw_args={"gains": input_gains(inputs)}),
        FunctionTransformer(np.clip, kw_args={"a_min": -CLIP, "a_max": CLIP}),
    ).fit(x)


def _amplified(z: Floats, gains: Floats) -> Floats:
    return z * gains


def input_gains(inputs: list[str]) -> Floats:
    """Return by how much each input is multiplied after scaling, float64 [inputs]."""
    return np.array([TIER_GAIN if name in TIER_INPUTS else 1.0 for name in inputs])


def _pipelines(prepared: Any, classifiers: list[Any]) -> list[Any]:
    from sklearn.pipeline import Pipeline

    return [Pipeline([*prepared.steps, ("classifier", classifier)]) for classifier in classifiers]


def _tier_anchors(design: Design, inputs: list[str]) -> Floats:
    """Return the mean inputs of each tier's picks, float64 [tiers, inputs]: where the prior's picks stand."""
    anchors = np.full((len(ENERGIES), design.x.shape[1]), np.nan)
    for tier in range(len(ENERGIES)):
        rows = design.x[design.tier == tier]
        there = ~np.isnan(rows).all(axis=0) if len(rows) else np.zeros(design.x.shape[1], dtype=np.bool_)
        anchors[tier, there] = np.nanmean(rows[:, there], axis=0) if there.any() else np.nan
        for other, name in enumerate(TIER_INPUTS):
            if name in inputs:
                anchors[tier, inputs.index(name)] = float(other == tier)
    return anchors


def _classifier(setting: Setting) -> Any:
    if setting.kind == "mlp":
        from sklearn.neural_network import MLPClassifier

        return MLPClassifier((HIDDEN_UNITS,), alpha=_MLP_ALPHA, solver="lbfgs", max_iter=300, random_state=setting.seed)
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=setting.c, max_iter=500, warm_start=True)


def _fit_one(design: Design, z: Floats, anchors: Floats, shares: Floats, setting: Setting) -> Any:
    """Expectation-maximisation: skips are labelled by what the model holds likely beside the style they refuse."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    clusters = shares.shape[1]
    liked, skipped = np.flatnonzero(design.liked), np.flatnonzero(~design.liked)
    fixed_z = [z[liked], np.repeat(anchors, clusters, axis=0)]
    fixed_y = [design.cluster[liked], np.tile(np.arange(clusters), len(anchors))]
    fixed_w = [design.weight[liked], setting.smoothing.prior * shares.ravel()]
    p = tier_frequencies(design, shares, "one", setting.smoothing)[design.tier[skipped]]
    draws = max(_LEAST_DRAWS, min(2 * clusters, _DRAWN_LABELS // max(1, len(skipped))))
    rng = np.random.default_rng(setting.seed)
    model = _classifier(setting)
    for _ in range(_ROUNDS if len(skipped) else 1):
        rows, labels, weights = _draw(others(p, design.cluster[skipped]), design.weight[skipped], draws, rng)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(
                np.concatenate([*fixed_z, z[skipped][rows]]),
                np.concatenate([*fixed_y, labels]),
                sample_weight=np.concatenate([*fixed_w, weights]),
            )
        p = np.asarray(model.predict_proba(z[skipped])) if len(skipped) else p
    return model


def _draw(p: Floats, weight: Floats, draws: int, rng: np.random.Generator) -> tuple[Ints, Ints, Floats]:
    """Draw labels by p, evenly through its distribution function (systematic resampling): (row, label, weight)."""
    at = (np.arange(draws) + rng.random((len(p), 1))) / draws
    cumulative = np.cumsum(p, axis=1)
    labels = np.minimum((at[:, :, None] >= cumulative[:, None, :]).sum(axis=2), p.shape[1] - 1)
    counted = np.zeros(p.shape)
    np.add.at(counted, (np.arange(len(p))[:, None], labels), 1.0)
    rows, drawn = np.nonzero(counted)
    return rows, drawn, weight[rows] * counted[rows, drawn] / draws


def _fit_several(design: Design, z: Floats, anchors: Floats, clusters: int, setting: Setting) -> list[Any]:
    mean, prior = liked_share(design), setting.smoothing.prior / len(anchors)
    prior_w = np.repeat([prior * mean, prior * (1 - mean)], len(anchors))
    prior_y = np.repeat([1, 0], len(anchors))
    models = []
    for cluster in range(clusters):
        own = design.cluster == cluster
        models.append(
            _classifier(setting).fit(
                np.concatenate([z[own], anchors, anchors]),
                np.concatenate([design.liked[own].astype(np.int64), prior_y]),
                sample_weight=np.concatenate([design.weight[own], prior_w]),
            )
        )
    return models
