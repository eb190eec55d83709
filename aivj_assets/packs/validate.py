"""Validating a submitted batch: the manifest as a whole, and every preset file it names."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import PurePosixPath

from aivj_assets.contracts.base import utc_now
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.preset_file import PresetRefusal, read_manifest_preset
from aivj_assets.contracts.presets_report import PresetsReport, ReportedRefusal
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot, sha256_file
from aivj_assets.packs.hygiene import Progress, map_files


def validate_batch(
    root: DataRoot, batch: BatchKey, *, progress: Progress | None = None
) -> tuple[Manifest, PresetsReport]:
    """Load a batch's manifest and read every preset file it names.

    A preset that cannot be used is a refusal in the report and keeps its place in the manifest: it counts in the ok
    rate. Raises `UserError` when the manifest is missing, malformed, of an unknown version, names an id twice or names
    no preset.
    """
    path = root.manifest(batch)
    if not path.is_file():
        known = ", ".join(found.key for found in root.find_batches()) or "none"
        raise UserError(
            f"{path} does not exist: there is no batch '{batch}' (batches found: {known}). "
            "Make a pack with: aivj pack import FOLDER --pack NAME"
        )
    manifest = Manifest.load(path)
    manifest_sha256 = sha256_file(path)
    if not manifest.presets:
        raise UserError(f"{path} names no preset; import the pack again.")
    outcomes = map_files(partial(_content_hash, root), [preset.rel_path for preset in manifest.presets], progress)

    refusals: list[ReportedRefusal] = []
    hashes: dict[str, str] = {}
    ids_of: dict[str, list[str]] = {}
    for preset, outcome in zip(manifest.presets, outcomes, strict=True):
        if isinstance(outcome, PresetRefusal):
            refusals.append(
                ReportedRefusal(
                    preset_id=preset.id, rel_path=preset.rel_path, reason=outcome.reason, detail=outcome.detail
                )
            )
        else:
            hashes[preset.id] = outcome
            ids_of.setdefault(outcome, []).append(preset.id)
    formats = Counter(PurePosixPath(preset.rel_path).suffix.lower() or "none" for preset in manifest.presets)
    return manifest, PresetsReport(
        generated_at=utc_now(),
        batch=batch.key,
        manifest_sha256=manifest_sha256,
        total=len(manifest.presets),
        usable=len(hashes),
        refusals=refusals,
        content_sha256=hashes,
        duplicates={sha256: ids for sha256, ids in ids_of.items() if len(ids) > 1},
        formats=dict(sorted(formats.items())),
    )


def _content_hash(root: DataRoot, rel_path: str) -> str | PresetRefusal:
    preset = read_manifest_preset(root, rel_path)
    return preset if isinstance(preset, PresetRefusal) else preset.sha256
