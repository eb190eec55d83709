"""What a step is told of the music, made fit: whatever is odd in it must not break a show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from aivj_assets.contracts.style import ENERGIES, Energy


@dataclass(frozen=True)
class Heard:
    """An observation: None where nothing usable was said.

    A phrase start is a bar start and a bar start a beat, whatever the observation says.
    """

    time_s: float | None
    tier: Energy | None
    beat: bool
    bar: bool
    phrase: bool
    section: bool
    tempo_confidence: float
    features: dict[str, float]
    cluster_probabilities: Mapping[str, Any] | None


def finite(value: Any) -> float | None:
    """Return a finite number as float, None for anything else."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def heard(observation: Any) -> Heard:
    """Read an observation (`AudioTimeline.observation`); features that are no finite numbers are left out."""
    if not isinstance(observation, Mapping):
        observation = {}
    phrase, bar, beat, section = (_happened(observation.get(name)) for name in ("phrase", "bar", "beat", "section"))
    tier = observation.get("tier")
    told = observation.get("features")
    features = {str(name): finite(value) for name, value in told.items()} if isinstance(told, Mapping) else {}
    probabilities = observation.get("clusterProbabilities")
    confidence = finite(observation.get("tempoConfidence"))
    return Heard(
        time_s=finite(observation.get("timeS")),
        tier=tier if isinstance(tier, str) and tier in ENERGIES else None,
        beat=beat or bar or phrase,
        bar=bar or phrase,
        phrase=phrase,
        section=section,
        tempo_confidence=0.0 if confidence is None else confidence,
        features={name: value for name, value in features.items() if value is not None},
        cluster_probabilities=probabilities if isinstance(probabilities, Mapping) else None,
    )


def _happened(value: Any) -> bool:
    return bool(value == 1)
