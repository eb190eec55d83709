"""`qa-samples/index.json`: which samples of each cluster a person is shown."""

from __future__ import annotations

from pydantic import Field

from aivj_assets.contracts.base import ContractFile, ContractModel


class QaCopy(ContractModel):
    """One copied sample: `rel` is the frame in the batch folder, `dest` the copy below `qa-samples/`."""

    cluster: str
    preset_id: str
    rel: str
    dest: str


class QaIndex(ContractFile):
    """The samples of a batch.

    `copied` are the random samples alone; a preset that is also one of `medoids` or `outliers` has one copy.
    """

    pack: str
    per_cluster: int = Field(ge=1)
    frame_index: int = Field(ge=0)
    copied: list[QaCopy]
    seed: int | None = None
    batch: str | None = None
    lineage: str | None = None
    lineage_version: int | None = None
    medoids: list[QaCopy] | None = Field(None, description="nearest to their cluster's centroid, the nearest first")
    outliers: list[QaCopy] | None = Field(None, description="farthest from it, the farthest first")
