"""What a shard is told and what it tells: plain values that cross process borders as JSON or pickle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from aivj_assets.contracts.render_parameters import PageDescription, RenderParameters
from aivj_assets.layout import BatchDir, DataRoot

TIME_IS_OVER = "stopAfterSec is over"
"""Why a shard stopped at its deadline."""


class ShardPreset(BaseModel):
    """One preset to render."""

    model_config = ConfigDict(frozen=True)

    preset_id: str
    rel_path: str


class ShardPlan(BaseModel):
    """The work of one browser lifetime."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9_]+$")
    batch_key: str
    data_root: Path
    artifact_dir: Path = Field(description="the batch's artifact folder")
    presets: tuple[ShardPreset, ...]
    parameters: RenderParameters
    fingerprint: str
    page: PageDescription = Field(description="what engine and renderer must say of themselves")
    deadline_epoch_s: float | None = Field(None, description="no preset is started after this time")

    @property
    def root(self) -> DataRoot:
        """The data root, under which the presets lie."""
        return DataRoot(self.data_root)

    @property
    def batch_dir(self) -> BatchDir:
        """The batch's artifact folder."""
        return BatchDir(self.artifact_dir)


@dataclass(frozen=True)
class ShardOutcome:
    """What became of a shard's presets; `ok + failed + left` is their number."""

    shard: str
    ok: int
    failed: int
    left: int
    """Presets without a record: the shard was stopped before them."""
    reused: int
    """Of `ok + failed`: found in the shard's log, where an earlier try of this very shard had left them."""
    duration_s: float
    browsers_started: int
    stop_reason: str | None
