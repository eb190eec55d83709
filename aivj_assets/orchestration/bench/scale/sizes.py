"""What lies under a data root, in bytes and files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from aivj_assets.layout import BatchKey, DataRoot

Sizes = dict[str, int]


def batch_sizes(root: DataRoot, batch: BatchKey) -> Sizes:
    """Return bytes of a batch: its manifest, its index, its frames and all other artifacts, and the frames' number."""
    folder = root.batch(batch)
    frames, count = folder_bytes(folder.frames_dir)
    total, _ = folder_bytes(folder.path)
    return {
        "manifest_bytes": _file_bytes(root.manifest(batch)),
        "frames_index_bytes": _file_bytes(folder.frames_index),
        "frames_bytes": frames,
        "frames_files": count,
        "other_artifacts_bytes": total - frames,
    }


def library_sizes(root: DataRoot, pack: str) -> Sizes:
    """Return bytes of what grows with the library: what is published, run manifest, lineage, Dagster's storage."""
    storage = root.dagster_home / "storage"
    total, files = folder_bytes(storage)
    logs, log_files = folder_bytes(root.dagster_home / "logs")
    return {
        "published_bytes": sum(_file_bytes(path) for path in root.published_files(pack)),
        "run_manifest_bytes": _file_bytes(root.run_manifest(pack)),
        "gate_report_bytes": _file_bytes(root.gate_report(".json")) + _file_bytes(root.gate_report(".html")),
        "lineage_bytes": folder_bytes(root.lineages_dir)[0],
        "embedding_cache_bytes": folder_bytes(root.embedding_cache_dir)[0],
        "dagster_bytes": total,
        "dagster_files": files,
        "dagster_index_bytes": sum(size for path, size in _files(storage) if path.name.startswith("index.db")),
        "compute_logs_bytes": logs,
        "compute_logs_files": log_files,
    }


def folder_bytes(folder: Path) -> tuple[int, int]:
    """Return (bytes, files) below a folder; none when it is not there."""
    total = count = 0
    for _, size in _files(folder):
        total += size
        count += 1
    return total, count


def _files(folder: Path) -> Iterator[tuple[Path, int]]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path))
            continue
        try:
            yield Path(entry.path), entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue


def _file_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
