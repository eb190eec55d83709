"""`run-manifest.json`: every preset of a pack and how it came out, by which the app weighs presets."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from aivj_assets.contracts.base import ContractFile, ContractModel
from aivj_assets.layout import write_json_rows


class RunPreset(ContractModel):
    """One preset. `frames` and `best_frame` are relative to `outDir`; `score` is in 0..1.

    `tier` and `score` are those of ok presets: `dark` is one that is flagged black or flat. `best_frame` is the capture
    whose file is largest: the one with most detail.
    """

    preset_id: str
    rel_path: str
    file_path: str
    status: Literal["ok", "failed"]
    tier: Literal["strict", "dark"] | None = None
    id_hash: str
    frames: list[str] = Field(default_factory=list)
    best_frame: str | None = None
    metrics: dict[str, Any] | None = None
    reasons: list[str] = Field(default_factory=list)
    at: str
    score: float | None = None


class RunCounts(ContractModel):
    """Numbers of presets. `skipped` have no record; `tier1_ok` are ok and strict, `tier2_ok` ok and dark."""

    total: int
    ok: int
    failed: int
    skipped: int
    tier1_ok: int
    tier2_ok: int
    unique_presets: int
    """Distinct contents (SHA-256) among presets with a record."""


class RunTime(ContractModel):
    """When the first and the last of the records was made, ISO-8601; None without records."""

    earliest: str | None = None
    latest: str | None = None


class RunBatch(ContractModel):
    """A batch that the file is made from; its index relative to the data root."""

    batch: str
    index_path: str


class RunManifest(ContractFile):
    """A pack's accepted batches as one run. `out_dir` and `index_path` are relative to the data root.

    `index_path` of a split pack is a pattern; `batches` names each.
    """

    version: Literal["v0"] = "v0"
    generated_at: str
    run_name: str
    index_path: str
    out_dir: str
    counts: RunCounts
    time: RunTime
    batches: list[RunBatch]
    presets: list[RunPreset]

    def save(self, path: Path) -> None:
        """Write the file whole, a preset a line."""
        write_json_rows(path, self._rows())

    def save_if_changed(self, path: Path) -> bool:
        """Write the file unless it says the same already, whenever it was generated; returns whether it was written.

        130,000 presets as one text and as two objects to compare would take a gigabyte beside the records.
        """
        return write_json_rows(path, self._rows(), unless_only="generatedAt")

    def _rows(self) -> dict[str, Any]:
        head = self.model_copy(update={"presets": []}).to_json()
        return {**head, "presets": (preset.to_json() for preset in self.presets)}
