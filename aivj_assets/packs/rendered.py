"""A batch after rendering, as the files over a whole pack need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aivj_assets.contracts.frames_index import FailedRecord, OkRecord, read_records
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.layout import BatchDir, BatchKey, DataRoot

Record = OkRecord | FailedRecord


@dataclass(frozen=True)
class RenderedBatch:
    """What a batch was to render, {presetId: its record}, and the folder of its frames."""

    batch: BatchKey
    manifest: Manifest
    records: Mapping[str, Record]
    folder: BatchDir

    @classmethod
    def read(cls, root: DataRoot, batch: BatchKey) -> RenderedBatch:
        """Read a batch; raises `UserError` when its manifest or index is missing or malformed."""
        folder = root.batch(batch)
        return cls(batch, Manifest.load(root.manifest(batch)), read_records(folder.frames_index), folder)
