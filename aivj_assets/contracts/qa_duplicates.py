"""`qa-samples/duplicates.json`: presets that look alike, and those that show nothing, for a person to decide on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aivj_assets.contracts.base import ContractFile, ContractModel

DUPLICATES_NAME = "duplicates.json"
DEFAULT_MAX_HASH_DISTANCE = 8
"""Bits of 64 in which the perceptual hashes of two near-duplicates may differ.

Measured on 1,365 real presets, the pairs above a cosine of 0.93 judged by eye. With a cosine of 0.98 it finds 82 % and
84 % of the pairs that look the same in two mixed sets (4 bits: 75 % and 79 %, 12 bits: 87 % and 90 %), and none that
does not. Among variants of presets with names of their own the first doubtful pair comes at 10 bits.
"""
DEFAULT_MIN_COSINE = 0.98
"""The cosine that the embeddings of two near-duplicates have at least: below it variants of a preset begin.

Measured with the offline model, EfficientNet-Lite0; the first pairs that look different have 0.979.
"""

KeepReason = Literal["most detail", "first in the manifest", "kept before"]


class DuplicateThresholds(ContractModel):
    """What counted as what when the file was made; luma and its standard deviation in 0..1."""

    max_hash_distance: int = Field(DEFAULT_MAX_HASH_DISTANCE, ge=0, le=64)
    min_cosine: float = Field(DEFAULT_MIN_COSINE, ge=-1, le=1)
    black_max_luma: float
    flat_max_std: float


class DuplicateCounts(ContractModel):
    """Every compared preset is one of the four: `presets` = unique + exactDuplicates + nearDuplicates + misfits.

    A group of n adds n - 1 duplicates: the one to keep is unique.
    """

    presets: int = 0
    unique: int = 0
    exact_duplicates: int = 0
    """Presets whose captures are byte for byte those of another one that counts."""
    near_duplicates: int = 0
    misfits: int = 0


class DuplicatePreset(ContractModel):
    """A member of a group, compared with the one to keep."""

    preset_id: str
    hash_distance: int = Field(ge=0, le=64)
    """Bits of 64; 0 of the one to keep itself."""
    cosine: float
    exact: bool = False
    """All captures are byte for byte those of the one to keep; False of that one itself."""
    frame: str
    """The capture that is compared, relative to the batch's folder."""
    detail_bytes: float
    """Mean size of its captures' files: at one quality setting, more bytes are more detail."""


class DuplicateGroup(ContractModel):
    """Presets of which one is enough. `presets[0]` is the suggestion `keep`; the nearest to it come next.

    Each is within both thresholds of `keep`, not only of some other member: no group is a chain.
    """

    cluster: str
    keep: str
    reason: KeepReason
    presets: list[DuplicatePreset] = Field(min_length=2)


class Misfit(ContractModel):
    """A preset that is black or of one colour in every capture: for review, dark presets exist."""

    preset_id: str
    cluster: str | None = None
    """None where the preset is in no cluster."""
    flags: list[Literal["black", "flat"]] = Field(min_length=1)
    avg_luma: float
    frame: str


class DuplicateElsewhere(ContractModel):
    """A preset that is a near-duplicate of one in another accepted batch of the same pack."""

    preset_id: str
    cluster: str
    batch: str
    other_preset_id: str
    other_frame: str
    """Relative to the folder of `batch`."""
    hash_distance: int = Field(ge=0, le=64)
    cosine: float


class QaDuplicates(ContractFile):
    """Near-duplicates and misfits of a batch. Groups: the largest first; misfits: the darkest first."""

    version: Literal["v0"] = "v0"
    batch: str
    lineage: str | None = None
    lineage_version: int | None = None
    thresholds: DuplicateThresholds
    counts: DuplicateCounts
    groups: list[DuplicateGroup] = Field(default_factory=list)
    misfits: list[Misfit] = Field(default_factory=list)
    elsewhere: list[DuplicateElsewhere] = Field(default_factory=list)
