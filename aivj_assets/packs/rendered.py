"""A batch after rendering, as the files over a whole pack need it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import overload

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


class RenderedBatches(Sequence[RenderedBatch]):
    """The batches of a pack, each read when it is looked at and kept by nobody.

    The records and manifests of 130,000 presets take 600 MB at once; reading them takes 4 s. Looking at a batch raises
    `UserError` as `RenderedBatch.read` does.
    """

    def __init__(self, root: DataRoot, batches: Sequence[BatchKey]) -> None:
        self._root = root
        self._batches = tuple(batches)

    def __len__(self) -> int:
        return len(self._batches)

    @overload
    def __getitem__(self, index: int) -> RenderedBatch: ...
    @overload
    def __getitem__(self, index: slice) -> RenderedBatches: ...
    def __getitem__(self, index: int | slice) -> RenderedBatch | RenderedBatches:
        if isinstance(index, slice):
            return RenderedBatches(self._root, self._batches[index])
        return RenderedBatch.read(self._root, self._batches[index])
