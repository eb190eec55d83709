"""`presets-report.json`: what validation found about a submitted manifest, preset by preset."""

from __future__ import annotations

from typing import Literal

from aivj_assets.contracts.base import ContractFile, ContractModel


class ReportedRefusal(ContractModel):
    """A preset that is left out, and why; it still counts in the ok rate."""

    preset_id: str
    rel_path: str
    reason: str
    detail: str


class PresetsReport(ContractFile):
    """The validated batch: counts, refusals, content hashes, duplicates."""

    version: Literal["v0"] = "v0"
    generated_at: str
    batch: str
    manifest_sha256: str
    total: int
    usable: int
    refusals: list[ReportedRefusal]
    content_sha256: dict[str, str]
    duplicates: dict[str, list[str]]
    formats: dict[str, int]
