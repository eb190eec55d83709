"""`frames.meta.json`: the parameters, fingerprint, engine and counts behind a finished `frames-index.jsonl`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from aivj_assets.contracts.base import ContractFile


class FramesMeta(ContractFile):
    """Written when a batch has a record for every preset of its manifest, and only then."""

    version: Literal["v0"] = "v0"
    generated_at: str
    batch: str
    manifest_sha256: str
    fingerprint: str
    pixel_parameters: dict[str, Any]
    operational_parameters: dict[str, Any]
    renderer_class: Literal["gpu", "llvmpipe", "swiftshader", "software", "unknown"]
    """`unknown` where frames were adopted from a tool that does not tell."""
    browser_version: str
    page: dict[str, Any]
    total: int
    ok: int
    failed: int
    reused: int
    failure_reasons: dict[str, int]
    warnings: dict[str, int]
    flags: dict[str, int] = Field(default_factory=dict)
    """Ok presets by flag: black, flat, static."""
    duration_s: float
    index_sha256: str
