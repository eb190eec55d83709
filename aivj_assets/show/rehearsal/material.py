"""A published pack as a rehearsal needs it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.quality_blacklist import QualityBlacklist
from aivj_assets.contracts.run_manifest import RunPreset
from aivj_assets.layout import AUDIO_STYLE_NAME, DataRoot
from aivj_assets.show.learn.style_model import StyleModel
from aivj_assets.show.published import cluster_labels, motion_of, read_published, rendered_presets
from aivj_assets.show.rehearsal.rehearse import Material


def published_material(root: DataRoot, pack: str) -> Material:
    """Read a published pack: index, policy, blacklist, audio -> style model, and what is known of presets for the eye.

    Names, labels, pictures and the model may be missing, the rest may not. Raises `UserError`: no such pack, not
    published, an index without presets, a file that is not as agreed.
    """
    published = read_published(root, pack)
    rendered = rendered_presets(root, pack)
    model_path = root.published(pack, AUDIO_STYLE_NAME)
    model = StyleModel.load(model_path) if model_path.is_file() else None
    return Material(
        pack=pack,
        index_hash=published.index_hash,
        entries=published.index.entries,
        selection=published.policy.selection,
        blacklist=frozenset(QualityBlacklist.of_pack(root, pack).bad_ids),
        labels=_labels(root, pack),
        cluster_labels={name: label or name for name, label in cluster_labels(root, pack).items()},
        frames={name: _frames(root, pack, one) for name, one in rendered.items()},
        motion={name: motion for name, one in rendered.items() if (motion := motion_of(one)) is not None},
        quality_tiers={name: one.tier for name, one in rendered.items() if one.tier is not None},
        model=None if model is None else model.probabilities,
        model_hash=None if model is None else model.sha256,
    )


def _frames(root: DataRoot, pack: str, preset: RunPreset) -> list[Path]:
    """Return a preset's captures; a path that leaves the pack's folder is none."""
    folder = root.run_manifest(pack).parent
    paths = [folder.joinpath(*PurePosixPath(frame).parts) for frame in preset.frames]
    return [path for path in paths if path.resolve().is_relative_to(folder.resolve())]


def _labels(root: DataRoot, pack: str) -> dict[str, str]:
    labels: dict[str, str] = {}
    for batch in root.find_batches():
        if batch.pack == pack:
            labels |= {preset.id: preset.label for preset in Manifest.load(root.manifest(batch)).presets}
    return labels
