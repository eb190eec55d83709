"""`run-manifest.json` of a pack, from the records of its batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from aivj_assets.contracts.base import utc_now
from aivj_assets.contracts.frames_index import FailedRecord, OkRecord, id_hash
from aivj_assets.contracts.gates import FRAME_MISSING
from aivj_assets.contracts.run_manifest import RunBatch, RunCounts, RunManifest, RunPreset, RunTime
from aivj_assets.layout import DataRoot
from aivj_assets.packs.rendered import Record, RenderedBatch

_DARK_FLAGS = {"black", "flat"}
_LUMA_WEIGHT, _MOTION_WEIGHT = 0.4, 0.6


def build_run_manifest(root: DataRoot, pack: str, batches: Sequence[RenderedBatch]) -> RunManifest:
    """Return how every preset of a pack's batches came out, in the batches' and their manifests' order.

    An ok preset whose first frame is gone counts as failed, as it does for the gates. Presets without a record are
    counted as skipped and not listed.
    """
    out_dir = root.run_manifest(pack).parent
    presets: list[RunPreset] = []
    indexes: list[RunBatch] = []
    contents: set[str] = set()
    total, pattern = 0, ""
    # Once through: a batch may be read for it.
    for batch in batches:
        found = [record for preset in batch.manifest.presets if (record := batch.records.get(preset.id)) is not None]
        total += len(batch.manifest.presets)
        presets += [_preset(batch, record, out_dir) for record in found]
        # Another tool's records do not tell the content: such a preset stands for itself.
        contents |= {record.preset_sha256 or f"id:{record.preset_id}" for record in found}
        index_path = _below(root, batch.folder.frames_index)
        indexes.append(RunBatch(batch=batch.batch.key, index_path=index_path))
        whole = batch.batch.batch is None
        pattern = pattern or (
            index_path if whole else f"{_below(root, out_dir)}/batch-*/{batch.folder.frames_index.name}"
        )
    times = [preset.at for preset in presets]
    return RunManifest(
        generated_at=utc_now(),
        run_name=pack,
        index_path=pattern,
        out_dir=_below(root, out_dir),
        counts=_counts(presets, total=total, unique=len(contents)),
        time=RunTime(earliest=min(times, default=None), latest=max(times, default=None)),
        batches=indexes,
        presets=presets,
    )


def _below(root: DataRoot, path: Path) -> str:
    return path.relative_to(root.path).as_posix()


def _counts(presets: Sequence[RunPreset], *, total: int, unique: int) -> RunCounts:
    status = Counter(preset.status for preset in presets)
    tiers = Counter(preset.tier for preset in presets)
    return RunCounts(
        total=total,
        ok=status["ok"],
        failed=status["failed"],
        skipped=total - len(presets),
        tier1_ok=tiers["strict"],
        tier2_ok=tiers["dark"],
        unique_presets=unique,
    )


def _preset(batch: RenderedBatch, record: Record, out_dir: Path) -> RunPreset:
    common = {"preset_id": record.preset_id, "rel_path": record.rel_path, "file_path": record.file_path}
    if isinstance(record, FailedRecord):
        return RunPreset(
            **common, status="failed", id_hash=id_hash(record.preset_id), metrics=record.metrics,
            reasons=record.reasons, at=record.at,
        )  # fmt: skip
    sizes = _frame_sizes(batch, record, out_dir)
    metrics = record.metrics.to_json()
    if not sizes:
        return RunPreset(
            **common, status="failed", id_hash=record.id_hash, metrics=metrics, reasons=[FRAME_MISSING], at=record.at
        )
    score = _LUMA_WEIGHT * record.metrics.avg_luma + _MOTION_WEIGHT * record.metrics.motion
    return RunPreset(
        **common,
        status="ok",
        tier="strict" if _DARK_FLAGS.isdisjoint(record.metrics.flags or ()) else "dark",
        id_hash=record.id_hash,
        frames=list(sizes),
        best_frame=max(sizes, key=lambda frame: sizes[frame]),
        metrics=metrics,
        at=record.at,
        score=round(score, 6),
    )


def _frame_sizes(batch: RenderedBatch, record: OkRecord, out_dir: Path) -> dict[str, int]:
    """Return {frame relative to `out_dir`: bytes} of the frames on disk; none when the first is not among them."""
    prefix = batch.folder.path.relative_to(out_dir).as_posix()
    sizes: dict[str, int] = {}
    for number, frame in enumerate(record.frames):
        try:
            size_bytes = (batch.folder.path / frame).stat().st_size
        except OSError:
            size_bytes = 0
        if size_bytes:
            sizes[frame if prefix == "." else f"{prefix}/{frame}"] = size_bytes
        elif number == 0:
            return {}
    return sizes
