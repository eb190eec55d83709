"""`run-meta.json`: everything that decided a batch, its figures and verdicts, and a section for the QA verdict."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from aivj_assets.contracts.base import ContractFile, ContractModel
from aivj_assets.contracts.clusters import BatchLineage


class GateLine(ContractModel):
    """One gate's verdict."""

    gate: str
    rule: str
    value: float | None
    comparison: str
    threshold: float
    passed: bool

    evidence: dict[str, Any]


class QaVerdict(ContractModel):
    """What a person concluded; empty until the samples are reviewed.

    With `counts` it was made from the verdicts on clusters; else a person wrote it.
    """

    state: Literal["open", "reviewed"] = "open"
    verdict: Literal["good", "mixed", "bad"] | None = None
    reviewer: str | None = None
    reviewed_at: str | None = None
    note: str | None = None
    reviewed_fraction: float | None = None
    """Clusters of the batch that were judged / all of them."""
    good_fraction: float | None = None
    """Presets of the batch in good clusters / all of them."""
    counts: dict[str, int] | None = None


class RunMeta(ContractFile):
    """The run record of a batch."""

    version: Literal["v0"] = "v0"
    generated_at: str
    batch: str
    run_id: str
    fingerprint: str
    pixel_parameters: dict[str, Any]
    operational_parameters: dict[str, Any]
    renderer_class: str
    browser_version: str
    packages: dict[str, str]
    platform: dict[str, str]
    counts: dict[str, int]
    failure_reasons_top: list[tuple[str, int]]
    gates: list[GateLine]
    embedding_model: dict[str, Any]
    left_out_top: list[tuple[str, int]] = Field(default_factory=list)
    """Why ok presets have no embedding, and how many of each."""
    k: int
    k_reason: str | None
    lineage: BatchLineage | None = None
    """The lineage and its version that the cluster ids are of."""
    energies: dict[str, int]
    durations_s: dict[str, float]
    inputs_sha256: dict[str, str]
    qa: QaVerdict = Field(default_factory=QaVerdict)
