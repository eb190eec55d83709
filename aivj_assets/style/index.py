"""Style indexes: what the browser app picks presets from. v1 rests on clusters and motion, v0 on names alone."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from aivj_assets.contracts.base import first_problem
from aivj_assets.contracts.clusters import Clusters
from aivj_assets.contracts.findings import Finding, examples
from aivj_assets.contracts.frames_index import FailedRecord, OkRecord
from aivj_assets.contracts.manifest import Manifest, ManifestPreset, preset_slug, split_author_title
from aivj_assets.contracts.style import ENERGIES, Energy, StyleEntry, StyleIndex
from aivj_assets.errors import UserError
from aivj_assets.style.energy import energy_by_title

UNKNOWN_AUTHOR = "unknown"


def author_slug(label: str) -> str | None:
    """Return the slug `[a-z0-9-]` of the author in a label "Author - Title"; None where there is none to tell."""
    author, _ = split_author_title(label)
    plain = unicodedata.normalize("NFKD", author or "").encode("ascii", "ignore").decode()
    return preset_slug(plain) if re.search(r"[A-Za-z0-9]", plain) else None


def build_style_index_v1(
    pack: str,
    clusters: Clusters,
    *,
    records: Mapping[str, OkRecord | FailedRecord],
    manifest: Manifest,
    energies: Mapping[str, Energy],
    generated_at: str,
) -> StyleIndex:
    """Return the index of every clustered preset: authorKey is its cluster, energy its motion tier.

    Entries stand in the manifest's order. Raises `UserError` when a clustered preset is not in the manifest, has no
    ok record or no energy: the clusters are then of another version of the batch.
    """
    presets = _clustered_presets(clusters, manifest)
    _refuse(
        "no frames in the index",
        (preset.id for preset in presets if not isinstance(records.get(preset.id), OkRecord)),
    )
    _refuse("no energy", (preset.id for preset in presets if preset.id not in energies))
    entries = []
    for preset in presets:
        cluster, energy = clusters.assignments[preset.id], energies[preset.id]
        author = author_slug(preset.label)
        tags = [f"cluster:{cluster}", f"energy:{energy}", *([f"author:{author}"] if author else [])]
        entries.append(StyleEntry(preset_id=preset.id, author_key=cluster, energy=energy, tags=tags))
    return StyleIndex(version="v1", generated_at=generated_at, pack=pack, entries=entries)


def build_style_index_v0(pack: str, clusters: Clusters, *, manifest: Manifest, generated_at: str) -> StyleIndex:
    """Return the app's fallback for the same presets: authorKey is the author's slug, energy from title keywords."""
    entries = []
    for preset in _clustered_presets(clusters, manifest):
        author = author_slug(preset.label)
        energy = energy_by_title(split_author_title(preset.label)[1])
        tags = [f"energy:{energy}", *([f"author:{author}"] if author else [])]
        entries.append(
            StyleEntry(preset_id=preset.id, author_key=author or UNKNOWN_AUTHOR, energy=energy, tags=tags),
        )
    return StyleIndex(version="v0", generated_at=generated_at, pack=pack, entries=entries)


def _clustered_presets(clusters: Clusters, manifest: Manifest) -> list[ManifestPreset]:
    known = {preset.id for preset in manifest.presets}
    _refuse("no place in the manifest", (preset_id for preset_id in clusters.assignments if preset_id not in known))
    return [preset for preset in manifest.presets if preset.id in clusters.assignments]


def _refuse(lack: str, preset_ids: Iterable[str]) -> None:
    lacking = sorted(preset_ids)
    if lacking:
        raise UserError(
            f"{len(lacking)} clustered presets have {lack}: {examples(lacking)}; "
            "materialise embeddings and clusters again."
        )


def check_style_index(index: StyleIndex | Mapping[str, Any], embedded_ids: Sequence[str]) -> list[Finding]:
    """Hold an index (the model, or the JSON object of a file) against the presets that have an embedding."""
    content = index.to_json() if isinstance(index, StyleIndex) else dict(index)
    listed = content.get("entries")
    entries = [entry for entry in listed if isinstance(entry, Mapping)] if isinstance(listed, list) else []
    counts = Counter(str(entry.get("presetId", "")) for entry in entries)
    return [_contract(content), _coverage(counts, embedded_ids), _unique(counts), _energies(entries)]


def _contract(content: dict[str, Any]) -> Finding:
    try:
        index = StyleIndex.model_validate(content)
    except ValidationError as error:
        return Finding("contract", False, first_problem(error))
    return Finding("contract", True, f"version {index.version}, {len(index.entries)} entries")


def _coverage(counts: Counter[str], embedded_ids: Sequence[str]) -> Finding:
    embedded = set(embedded_ids)
    missing = sorted(embedded - counts.keys())
    foreign = sorted(counts.keys() - embedded)
    fraction = 1 - len(missing) / len(embedded) if embedded else 0.0
    detail = f"{fraction:.1%} of {len(embedded)} embedded presets"
    if missing:
        detail += f"; missing: {examples(missing)}"
    if foreign:
        detail += f"; not embedded: {examples(foreign)}"
    return Finding("coverage", bool(embedded) and not missing and not foreign, detail)


def _unique(counts: Counter[str]) -> Finding:
    twice = sorted(preset_id for preset_id, count in counts.items() if count > 1)
    return Finding(
        "no_duplicates",
        not twice,
        f"more than once: {examples(twice)}" if twice else f"{len(counts)} different presets",
    )


def _energies(entries: Sequence[Mapping[str, Any]]) -> Finding:
    counts = Counter(str(entry.get("energy")) for entry in entries)
    illegal = sorted(counts.keys() - set(ENERGIES))
    if illegal:
        return Finding("energies_legal", False, f"illegal: {examples(illegal)}")
    return Finding("energies_legal", bool(entries), ", ".join(f"{energy} {counts[energy]}" for energy in ENERGIES))
