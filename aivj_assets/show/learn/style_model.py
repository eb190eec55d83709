"""Using a model: what is heard -> how likely each style fits. As `show/web/aivj-audio-style.mjs`, figure for figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from aivj_assets.contracts.audio_style_model import AudioStyleModel
from aivj_assets.contracts.style import Energy
from aivj_assets.layout import sha256_file
from aivj_assets.show.learn.design import Floats, input_row


class StyleModel:
    """A model of `aivj-audio-style.v0.json`.

    For the selector: `observation["clusterProbabilities"] = model.probabilities(observation["features"],
    observation["tier"])`, and `sha256` as the session's `modelHash`.
    """

    def __init__(self, model: AudioStyleModel, sha256: str | None = None) -> None:
        self.model = model
        self.sha256 = sha256
        """Of the file, hex."""
        self._layers = [(np.array(layer.weights), np.array(layer.bias), layer.activation) for layer in model.layers]
        self._mean, self._scale = np.array(model.mean), np.array(model.scale)
        found = model.retrieval
        self._retrieval = None if found is None else (np.array(found.matrix), np.array(found.bias))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a model; raises `UserError` when the file is missing or not as agreed."""
        return cls(AudioStyleModel.load(path), sha256_file(path))

    def probabilities(self, features: Mapping[str, float], tier: Energy | None = None) -> dict[str, float]:
        """Return {cluster: p}, each 0..1; they sum to 1 unless the model lets several styles fit.

        `features` are a row's window features (`AudioTimeline.window`), `tier` the energy tier of the music. What is
        missing or no finite number counts as average.
        """
        values = self._scaled(features, tier)
        for weights, bias, activation in self._layers:
            values = weights @ values + bias
            if activation == "relu":
                values = np.maximum(values, 0)
        if self.model.output == "sigmoid":
            p = 1 / (1 + np.exp(-np.clip(values, -700, 700)))
        else:
            powers = np.exp(values - values.max())
            p = powers / powers.sum()
        return dict(zip(self.model.clusters, p.tolist(), strict=True))

    def place(self, features: Mapping[str, float], tier: Energy | None = None) -> Floats | None:
        """Return what is heard as a unit vector float64 [dim] among the presets' embeddings; None without retrieval."""
        if self._retrieval is None:
            return None
        matrix, bias = self._retrieval
        found = matrix @ self._scaled(features, tier) + bias
        length = math.sqrt(float(found @ found))
        return np.asarray(found / length) if length > 0 else found

    def nearest(
        self,
        features: Mapping[str, float],
        tier: Energy | None,
        rows: npt.NDArray[np.float32],
        preset_ids: Sequence[str],
        count: int = 10,
    ) -> list[tuple[str, float]]:
        """Return the presets that lie nearest to what is heard, (id, cosine), nearest first.

        `rows` float32 [n, dim] are the presets' embeddings, of unit length. Empty without retrieval.
        """
        place = self.place(features, tier)
        if place is None:
            return []
        cosine = rows @ place
        order = np.argsort(-cosine, kind="stable")[:count]
        return [(preset_ids[row], float(cosine[row])) for row in order.tolist()]

    def _scaled(self, features: Mapping[str, float], tier: Energy | None) -> Floats:
        z = (input_row(features, tier, self.model.inputs) - self._mean) / self._scale
        cut: Floats = np.clip(np.nan_to_num(z, nan=0.0), -self.model.clip, self.model.clip)
        return cut
