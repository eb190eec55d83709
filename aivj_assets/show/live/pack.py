"""What the show page needs of a published pack: its index, policy and clusters, and where its presets lie."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aivj_assets.contracts.audio_style_model import AudioStyleModel
from aivj_assets.contracts.manifest import Manifest, ManifestPreset
from aivj_assets.contracts.preset_file import PresetRefusal, read_preset_file
from aivj_assets.contracts.run_manifest import RunManifest
from aivj_assets.contracts.style import StyleIndex, StylePolicy
from aivj_assets.errors import UserError
from aivj_assets.layout import (
    AUDIO_STYLE_NAME,
    PUBLISHED_CLUSTERS_NAME,
    STYLE_POLICY_NAME,
    DataRoot,
    sha256_file,
    style_index_name,
)


@dataclass(frozen=True)
class PresetFigures:
    """What the app's selection log says of a preset beside its id."""

    motion: float | None
    quality_tier: str | None


@dataclass
class ShowPack:
    """A published pack. Files are read anew at each call of `published`: a pack may be published during the evening."""

    root: DataRoot
    pack: str
    _presets: dict[str, ManifestPreset] = field(default_factory=dict)
    _figures: dict[str, PresetFigures] | None = None

    def require(self) -> None:
        """Raise `UserError` when the pack is not published, or has nothing to show."""
        self.published()

    def published(self) -> dict[str, Any]:
        """Return the published files as the page wants them, with their hashes.

        Raises `UserError` when the index or the policy is missing or not as agreed.
        """
        index_path = self.root.published(self.pack, style_index_name("v1"))
        policy_path = self.root.published(self.pack, STYLE_POLICY_NAME)
        if not index_path.is_file() or not policy_path.is_file():
            raise UserError(f"Pack '{self.pack}' is not published: run aivj run {self.pack} first.")
        data = index_path.read_bytes()
        index = StyleIndex.load(index_path)
        if not index.entries:
            raise UserError(f"The style index of pack '{self.pack}' lists no preset: there is nothing to show.")
        return {
            "pack": self.pack,
            "index": {
                "version": index.version,
                "pack": index.pack,
                "entries": [entry.to_json() for entry in index.entries],
            },
            "indexHash": hashlib.sha256(data).hexdigest(),
            "selection": StylePolicy.load(policy_path).selection.to_json(),
            "clusters": self._clusters(),
            **self._model(),
        }

    def _model(self) -> dict[str, Any]:
        """Return the audio -> style model with its hash; without a usable one the rule picks alone, and why is told."""
        path = self.root.published(self.pack, AUDIO_STYLE_NAME)
        if not path.is_file():
            return {"model": None, "modelHash": None, "modelProblem": None}
        try:
            model = AudioStyleModel.load(path).to_json()
            return {"model": model, "modelHash": sha256_file(path), "modelProblem": None}
        except (UserError, OSError) as error:
            return {"model": None, "modelHash": None, "modelProblem": str(error)}

    def _clusters(self) -> dict[str, str]:
        """Return {cluster id: its label}; empty when the file is missing: labels are for the eye only."""
        path = self.root.published(self.pack, PUBLISHED_CLUSTERS_NAME)
        try:
            listed = json.loads(path.read_text(encoding="utf-8"))["clusters"]
            return {str(one["id"]): str(one.get("label") or "") for one in listed}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def preset(self, preset_id: str) -> dict[str, str]:
        """Return {label, text} of a preset. Raises `UserError`: unknown, missing, too large, empty or binary."""
        if preset_id not in self._presets:
            self._presets = self._read_presets()
        listed = self._presets.get(preset_id)
        if listed is None:
            raise UserError(f"No manifest of pack '{self.pack}' names the preset {preset_id}.")
        found = read_preset_file(self.root.preset_file(listed.rel_path))
        if isinstance(found, PresetRefusal):
            raise UserError(f"{listed.rel_path}: {found.detail}.")
        return {"label": listed.label, "text": found.text}

    def _read_presets(self) -> dict[str, ManifestPreset]:
        batches = [batch for batch in self.root.find_batches() if batch.pack == self.pack]
        return {preset.id: preset for batch in batches for preset in Manifest.load(self.root.manifest(batch)).presets}

    def figures(self, preset_id: str) -> PresetFigures:
        """Return motion and quality tier of a preset, None where the run manifest does not tell them."""
        if self._figures is None:
            self._figures = _figures_of(self.root.run_manifest(self.pack))
        return self._figures.get(preset_id, PresetFigures(None, None))


def _figures_of(path: Path) -> dict[str, PresetFigures]:
    try:
        presets = RunManifest.load(path).presets
    except UserError:
        return {}
    return {one.preset_id: PresetFigures(_number((one.metrics or {}).get("motion")), one.tier) for one in presets}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
