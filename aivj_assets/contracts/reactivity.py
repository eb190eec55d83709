"""`audio-style/reactivity.json`: which presets of a sample move with the sound, and how that was found out.

Each preset of the sample is rendered under several sounds and under silence, with the same seed. How its frame
differences follow a sound's envelope is its score; what envelopes that do not belong to the pictures score is the
control.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field

from aivj_assets.contracts.base import ContractFile, ContractModel
from aivj_assets.contracts.style import Energy

Correlation = Annotated[float, Field(ge=-1, le=1)]
Probability = Annotated[float, Field(ge=0, le=1)]


class ReactivityAudio(ContractModel):
    """A sound that presets were rendered under."""

    name: str
    """Unique in the file: the variant, e.g. `pulse`, or the file's name."""
    audio: str
    """The rendering parameter `audio`: `synthetic`, `synthetic:pulse`, `sha256:…`."""
    sha256: str
    """Of the samples that were heard: 8 bits unsigned, 44100 samples/s, channels interleaved; hex."""
    file_sha256: str | None = None
    """Of the file that they were decoded from; None for a synthetic sound."""
    start_s: float = Field(0, ge=0)
    """Where in the file the excerpt begins."""
    duration_s: float = Field(gt=0)
    """How much of it was heard."""
    features: dict[str, float] | None = None
    """The window features (`contracts.audio_timeline.WINDOW_FEATURES`) at the end of what was heard."""


class AudioScore(ContractModel):
    """How one preset follows one sound."""

    audio: str
    """Name of the sound."""
    score: Correlation
    """Largest correlation of the frame differences, less those under silence, with the sound's envelopes."""
    envelope: str
    """Which envelope that was: `level`, `low`, `high`, `onset`, …"""
    lag_s: float = Field(ge=0)
    """How far the pictures come behind the sound."""
    control: Correlation
    """Mean score of the sound's envelopes shifted in time at random."""
    other: Correlation
    """Largest score of the envelopes of the other sounds."""
    p: Probability
    """Share of random shifts that score as much."""


class ReactivityEntry(ContractModel):
    """One preset of the sample."""

    preset_id: str
    cluster: str
    energy: Energy | None = None
    audios: list[AudioScore]
    score: Correlation
    """Mean over the sounds."""
    control: Correlation
    """Mean over the sounds of the shuffled control."""
    other: Correlation
    """Mean over the sounds of the score with other sounds' envelopes."""
    p: Probability
    """Share of random shifts, all sounds shifted at once, whose mean score is as high."""
    q: Probability
    """`p` adjusted for the number of presets (Benjamini-Hochberg)."""
    difference: float = Field(ge=0, le=1)
    """Mean |gray under a sound - gray under silence|; 0: the preset does not hear at all (rounded to 6 digits)."""
    motion_silence: float = Field(ge=0, le=1)
    motion_audio: float = Field(ge=0, le=1)
    """Mean frame difference under silence and, mean over the sounds, under sound."""
    reactive: bool


class ReactivityFailure(ContractModel):
    """A preset of the sample that has no score: a rendering of it failed."""

    preset_id: str
    cluster: str
    reasons: list[str]


class ClusterReactivity(ContractModel):
    """What the sample tells of a cluster."""

    cluster: str
    presets: int = Field(ge=1)
    reactive: int = Field(ge=0)
    share_fraction: float = Field(ge=0, le=1)
    mean_score: Correlation
    scores: dict[str, float]
    """Mean score of the cluster's presets by sound."""


class ReactivityMethod(ContractModel):
    """How scores became verdicts."""

    envelopes: list[str]
    lags_s: list[float]
    shifts: int
    """Random shifts behind each p."""
    alpha: float = Field(gt=0, lt=1)
    """Largest `q` of a reactive preset: the share of reactive ones that may be wrong."""
    min_difference: float = Field(ge=0, le=1)
    """Smallest `difference` of a reactive preset: half a step of 8 bits, less cannot be seen."""
    seed: int


class Reactivity(ContractFile):
    """The reactivity of a sample of a pack's accepted presets."""

    version: Literal["v0"] = "v0"
    generated_at: str
    pack: str
    seed: int
    requested: int
    """Size of the sample that was asked for."""
    batches: list[str]
    left_out: dict[str, str] = Field(default_factory=dict)
    """Batches that do not count, and why."""
    parameters: dict[str, Any]
    """Pixel parameters of all renderings, without `audio`."""
    audios: list[ReactivityAudio]
    method: ReactivityMethod
    entries: list[ReactivityEntry]
    failed: list[ReactivityFailure] = Field(default_factory=list)
    clusters: list[ClusterReactivity]
    reactive_fraction: float = Field(ge=0, le=1)
    duration_s: float

    @property
    def digest(self) -> str:
        """SHA-256 over what was found, without when it was and how long it took."""
        content = self.to_json()
        for name in ("generatedAt", "durationS"):
            del content[name]
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
