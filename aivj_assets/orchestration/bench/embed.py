"""What `aivj bench embed` measures with: a batch's frames, and the model that a run would take."""

from __future__ import annotations

import os

from aivj_assets.contracts.frames_index import read_records
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.pack_settings import EmbedderSettings, PackSettings
from aivj_assets.embed.choose import EmbedderChoice
from aivj_assets.embed.embed import FrameSource
from aivj_assets.embed.lite0 import LITE0
from aivj_assets.embed.quality import source_library
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot, sha256_file
from aivj_assets.orchestration.resources import pack_choice
from aivj_assets.report.console import require_batch


def batch_frames(root: DataRoot, batch: BatchKey) -> FrameSource:
    """Return the frames of a rendered batch; raises `UserError` when it is not rendered."""
    require_batch(root, batch)
    folder = root.batch(batch)
    if not folder.frames_index.exists():
        raise UserError(f"Batch {batch} is not rendered; run it first: aivj run {batch}")
    return FrameSource.of_batch(
        folder,
        read_records(folder.frames_index),
        [preset.id for preset in Manifest.load(root.manifest(batch)).presets],
        frames_index_sha256=sha256_file(folder.frames_index),
    )


def library_of(root: DataRoot, batch: BatchKey) -> dict[str, str]:
    """Return {presetId: source library} of a batch."""
    presets = Manifest.load(root.manifest(batch)).presets
    return {preset.id: source_library(preset.rel_path, batch.pack) for preset in presets}


def bench_choice(
    root: DataRoot, batch: BatchKey | None, embedder: str | None, pretrained: str | None
) -> EmbedderChoice:
    """Return the model to measure: the one named, else the pack's, the machine's, the offline model."""
    settings = EmbedderSettings() if batch is None else PackSettings.of_pack(root, batch.pack).embedder
    return pack_choice(settings, os.environ, model=embedder, pretrained=pretrained, default=LITE0)
