"""What a show reads of a published pack."""

from __future__ import annotations

import json
from dataclasses import dataclass

from aivj_assets.contracts.run_manifest import RunManifest, RunPreset
from aivj_assets.contracts.style import StyleIndex, StylePolicy
from aivj_assets.errors import UserError
from aivj_assets.layout import PUBLISHED_CLUSTERS_NAME, STYLE_POLICY_NAME, DataRoot, sha256_file


@dataclass(frozen=True)
class Published:
    """Index and policy of a pack. `index_hash` is the SHA-256 of the index file, hex."""

    index: StyleIndex
    index_hash: str
    policy: StylePolicy


def read_published(root: DataRoot, pack: str) -> Published:
    """Read a pack's index and policy; raises `UserError` as `read_index`, for either file."""
    policy_path, index_path = root.published(pack, STYLE_POLICY_NAME), root.published_files(pack)[-1]
    index = read_index(root, pack)
    if not policy_path.is_file():
        raise _not_published(pack)
    return Published(index, sha256_file(index_path), StylePolicy.load(policy_path))


def read_index(root: DataRoot, pack: str) -> StyleIndex:
    """Read a pack's index.

    Raises `UserError`: no such pack, not published, an index without presets, a file that is not as agreed.
    """
    path = root.published_files(pack)[-1]
    if not path.is_file():
        if not root.pack_dir(pack).is_dir():
            raise UserError(f"There is no pack '{pack}' under {root.presets_dir}.")
        raise _not_published(pack)
    index = StyleIndex.load(path)
    if not index.entries:
        raise UserError(f"Pack '{pack}': {path} lists no preset; publish the pack again: aivj publish {pack}")
    return index


def _not_published(pack: str) -> UserError:
    return UserError(f"Pack '{pack}' is not published, so that there is nothing to pick from: aivj run {pack}")


def cluster_labels(root: DataRoot, pack: str) -> dict[str, str]:
    """Return {cluster id: label, empty where it has none}; none at all without the file: labels are for the eye."""
    try:
        listed = json.loads(root.published(pack, PUBLISHED_CLUSTERS_NAME).read_text(encoding="utf-8"))["clusters"]
        return {str(one["id"]): str(one.get("label") or "") for one in listed}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def rendered_presets(root: DataRoot, pack: str) -> dict[str, RunPreset]:
    """Return {presetId: how it came out} of the presets that rendered; empty where the run manifest is missing."""
    try:
        presets = RunManifest.load(root.run_manifest(pack)).presets
    except UserError:
        return {}
    return {one.preset_id: one for one in presets if one.status == "ok"}


def motion_of(preset: RunPreset) -> float | None:
    """Return a preset's motion, 0..1, None where nobody told it."""
    value = (preset.metrics or {}).get("motion")
    return float(value) if isinstance(value, int | float) else None
