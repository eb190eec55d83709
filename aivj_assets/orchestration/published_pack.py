"""A pack as it is published, for what rehearses a show with it."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.quality_blacklist import QualityBlacklist
from aivj_assets.contracts.run_manifest import RunManifest, RunPreset
from aivj_assets.contracts.style import StyleIndex, StylePolicy
from aivj_assets.errors import UserError
from aivj_assets.layout import AUDIO_STYLE_NAME, DataRoot, sha256_file
from aivj_assets.show.learn.style_model import StyleModel
from aivj_assets.show.rehearsal.rehearse import Material


def published_material(root: DataRoot, pack: str) -> Material:
    """Read a published pack: index, policy, blacklist, audio -> style model, and what is known of presets for the eye.

    Names, labels, pictures and the model may be missing, the rest may not. Raises `UserError`: no such pack, not
    published, an index without presets, a file that is not as agreed.
    """
    policy_path, clusters_path, _, index_path = root.published_files(pack)
    if not index_path.is_file() or not policy_path.is_file():
        if not root.pack_dir(pack).is_dir():
            raise UserError(f"There is no pack '{pack}' under {root.presets_dir}.")
        raise UserError(f"Pack '{pack}' is not published, so that there is nothing to pick from: aivj run {pack}")
    index = StyleIndex.load(index_path)
    if not index.entries:
        raise UserError(f"Pack '{pack}': {index_path} lists no preset; publish the pack again: aivj publish {pack}")
    rendered = _rendered(root, pack)
    model_path = root.published(pack, AUDIO_STYLE_NAME)
    model = StyleModel.load(model_path) if model_path.is_file() else None
    return Material(
        pack=pack,
        index_hash=sha256_file(index_path),
        entries=index.entries,
        selection=StylePolicy.load(policy_path).selection,
        blacklist=frozenset(QualityBlacklist.of_pack(root, pack).bad_ids),
        labels=_labels(root, pack),
        cluster_labels=_cluster_labels(clusters_path),
        frames={one.preset_id: _frames(root, pack, one) for one in rendered},
        motion={
            one.preset_id: float(motion)
            for one in rendered
            if isinstance(motion := (one.metrics or {}).get("motion"), int | float)
        },
        quality_tiers={one.preset_id: one.tier for one in rendered if one.tier is not None},
        model=None if model is None else model.probabilities,
        model_hash=None if model is None else model.sha256,
    )


def _rendered(root: DataRoot, pack: str) -> list[RunPreset]:
    try:
        return [one for one in RunManifest.load(root.run_manifest(pack)).presets if one.status == "ok"]
    except UserError:
        return []


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


def _cluster_labels(path: Path) -> dict[str, str]:
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))["clusters"]
        return {str(one["id"]): str(one.get("label") or one["id"]) for one in listed}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
