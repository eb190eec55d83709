"""Small real material for the embedding room: pictures on disk, and an OpenCLIP checkpoint of a tiny architecture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image

from aivj_assets.contracts.embeddings import Embeddings
from aivj_assets.contracts.frames_index import FailedRecord, FrameMetrics, OkRecord, frame_paths, id_hash
from aivj_assets.embed.embed import FrameSource, embed_batch
from aivj_assets.layout import BatchDir

SHA = "f" * 64
TINY_NAME = "aivj-tiny"
TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 48, "layers": 3, "width": 64, "patch_size": 12, "head_width": 32},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1},
}
ORDER = [f"preset-{number}" for number in (4, 0, 8, 1, 2, 3, 5, 6, 7)] + ["broken", "never-rendered"]


def make_checkpoint(folder: Path) -> Path:
    """Register the tiny architecture with OpenCLIP and save weights for it, the same ones every time."""
    config = folder / f"{TINY_NAME}.json"
    config.write_text(json.dumps(TINY))
    open_clip.add_model_config(config)
    torch.manual_seed(7)
    network = open_clip.create_model(TINY_NAME)
    with torch.no_grad():
        for parameter in network.parameters():
            # Freshly made towers answer every image alike; larger weights make a mistake visible.
            parameter.mul_(4)
    torch.save(network.state_dict(), folder / "tiny.pt")
    return folder / "tiny.pt"


def picture(seed: int) -> Image.Image:
    """A coloured pattern of 224 x 224 pixels, another for every seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:224, 0:224] / 224
    waves = [np.sin(rng.uniform(3, 40) * x + rng.uniform(3, 40) * y + rng.uniform(0, 6)) for _ in range(3)]
    return Image.fromarray((127 + 120 * np.stack(waves, axis=-1) * rng.uniform(0.1, 1, 3)).astype(np.uint8))


def add_preset(folder: BatchDir, preset_id: str, seeds: list[int], suffix: str = "webp") -> OkRecord:
    digest = id_hash(preset_id)
    frames = frame_paths(digest, len(seeds), suffix)
    for name, seed in zip(frames, seeds, strict=True):
        path = folder.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(seed).save(path, quality=92)
    return OkRecord(
        preset_id=preset_id, rel_path="p.milk", file_path="p.milk", id_hash=digest, frames=frames,
        metrics=FrameMetrics(avg_luma=0.5, motion=0.1),
    )  # fmt: skip


def embed(folder: BatchDir, records: dict[str, OkRecord | FailedRecord], model: Any, **more: Any) -> Embeddings:
    source = source_of(folder, records, more.pop("max_frames_per_preset", 3))
    return embed_batch(source, model, **more)


def source_of(folder: BatchDir, records: dict[str, OkRecord | FailedRecord], max_frames: int = 3) -> FrameSource:
    return FrameSource.of_batch(folder, records, ORDER, frames_index_sha256=SHA, max_frames_per_preset=max_frames)
