"""What is left to render: merging logs, telling which records still count, cutting the rest into shards, finishing.

Every function here may be interrupted at any point and run again.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aivj_assets.contracts.frames_index import (
    TRANSIENT_REASONS,
    FailedRecord,
    OkRecord,
    id_hash,
    is_whole_file,
    read_records,
    write_records,
)
from aivj_assets.contracts.manifest import ManifestPreset
from aivj_assets.contracts.preset_file import PresetRefusal, PresetText, read_manifest_preset
from aivj_assets.contracts.render_parameters import PageDescription, RenderParameters, fingerprint, pixel_parameters
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir, BatchKey, DataRoot
from aivj_assets.render.shard_log import remove_frames, storage_error
from aivj_assets.render.shard_plan import ShardPlan, ShardPreset

Record = OkRecord | FailedRecord

_TWO_DIGITS = re.compile(r"[0-9a-f]{2}")
_ID_HASH = re.compile(r"[0-9a-f]{16}")
_MIN_SHARD_PRESETS = 8  # a browser's start costs as much as two or three presets


@dataclass(frozen=True)
class RenderPlan:
    """What a batch's rendering consists of."""

    fingerprint: str
    kept: dict[str, Record]
    """Records of earlier runs that still count, in manifest order."""
    pending: tuple[ShardPreset, ...]
    shards: tuple[ShardPlan, ...]


@dataclass(frozen=True)
class FinishedIndex:
    """What the final index holds, over the manifest's presets."""

    total: int
    ok: int
    failed: int
    left: tuple[str, ...]
    """Presets without a record of this fingerprint: the batch is incomplete while there are any."""
    failure_reasons: dict[str, int]
    warnings: dict[str, int]

    @property
    def complete(self) -> bool:
        """True when every preset of the manifest has a record."""
        return not self.left


def absorb_shard_logs(batch_dir: BatchDir) -> dict[str, Record]:
    """Merge leftover shard logs into the index and delete them; returns {presetId: its last record}.

    The index is written before the first log goes, and logs go oldest first: a crash in between leaves logs that are
    merged again to the same result. Raises `UserError` for a line that is not as agreed, or a disk that is full.
    """
    records = read_records(batch_dir.frames_index)
    logs = []
    for path in sorted(batch_dir.shard_logs_dir.glob("*.jsonl")) if batch_dir.shard_logs_dir.is_dir() else []:
        logged = read_records(path)
        newest = max((record.at for record in logged.values()), default="")
        logs.append((newest, path, logged))
    logs.sort(key=lambda log: (log[0], log[1].name))
    for _, _, logged in logs:
        records.update(logged)
    if any(logged for _, _, logged in logs):
        _write_index(batch_dir, records)
    for _, path, _ in logs:
        try:
            path.unlink()
        except OSError as error:
            raise storage_error(error, path) from None
    return records


def is_done(
    record: Record | None,
    preset: PresetText | PresetRefusal,
    fingerprint_: str,
    batch_dir: BatchDir,
    *,
    timeout_ms: int | None = None,
    retry_failed: bool = False,
) -> bool:
    """Tell whether a record still counts for a preset as it is today.

    An ok record: same fingerprint, same content, every frame on disk and whole. A failed record: same fingerprint
    and content (or the same refusal), and a reason that trying again does not cure. A quarantined one counts until
    `timeout_ms`, today's deadline of one preset, is longer than it was.
    """
    if record is None or record.fingerprint != fingerprint_:
        return False
    if isinstance(record, OkRecord):
        return (
            isinstance(preset, PresetText)
            and record.preset_sha256 == preset.sha256
            and all(is_whole_file(batch_dir.path / frame) for frame in record.frames)
        )
    if retry_failed:
        return False
    if isinstance(preset, PresetRefusal):
        return record.preset_sha256 is None and record.reasons == [preset.reason]
    if record.quarantined:
        curable = timeout_ms is not None and record.timeout_ms is not None and timeout_ms > record.timeout_ms
    else:
        curable = not TRANSIENT_REASONS.isdisjoint(record.reasons)
    return record.preset_sha256 == preset.sha256 and not curable


def needs_rendering(
    presets: Sequence[ManifestPreset],
    records: Mapping[str, Record],
    *,
    root: DataRoot,
    batch_dir: BatchDir,
    fingerprint_: str,
    resume: bool = True,
    timeout_ms: int | None = None,
    retry_failed: bool = False,
) -> list[ManifestPreset]:
    """Return the presets without a record that still counts, in manifest order; all of them unless `resume`."""
    if not resume:
        return list(presets)
    return [
        preset
        for preset in presets
        if (record := records.get(preset.id)) is None
        or record.rel_path != preset.rel_path
        or not is_done(
            record,
            read_manifest_preset(root, preset.rel_path),
            fingerprint_,
            batch_dir,
            timeout_ms=timeout_ms,
            retry_failed=retry_failed,
        )
    ]


def plan_rendering(
    presets: Sequence[ManifestPreset],
    *,
    root: DataRoot,
    batch: BatchKey,
    batch_dir: BatchDir,
    parameters: RenderParameters,
    page: PageDescription,
    parallel: int = 1,
    retry_failed: bool = False,
    stop_at_epoch_s: float | None = None,
) -> RenderPlan:
    """Absorb logs, drop records that no longer count, and cut what is left into shards.

    No preset is started after `stop_at_epoch_s`, nor when `stopAfterSec` is over, whichever comes first.
    Records are dropped from the index before any frame of theirs is overwritten, so that a line of the index never
    stands over another rendering's frames. Only the one who holds the batch may call this.
    """
    digest = fingerprint(pixel_parameters(parameters, page))
    records = absorb_shard_logs(batch_dir)
    pending = needs_rendering(
        presets,
        records,
        root=root,
        batch_dir=batch_dir,
        fingerprint_=digest,
        resume=parameters.resume,
        timeout_ms=parameters.timeout_ms,
        retry_failed=retry_failed or parameters.retry_failed,
    )
    open_ids = {preset.id for preset in pending}
    kept = {preset.id: records[preset.id] for preset in presets if preset.id not in open_ids}
    if kept != records:
        _write_index(batch_dir, kept)
    todo = tuple(ShardPreset(preset_id=preset.id, rel_path=preset.rel_path) for preset in pending)
    ends = [] if stop_at_epoch_s is None else [stop_at_epoch_s]
    if parameters.stop_after_sec > 0:
        ends.append(time.time() + parameters.stop_after_sec)
    deadline = min(ends, default=None)
    shards = plan_shards(
        todo,
        batch_key=batch.key,
        data_root=root.path,
        artifact_dir=batch_dir.path,
        parameters=parameters,
        fingerprint_=digest,
        page=page,
        parallel=parallel,
        deadline_epoch_s=deadline,
    )
    return RenderPlan(digest, kept, todo, tuple(shards))


def plan_shards(
    presets: Sequence[ShardPreset],
    *,
    batch_key: str,
    data_root: Path,
    artifact_dir: Path,
    parameters: RenderParameters,
    fingerprint_: str,
    page: PageDescription,
    parallel: int = 1,
    deadline_epoch_s: float | None = None,
) -> list[ShardPlan]:
    """Cut presets into shards of at most `refreshEvery`, of similar size, so that `parallel` browsers end together.

    60 presets, refreshEvery 100, parallel 2 are two shards of 30. The names are the same for the same presets and
    differ for others, so that a worker left over from an earlier run never writes into a new shard's log.
    """
    shards = []
    count = shard_count(len(presets), parameters.refresh_every, parallel)
    for number in range(count):
        # Dealt like cards: presets of one author lie side by side in a manifest and cost alike.
        part = tuple(presets[number::count])
        ids = "\n".join(preset.preset_id for preset in part) + fingerprint_
        token = hashlib.sha256(ids.encode("utf-8", errors="surrogatepass")).hexdigest()[:8]
        shards.append(
            ShardPlan(
                name=f"s{number:04d}_{token}",
                batch_key=batch_key,
                data_root=data_root,
                artifact_dir=artifact_dir,
                presets=part,
                parameters=parameters,
                fingerprint=fingerprint_,
                page=page,
                deadline_epoch_s=deadline_epoch_s,
            )
        )
    return shards


def shard_count(presets: int, refresh_every: int, parallel: int) -> int:
    """Return into how many shards to cut: enough for `refresh_every`, a multiple of `parallel` where that pays."""
    if presets == 0:
        return 0
    least = math.ceil(presets / refresh_every)
    busy = max(1, min(parallel, presets // _MIN_SHARD_PRESETS))
    return min(presets, math.ceil(least / busy) * busy)


def finish_index(batch_dir: BatchDir, presets: Sequence[ManifestPreset], fingerprint_: str) -> FinishedIndex:
    """Merge all logs into the index in manifest order and tidy the frames; returns the counts.

    While presets are left without a record of this fingerprint nothing is dropped, and `complete` is False. Once
    complete, the index holds exactly the manifest's presets, and neither a failed preset nor one that left the manifest
    has frames.
    """
    records = absorb_shard_logs(batch_dir)
    counted = {
        preset.id: record
        for preset in presets
        if (record := records.get(preset.id)) is not None and record.fingerprint == fingerprint_
    }
    left = tuple(preset.id for preset in presets if preset.id not in counted)
    if not left:
        if list(counted.items()) != list(records.items()):
            _write_index(batch_dir, counted)
        for record in counted.values():
            if isinstance(record, FailedRecord):
                remove_frames(batch_dir, id_hash(record.preset_id))
        _remove_frames_of_others(batch_dir, {id_hash(preset.id) for preset in presets})
    failed = [record for record in counted.values() if isinstance(record, FailedRecord)]
    ok = [record for record in counted.values() if isinstance(record, OkRecord)]
    return FinishedIndex(
        total=len(presets),
        ok=len(ok),
        failed=len(failed),
        left=left,
        failure_reasons=dict(Counter(reason for record in failed for reason in record.reasons).most_common()),
        warnings=dict(Counter(text for record in ok for text in record.warnings or ()).most_common()),
    )


def _write_index(batch_dir: BatchDir, records: Mapping[str, Record]) -> None:
    try:
        write_records(batch_dir.frames_index, records.values())
    except OSError as error:
        raise storage_error(error, batch_dir.frames_index) from None


def _remove_frames_of_others(batch_dir: BatchDir, hashes: set[str]) -> None:
    """Remove the frame folders of presets that are not among `hashes`; what cannot be removed stays, harmless."""
    for first in _subfolders(batch_dir.frames_dir, _TWO_DIGITS):
        for second in _subfolders(first, _TWO_DIGITS):
            for folder in _subfolders(second, _ID_HASH):
                # Only what lies where this batch puts frames: anything else in the folder is not ours to remove.
                if folder.name in hashes or batch_dir.frame_folder(folder.name) != folder:
                    continue
                with contextlib.suppress(UserError, OSError):
                    remove_frames(batch_dir, folder.name)
                    second.rmdir()  # refused while it holds others
                    first.rmdir()


def _subfolders(folder: Path, name: re.Pattern[str]) -> list[Path]:
    """Return the folders in `folder` (no links) whose names match; none when it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return [
                Path(entry.path)
                for entry in entries
                if name.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
            ]
    except OSError:
        return []
