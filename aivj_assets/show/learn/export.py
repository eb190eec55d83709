"""A fitted model as scaling and dense layers: the form in which a browser evaluates it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from aivj_assets.contracts.audio_style_model import Layer
from aivj_assets.show.learn.design import Floats
from aivj_assets.show.learn.fit import Fitted, input_gains

# Keeps p to 1e-6 and the file to half its size.
_DIGITS = 9


@dataclass(frozen=True)
class Exported:
    """What goes into the file."""

    mean: list[float]
    scale: list[float]
    layers: list[Layer]
    output: Literal["softmax", "sigmoid"]


def export(fitted: Fitted, inputs: list[str]) -> Exported:
    """Return a model's scaling and layers."""
    mean, scale = scaling(fitted.pipelines[0], inputs)
    if fitted.setting.form == "several":
        models = [pipeline.named_steps["classifier"] for pipeline in fitted.pipelines]
        weights = np.vstack([model.coef_ for model in models])
        return Exported(mean, scale, [_layer(weights, np.concatenate([m.intercept_ for m in models]))], "sigmoid")
    model = fitted.pipelines[0].named_steps["classifier"]
    if fitted.setting.kind == "logistic":
        return Exported(mean, scale, [_layer(*_of_each_class(model.coef_, model.intercept_))], "softmax")
    layers = [
        _layer(weights.T, bias, "relu") for weights, bias in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True)
    ]
    layers.append(_layer(*_of_each_class(model.coefs_[-1].T, model.intercepts_[-1])))
    return Exported(mean, scale, layers, "softmax")


def scaling(pipeline: Any, inputs: list[str]) -> tuple[list[float], list[float]]:
    """Return mean and scale of a pipeline's inputs; the gain of an input is in its scale."""
    scaler = pipeline.named_steps["standardscaler"]
    return rounded(scaler.mean_), rounded(scaler.scale_ / input_gains(inputs))


def _of_each_class(weights: Floats, bias: Floats) -> tuple[Floats, Floats]:
    """Return weights and bias with a row a class; scikit-learn has one row for two classes."""
    if len(bias) > 1:
        return weights, bias
    return np.vstack([np.zeros_like(weights), weights]), np.concatenate([[0.0], bias])


def _layer(weights: Floats, bias: Floats, activation: Literal["identity", "relu"] = "identity") -> Layer:
    return Layer(weights=[rounded(row) for row in weights], bias=rounded(bias), activation=activation)


def rounded(values: Floats) -> list[float]:
    """Return values with nine significant digits."""
    return [float(f"{value:.{_DIGITS}g}") for value in np.asarray(values, dtype=np.float64).tolist()]
