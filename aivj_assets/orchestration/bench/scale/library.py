"""The benchmark's library: presets that are imported and split as any others, and a small model with its weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.pack_settings import PACK_SETTINGS_NAME, EmbedderSettings, PackSettings
from aivj_assets.embed.openclip import CONFIG_NAME
from aivj_assets.layout import BatchKey, DataRoot, write_json_atomic
from aivj_assets.orchestration.bench.scale.pictures import preset_text
from aivj_assets.packs.importer import import_pack
from aivj_assets.packs.split import split_pack
from aivj_assets.render.parallel import run_in_processes

PACK = "scale"
_PRESETS_A_FOLDER = 1000
_AUTHORS = 997
# 512 numbers a preset, as OpenCLIP's ViT-B-32 has; the tower is as small as it can be.
_MODEL: dict[str, Any] = {
    "embed_dim": 512,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 8, "head_width": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
_PREPROCESS = {
    "size": 32, "mode": "RGB", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic",
    "resize_mode": "shortest",
}  # fmt: skip
_WEIGHTS = "open_clip_pytorch_model.bin"

Tell = Callable[[str], None]


def prepare_library(root: DataRoot, *, batches: int, batch_size: int, out_size: int, tell: Tell) -> list[BatchKey]:
    """Make the pack with its batches and the model under a data root, or find them there; returns the batches.

    Each part is made whole or not at all: after Ctrl-C the same call goes on.
    """
    presets = batches * batch_size
    model = root.path / "model"
    if not model.is_dir():
        tell("making a small model")
        # In a process of its own: this one's memory is measured, and would keep what PyTorch takes.
        run_in_processes(make_model, [model], workers=1)
    settings = PackSettings(
        render={"outSize": out_size},
        embedder=EmbedderSettings(model="bench-scale", pretrained=str(model), device="cpu", precision="float32"),
    )
    settings.save_sparse(root.pack_dir(PACK) / PACK_SETTINGS_NAME)
    manifest = root.manifest(BatchKey(PACK))
    if not manifest.is_file() or len(Manifest.load(manifest).presets) != presets:
        source = root.path / "source"
        if not source.is_dir():
            tell(f"writing {presets:,} presets")
            write_source(source, presets)
        tell(f"importing {presets:,} presets")
        import_pack(root, source, PACK)
    if not root.batches_dir(PACK).is_dir():
        tell("splitting")
        split_pack(root, PACK, batch_size=batch_size)
    # The pack holds copies: half of the files would lie there for nothing.
    shutil.rmtree(root.path / "source", ignore_errors=True)
    return [batch for batch in root.find_batches() if batch.pack == PACK]


def write_source(folder: Path, presets: int) -> None:
    """Write a folder of presets, a thousand to a subfolder; it takes its name when all are there."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for number in range(presets):
        place = partial / f"part-{number // _PRESETS_A_FOLDER:03d}"
        if number % _PRESETS_A_FOLDER == 0:
            place.mkdir(parents=True)
        name = f"Author {number % _AUTHORS} - Drawn {number:06d}.milk"
        (place / name).write_text(preset_text(number), encoding="utf-8", newline="\n")
    partial.rename(folder)


def make_model(folder: Path) -> None:
    """Save a folder of OpenCLIP weights, the same ones every time; it takes its name when both files are there."""
    import open_clip
    import torch

    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    config = {"model_cfg": _MODEL, "preprocess_cfg": _PREPROCESS}
    write_json_atomic(partial / CONFIG_NAME, config)
    torch.manual_seed(7)
    network = open_clip.CLIP(**_MODEL)
    with torch.no_grad():
        for parameter in network.parameters():
            # Freshly made towers answer every picture alike.
            parameter.mul_(4)
    torch.save(network.state_dict(), partial / _WEIGHTS)
    partial.rename(folder)
