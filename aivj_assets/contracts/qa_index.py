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
    """The samples of a batch."""

    pack: str
    per_cluster: int = Field(ge=1)
    frame_index: int = Field(ge=0)
    copied: list[QaCopy]
    seed: int | None = None
