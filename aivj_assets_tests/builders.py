"""Small but whole data roots for tests: manifests, preset files, frames made with Pillow, an index and what follows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aivj_assets.contracts.clusters import Cluster, Clusters, cluster_id, save_centroids
from aivj_assets.contracts.embeddings import Embeddings, EmbeddingsMeta, Preprocessing, save_embeddings
from aivj_assets.contracts.frames_index import (
    FailedRecord,
    FrameMetrics,
    OkRecord,
    frame_paths,
    id_hash,
    read_records,
    write_records,
)
from aivj_assets.contracts.frames_meta import FramesMeta
from aivj_assets.contracts.manifest import Manifest, ManifestPreset
from aivj_assets.contracts.render_parameters import (
    PageDescription,
    RenderParameters,
    fingerprint,
    operational_parameters,
    pixel_parameters,
)
from aivj_assets.contracts.style import Energy, StyleEntry, StyleIndex
from aivj_assets.layout import BatchDir, BatchKey, DataRoot, sha256_file
from aivj_assets.orchestration.instance import open_instance

NOW = "2026-01-31T12:00:00.000Z"
PAGE = PageDescription(engine="butterchurn", engine_version="2.6.7", page_version="1", renderer="llvmpipe (test)")


def seed_storage(root: DataRoot, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Give a data root an empty Dagster storage: making its SQLite tables anew takes seconds, a copy does not."""
    template = DataRoot(tmp_path_factory.getbasetemp() / "dagster-template")
    if not template.path.exists():
        with open_instance(template, {}):
            pass
    shutil.copytree(template.dagster_home / "storage", root.dagster_home / "storage")


def preset_entry(preset_id: str, pack: str, *, label: str | None = None) -> ManifestPreset:
    """Return the manifest's entry of a Butterchurn preset `public/presets/<pack>/files/<id>.json`."""
    rel_path = f"{pack}/files/{preset_id}.json"
    return ManifestPreset(
        id=preset_id,
        label=label or f"Author - {preset_id}",
        rel_path=rel_path,
        url=f"/presets/{rel_path}",
        pack=pack,
        file_name=f"{preset_id}.json",
        file_size=2,
    )


def write_preset_files(root: DataRoot, presets: Sequence[ManifestPreset]) -> None:
    """Write a small JSON file for each preset, each with a content of its own."""
    for preset in presets:
        path = root.preset_file(preset.rel_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"name": preset.id, "baseVals": {}}), encoding="utf-8")


def write_manifest(
    root: DataRoot, key: str, preset_ids: Sequence[str], *, files: bool = True, labels: Mapping[str, str] | None = None
) -> Manifest:
    """Write the manifest of batch `key` (and its preset files); returns it."""
    batch = BatchKey.parse(key)
    presets = [preset_entry(preset_id, batch.pack, label=(labels or {}).get(preset_id)) for preset_id in preset_ids]
    manifest = Manifest(
        version="v0",
        generated_at=NOW,
        source_root="tests",
        total_files_scanned=len(presets),
        total_presets_included=len(presets),
        presets=presets,
    )
    manifest.save(root.manifest(batch))
    if files:
        write_preset_files(root, presets)
    return manifest


def write_frame(path: Path, *, seed: int, luma: float, side: int = 16, quality: int = 92) -> None:
    """Write a WebP of noise around `luma` (0..1); two seeds never give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(-20, 21, (side, side, 3))
    Image.fromarray((luma * 255 + noise).clip(0, 255).astype(np.uint8)).save(path, quality=quality)


def ok_record(
    preset_id: str, pack: str, *, luma: float = 0.5, motion: float = 0.1, captures: int = 3, **more: Any
) -> OkRecord:
    """Return the index line of a rendered preset."""
    entry = preset_entry(preset_id, pack)
    return OkRecord(
        at=NOW,
        preset_id=preset_id,
        rel_path=entry.rel_path,
        file_path=f"public/presets/{entry.rel_path}",
        id_hash=id_hash(preset_id),
        frames=frame_paths(id_hash(preset_id), captures, "webp"),
        metrics=FrameMetrics(avg_luma=luma, motion=motion),
        **more,
    )


def failed_record(preset_id: str, pack: str, reason: str = "preset-load-failed", **more: Any) -> FailedRecord:
    """Return the index line of a preset that failed."""
    entry = preset_entry(preset_id, pack)
    return FailedRecord(
        at=NOW,
        preset_id=preset_id,
        rel_path=entry.rel_path,
        file_path=f"public/presets/{entry.rel_path}",
        reasons=[reason],
        **more,
    )


def spread(count: int, low: float, high: float) -> list[float]:
    """Return `count` figures from `low` to `high`."""
    return [round(float(value), 6) for value in np.linspace(low, high, count)]


def write_index(
    root: DataRoot,
    key: str,
    preset_ids: Sequence[str],
    *,
    failed: Mapping[str, str] | None = None,
    luma: Sequence[float] | None = None,
    motion: Sequence[float] | None = None,
    same_first_frame: Sequence[str] = (),
    captures: int = 3,
) -> BatchDir:
    """Write frames and `frames-index.jsonl` of a batch whose gates pass unless the arguments say otherwise.

    `failed` maps preset ids to reasons; `luma` and `motion` follow the ok presets; the presets of `same_first_frame`
    share one first frame.
    """
    batch = BatchKey.parse(key)
    folder = root.batch(batch)
    failed = failed or {}
    ok_ids = [preset_id for preset_id in preset_ids if preset_id not in failed]
    lumas = list(luma) if luma is not None else spread(len(ok_ids), 0.1, 0.8)
    motions = list(motion) if motion is not None else spread(len(ok_ids), 0.01, 0.4)
    figures = dict(zip(ok_ids, zip(lumas, motions, strict=True), strict=True))
    records: list[OkRecord | FailedRecord] = []
    for number, preset_id in enumerate(preset_ids):
        if preset_id in failed:
            records.append(failed_record(preset_id, batch.pack, failed[preset_id]))
            continue
        avg_luma, moved = figures[preset_id]
        record = ok_record(preset_id, batch.pack, luma=avg_luma, motion=moved, captures=captures)
        for capture, frame in enumerate(record.frames):
            shared = capture == 0 and preset_id in same_first_frame
            seed, level = (10**6, 0.5) if shared else (number * 100 + capture, avg_luma)
            write_frame(folder.path / frame, seed=seed, luma=level)
        records.append(record)
    write_records(folder.frames_index, records)
    return folder


def write_frames_meta(root: DataRoot, key: str, **parameters: Any) -> FramesMeta:
    """Write `frames.meta.json` for the index that lies there."""
    batch = BatchKey.parse(key)
    folder = root.batch(batch)
    chosen = RenderParameters(**parameters)
    pixels = pixel_parameters(chosen, PAGE)
    records = read_records(folder.frames_index)
    ok = sum(isinstance(record, OkRecord) for record in records.values())
    meta = FramesMeta(
        generated_at=NOW,
        batch=key,
        manifest_sha256=sha256_file(root.manifest(batch)),
        fingerprint=fingerprint(pixels),
        pixel_parameters=pixels,
        operational_parameters=operational_parameters(chosen),
        renderer_class="llvmpipe",
        browser_version="140.0",
        page=PAGE.to_json(),
        total=len(records),
        ok=ok,
        failed=len(records) - ok,
        reused=0,
        failure_reasons={},
        warnings={},
        duration_s=1.5,
        index_sha256=sha256_file(folder.frames_index),
    )
    meta.save(folder.frames_meta)
    return meta


def embeddings_meta(count: int, dim: int, **more: Any) -> EmbeddingsMeta:
    """Return a card of a model that does not exist."""
    fields: dict[str, Any] = {
        "model": "test-model",
        "pretrained": "test-weights",
        "weights_sha256": "0" * 64,
        "preprocess": Preprocessing(size=16, interpolation="bicubic", mean=[0.5] * 3, std=[0.5] * 3),
        "dim": dim,
        "max_frames_per_preset": 3,
        "generated_at": NOW,
        "count": count,
        "frames": 3 * count,
        "dtype": "float32",
        "device": "cpu",
        "libraries": {"torch": "0"},
        "duration_s": 0.5,
        "frames_index_sha256": "1" * 64,
    }
    return EmbeddingsMeta(**(fields | more))


def write_embeddings(root: DataRoot, key: str, preset_ids: Sequence[str], *, dim: int = 8) -> Embeddings:
    """Write seeded unit vectors, one a preset."""
    vectors = np.random.default_rng(3).normal(size=(len(preset_ids), dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    made = Embeddings(vectors, list(preset_ids), embeddings_meta(len(preset_ids), dim))
    save_embeddings(root.batch(BatchKey.parse(key)), made)
    return made


def write_clusters(root: DataRoot, key: str, preset_ids: Sequence[str], *, k: int = 2, dim: int = 8) -> Clusters:
    """Write `k` clusters to which the presets are dealt in turn, and their centroids."""
    folder = root.batch(BatchKey.parse(key))
    assignments = {preset_id: cluster_id(number % k) for number, preset_id in enumerate(preset_ids)}
    sizes = list(assignments.values())
    made = Clusters(
        k=k,
        seed=1,
        strategy="versioned",
        previous=None,
        clusters=[
            Cluster(id=cluster_id(row), size=sizes.count(cluster_id(row)), centroid=row, born_in=key, label="x")
            for row in range(k)
        ],
        assignments=assignments,
        k_reason="as asked",
    )
    made.save(folder.clusters)
    save_centroids(folder.centroids, np.eye(k, dim, dtype=np.float32))
    return made


def style_index(pack: str, energies: Mapping[str, Energy], *, version: str = "v1") -> StyleIndex:
    """Return an index in which every preset lies in cluster c00."""
    entries = [
        StyleEntry(preset_id=preset_id, author_key="c00", energy=energy, tags=["cluster:c00", f"energy:{energy}"])
        for preset_id, energy in energies.items()
    ]
    return StyleIndex.model_validate({"version": version, "generated_at": NOW, "pack": pack, "entries": entries})


def write_batch(root: DataRoot, key: str, count: int = 20) -> list[str]:
    """Write a whole batch up to its style index: all gates pass; returns its preset ids."""
    ids = [f"p{number:03d}" for number in range(count)]
    batch = BatchKey.parse(key)
    write_manifest(root, key, ids)
    folder = write_index(root, key, ids)
    write_frames_meta(root, key)
    write_embeddings(root, key, ids)
    write_clusters(root, key, ids)
    tiers: tuple[Energy, ...] = ("calm", "groove", "peak")
    energies = {preset_id: tiers[number % 3] for number, preset_id in enumerate(ids)}
    for version in ("v0", "v1"):
        style_index(batch.pack, energies, version=version).save(folder.style_index(version))
    return ids
