"""What the show page needs of a published pack: its index, policy and clusters, and where its presets lie."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from aivj_assets.contracts.audio_style_model import AudioStyleModel
from aivj_assets.contracts.manifest import Manifest, ManifestPreset
from aivj_assets.contracts.preset_file import PresetRefusal, read_preset_file
from aivj_assets.contracts.run_manifest import RunPreset
from aivj_assets.errors import UserError
from aivj_assets.layout import AUDIO_STYLE_NAME, DataRoot, sha256_file
from aivj_assets.show.published import cluster_labels, motion_of, read_published, rendered_presets


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
    _rendered: dict[str, RunPreset] | None = None

    def require(self) -> None:
        """Raise `UserError` when the pack is not published, or has nothing to show."""
        self.published()

    def published(self) -> dict[str, Any]:
        """Return the published files as the page wants them, with their hashes.

        Raises `UserError` when the index or the policy is missing, empty or not as agreed.
        """
        found = read_published(self.root, self.pack)
        return {
            "pack": self.pack,
            "index": {
                "version": found.index.version,
                "pack": found.index.pack,
                "entries": [entry.to_json() for entry in found.index.entries],
            },
            "indexHash": found.index_hash,
            "selection": found.policy.selection.to_json(),
            "clusters": cluster_labels(self.root, self.pack),
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
        if self._rendered is None:
            self._rendered = rendered_presets(self.root, self.pack)
        one = self._rendered.get(preset_id)
        return PresetFigures(None, None) if one is None else PresetFigures(motion_of(one), one.tier)
