"""`import-report.json`: what an import took from a source, what it left out and why."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aivj_assets.contracts.base import ContractFile, ContractModel

SourceKind = Literal["auto", "milk", "json", "npm"]


class LeftOut(ContractModel):
    """A file of the source that is not in the pack; `relPath` is relative to the source."""

    rel_path: str
    reason: str = Field(
        description="a reason code of the frame index, 'duplicate' where copies were dropped, or 'blacklisted'"
    )
    detail: str


class ImportCounts(ContractModel):
    """Numbers of preset files; scanned = included + not sampled + left out (folders that were left out not counted)."""

    scanned: int
    left_out: int
    not_sampled: int
    included: int


class ImportReport(ContractFile):
    """The outcome of one import. `duplicates` maps a content SHA-256 to the included presets that share it."""

    version: Literal["v0"] = "v0"
    generated_at: str
    pack: str
    source: str
    counts: ImportCounts
    left_out: list[LeftOut]
    duplicates: dict[str, list[str]]
    changed: bool = Field(True, exclude=True, description="False: the pack was already as it would become")
