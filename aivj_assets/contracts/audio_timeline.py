"""What is heard of a track over time: one row of figures every 50 ms, each made of nothing that comes later.

The JSON form is columns of equal length under the names of `COLUMNS`; the show's page, the rehearsal page and the
selector's recorded vectors read it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from aivj_assets.contracts.base import ContractFile, ContractModel
from aivj_assets.contracts.style import Energy

ROW_S = 0.05
"""Time between rows, s."""
WINDOW_S = 8.0
"""How much of the past a window feature is made of, s."""

# What is heard now. Shares are of the power in the three bands and sum to 1, all 0 in silence.
ROW_FEATURES: tuple[str, ...] = (
    "rms",  # root mean square of the samples (full scale 1) over the row
    "loudness",  # 0..1: rank of the row's level within the recent past; 0 in silence
    "onset",  # >= 0: strongest onset strength within the row, 1 is a typical onset of the recent past
    "onsetRate",  # onsets a second over the last 4 s
    "low",  # share of power below 250 Hz
    "mid",  # share of power 250 Hz..4 kHz
    "high",  # share of power above 4 kHz
    "brightness",  # 0..1: spectral centroid on a log scale, 50 Hz -> 0, 12 kHz -> 1
    "tempoBpm",  # beats a minute, 0 while unknown
    "tempoConfidence",  # 0..1
)
# Of the last WINDOW_S: what the audio -> style model eats and every pick line records.
WINDOW_FEATURES: tuple[str, ...] = (
    "loudnessMean",
    "loudnessStd",
    "loudnessSlope",  # of loudness, a second
    "onsetMean",
    "onsetRateMean",
    "onsetRateStd",
    "lowMean",
    "lowStd",
    "midMean",
    "highMean",
    "highStd",
    "brightnessMean",
    "brightnessStd",
    "tempoBpm",
    "tempoConfidence",
)
# True in the row in which it happens. A bar start is a beat too, a phrase start (every fourth bar) a bar start.
EVENTS: tuple[str, ...] = ("beat", "bar", "phrase", "section")
COLUMNS: tuple[str, ...] = ("timeS", *ROW_FEATURES, *EVENTS, *WINDOW_FEATURES, "tier")

Finite = Annotated[float, Field(allow_inf_nan=False)]


class TrackFacts(ContractModel):
    """The track that was heard."""

    name: str
    duration_s: float = Field(ge=0)
    sample_rate_hz: int = Field(ge=0)
    channels: int = Field(ge=0)
    sha256: str | None = None
    """Of the file; None for a generated track."""
    warnings: list[str] = Field(default_factory=list)
    """What was mended on reading: samples that are no numbers, a file cut short."""


class AudioTimeline(ContractFile):
    """A track's rows as columns: `columns[name][row]`; events are 0 or 1, `tiers` the energy tier of each row."""

    version: Literal["v0"] = "v0"
    track: TrackFacts
    row_s: float = ROW_S
    columns: dict[str, list[Finite]]
    tiers: list[Energy]

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        wanted = {name for name in COLUMNS if name != "tier"}
        missing = sorted(wanted - self.columns.keys())
        if missing:
            raise ValueError(f"columns lacks {', '.join(missing)}")
        odd = sorted(name for name, values in self.columns.items() if len(values) != len(self.tiers))
        if odd:
            raise ValueError(f"columns are of different lengths: {', '.join(odd)}")
        return self

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.tiers)

    def window(self, row: int) -> dict[str, float]:
        """Return the window features of a row by name, in the order of `WINDOW_FEATURES`."""
        return {name: self.columns[name][row] for name in WINDOW_FEATURES}

    def observation(self, row: int) -> dict[str, Any]:
        """Return what the selector hears of a row: the JSON object that both selectors take."""
        return {
            "timeS": self.columns["timeS"][row],
            "tier": self.tiers[row],
            **{name: self.columns[name][row] > 0 for name in EVENTS},
            "tempoConfidence": self.columns["tempoConfidence"][row],
            "features": self.window(row),
        }
