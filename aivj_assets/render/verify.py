"""Rendering a random sample of a finished batch again and comparing it with what is stored; the batch is only read."""

from __future__ import annotations

import io
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError
from pydantic import Field

from aivj_assets.contracts.base import ContractModel
from aivj_assets.contracts.frames_index import TRANSIENT_REASONS, FailedRecord, OkRecord, read_records
from aivj_assets.contracts.frames_meta import FramesMeta
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.preset_file import PresetText, read_manifest_preset
from aivj_assets.contracts.render_parameters import RenderParameters, fingerprint, pixel_parameters
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir, BatchKey, DataRoot
from aivj_assets.render.environment import RenderEnvironment
from aivj_assets.render.parallel import run_in_processes, stop_reason
from aivj_assets.render.probe import describe_renderer
from aivj_assets.render.resume import absorb_shard_logs, plan_shards
from aivj_assets.render.shard import render_shard
from aivj_assets.render.shard_plan import ShardOutcome, ShardPlan, ShardPreset

Record = OkRecord | FailedRecord
Kind = Literal["frames", "status", "reasons", "metrics", "preset-changed"]

# Figures are stored with six digits: two sums in another order may end on another last one.
_FIGURE_TOLERANCE = 2e-6


class Difference(ContractModel):
    """What is not as stored, for one preset."""

    preset_id: str
    kind: Kind
    text: str
    """One line for a person, without the preset's id."""
    frames: list[str] = Field(default_factory=list)
    """Names of the frames that differ."""
    mean_difference_steps: float | None = None
    """Mean absolute difference over the frames that differ, in steps of 8 bits (0..255); None where one is missing."""


class VerifyReport(ContractModel):
    """The outcome of `verify_batch`."""

    batch: str
    fingerprint: str
    seed: int
    """The same seed draws the same presets from an unchanged batch."""
    comparable: int
    """Presets with a record of this fingerprint, from which the sample was drawn."""
    presets: int
    """Presets of the manifest."""
    checked: list[str]
    """Ids of the sample, in the manifest's order."""
    differences: list[Difference]
    duration_s: float

    @property
    def equal(self) -> bool:
        """True when everything that was checked is as stored."""
        return not self.differences

    def lines(self) -> list[str]:
        """Return the report for a person: a line a difference, then the summary."""
        lines = [f"{difference.preset_id}: {difference.text}" for difference in self.differences]
        kinds = Counter(difference.kind for difference in self.differences)
        same = len(self.checked) - len(self.differences)
        counts = "".join(f", {kind} {count}" for kind, count in kinds.most_common())
        lines.append(
            f"Batch {self.batch}: {same} of {len(self.checked)} presets are as stored{counts} "
            f"({self.duration_s:.0f} s, seed {self.seed})."
        )
        if left := self.presets - self.comparable:
            lines.append(f"{left} of {self.presets} presets have no record of this rendering: run the batch.")
        return lines


@dataclass(frozen=True)
class _Stored:
    """What a batch says of itself."""

    meta: FramesMeta
    parameters: RenderParameters
    presets: int
    records: dict[str, Record]
    """Records of the meta's fingerprint, in manifest order."""


def verify_batch(
    root: DataRoot,
    batch: BatchKey,
    environment: RenderEnvironment,
    *,
    sample: int = 50,
    seed: int | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> VerifyReport:
    """Render up to `sample` random presets of a batch again, with its own parameters, and compare.

    Frames are compared byte for byte, and status, reasons of failures and figures. Everything is rendered into a
    temporary folder by `workers` processes; the batch may be in use. `progress` hears (presets done, of how many).

    Raises `UserError` when there is nothing to compare with (not rendered, being rendered anew) or nothing is
    comparable, because engine, page or renderer of this machine are not those of the batch.
    """
    started_s = time.monotonic()
    stored = _read_stored(root, batch)
    page = describe_renderer(environment, stored.parameters).page
    _require_same_pixels(batch, stored.meta, pixel_parameters(stored.parameters, page))
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    chosen = set(random.Random(seed).sample(sorted(stored.records), min(sample, len(stored.records))))
    records = {key: record for key, record in stored.records.items() if key in chosen}
    differences = {key: found for key, record in records.items() if (found := _changed_preset(root, record))}
    todo = [
        ShardPreset(preset_id=key, rel_path=record.rel_path)
        for key, record in records.items()
        if key not in differences
    ]
    with tempfile.TemporaryDirectory(prefix="aivj-verify-", ignore_cleanup_errors=True) as folder:
        fresh_dir = BatchDir(Path(folder) / "batch")
        shards = plan_shards(
            todo,
            batch_key=batch.key,
            data_root=root.path,
            artifact_dir=fresh_dir.path,
            parameters=stored.parameters,
            fingerprint_=stored.meta.fingerprint,
            page=page,
            parallel=workers,
        )
        fresh = _render(shards, environment, workers, fresh_dir, progress or (lambda _done, _total: None))
        for key in (preset.preset_id for preset in todo):
            found = compare(records[key], fresh[key], root.batch(batch), fresh_dir)
            if found is not None:
                differences[key] = found
    return VerifyReport(
        batch=batch.key,
        fingerprint=stored.meta.fingerprint,
        seed=seed,
        comparable=len(stored.records),
        presets=stored.presets,
        checked=list(records),
        differences=[differences[key] for key in records if key in differences],
        duration_s=round(time.monotonic() - started_s, 3),
    )


def _read_stored(root: DataRoot, batch: BatchKey) -> _Stored:
    folder = root.batch(batch)
    presets = Manifest.load(root.manifest(batch)).presets
    if not folder.frames_meta.exists():
        raise UserError(
            f"Batch {batch} has not been rendered to its end: there is nothing to compare. aivj run {batch}"
        )
    meta = FramesMeta.load(folder.frames_meta)
    found = read_records(folder.frames_index)
    records = {
        preset.id: record
        for preset in presets
        if (record := found.get(preset.id)) is not None and record.fingerprint == meta.fingerprint
    }
    if not records:
        raise UserError(
            f"Batch {batch}: its index holds no record of the rendering that frames.meta.json tells of; run the batch "
            "to its end (a rendering with other parameters may be under way), then verify it."
        )
    return _Stored(meta, recorded_parameters(meta), len(presets), records)


def recorded_parameters(meta: FramesMeta) -> RenderParameters:
    """Return the parameters with which a batch was rendered, without those that would end this rendering early."""
    told = {**meta.pixel_parameters, **meta.operational_parameters}
    aliases = {info.alias or name for name, info in RenderParameters.model_fields.items()}
    ours = {"manifest": None, "outDir": None, "stopAfterSec": 0, "requireGpu": False}
    try:
        return RenderParameters.model_validate({name: told[name] for name in aliases & told.keys()} | ours)
    except ValueError as error:
        raise UserError(
            f"Batch {meta.batch}: the parameters in frames.meta.json are not valid ({str(error).splitlines()[0]}); "
            "render the batch again."
        ) from None


def _require_same_pixels(batch: BatchKey, meta: FramesMeta, ours: Mapping[str, Any]) -> None:
    differing = differing_fields(meta.pixel_parameters, ours)
    if differing:
        raise UserError(
            f"Batch {batch} cannot be compared on this machine: {'; '.join(differing)}. Verify it where it was "
            f"rendered, or render it anew here: aivj run {batch}"
        )
    if fingerprint(dict(ours)) != meta.fingerprint:
        raise UserError(
            f"Batch {batch}: the fingerprint in frames.meta.json does not belong to its pixelParameters: one of them "
            f"was changed by hand. Render the batch anew: aivj run {batch}"
        )


def differing_fields(stored: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """Return a phrase for each pixel parameter that differs, e.g. `renderer 'A' there, 'B' here`.

    Values that are objects (versions of converters) are compared field by field.
    """
    phrases: list[str] = []
    for name in sorted(stored.keys() | ours.keys()):
        there, here = stored.get(name), ours.get(name)
        if there == here:
            continue
        if isinstance(there, Mapping) and isinstance(here, Mapping):
            phrases += [f"{name}.{phrase}" for phrase in differing_fields(there, here)]
        else:
            phrases.append(f"{name} {_told(there)} there, {_told(here)} here")
    return phrases


def _told(value: Any) -> str:
    return "not told" if value is None else repr(value)


def _changed_preset(root: DataRoot, record: Record) -> Difference | None:
    """Return a difference when a preset's file is not the one that was rendered."""
    preset = read_manifest_preset(root, record.rel_path)
    now = preset.sha256 if isinstance(preset, PresetText) else None
    if now == record.preset_sha256:
        return None
    if isinstance(preset, PresetText):
        then = f"sha256 {record.preset_sha256[:12]}…" if record.preset_sha256 else "could not be read"
        text = f"the preset file has changed since ({then} then, {preset.sha256[:12]}… now)"
    else:
        text = f"the preset file can no longer be read: {preset.reason} ({preset.detail})"
    return Difference(preset_id=record.preset_id, kind="preset-changed", text=text)


def _render(
    shards: Sequence[ShardPlan],
    environment: RenderEnvironment,
    workers: int,
    fresh_dir: BatchDir,
    progress: Callable[[int, int], None],
) -> dict[str, Record]:
    total = sum(len(shard.presets) for shard in shards)

    def tick(_pids: Sequence[int]) -> None:
        progress(fresh_dir.logged_records(), total)

    progress(0, total)
    run_in_processes(partial(_render_one_shard, environment=environment), shards, workers=workers, tick=tick)
    records = absorb_shard_logs(fresh_dir)
    progress(len(records), total)
    return records


def _render_one_shard(shard: ShardPlan, *, environment: RenderEnvironment) -> ShardOutcome:
    return render_shard(shard, environment=environment, should_stop=stop_reason, say=lambda _line: None)


def compare(stored: Record, fresh: Record, stored_dir: BatchDir, fresh_dir: BatchDir) -> Difference | None:
    """Return what differs between a stored record with its frames and a fresh one, or None."""
    if isinstance(stored, OkRecord) and isinstance(fresh, OkRecord):
        return _compare_frames(stored, fresh, stored_dir, fresh_dir) or _compare_figures(stored, fresh)
    told, now = _outcome(stored), _outcome(fresh)
    if stored.status != fresh.status:
        text = f"{told} as stored, {now} now"
        if any(not TRANSIENT_REASONS.isdisjoint(record.reasons) for record in _failed(stored, fresh)):
            text += " (a failure of this kind may come from a busy machine)"
        return Difference(preset_id=stored.preset_id, kind="status", text=text)
    if told != now:
        return Difference(preset_id=stored.preset_id, kind="reasons", text=f"{told} as stored, {now} now")
    return None


def _failed(*records: Record) -> list[FailedRecord]:
    return [record for record in records if isinstance(record, FailedRecord)]


def _outcome(record: Record) -> str:
    return "ok" if isinstance(record, OkRecord) else f"failed with {', '.join(record.reasons)}"


def _compare_frames(stored: OkRecord, fresh: OkRecord, stored_dir: BatchDir, fresh_dir: BatchDir) -> Difference | None:
    names: list[str] = []
    steps: list[float | None] = []
    phrases: list[str] = []
    for old, new in zip_longest(stored.frames, fresh.frames):
        name = Path(old or new).name
        before, after = _read(stored_dir, old), _read(fresh_dir, new)
        if before is not None and before == after:
            continue
        difference = mean_difference_steps(before, after)
        names.append(name)
        steps.append(difference)
        what = "missing as stored" if before is None else "missing now" if after is None else "no readable picture"
        phrases.append(f"{name} {what if difference is None else f'differs by {difference:.3f} of 255'}")
    if not names:
        return None
    measured = [value for value in steps if value is not None]
    return Difference(
        preset_id=stored.preset_id,
        kind="frames",
        text=", ".join(phrases),
        frames=names,
        mean_difference_steps=round(sum(measured) / len(measured), 6) if len(measured) == len(steps) else None,
    )


def _read(folder: BatchDir, frame: str | None) -> bytes | None:
    if frame is None:
        return None
    try:
        return (folder.path / frame).read_bytes()
    except OSError:
        return None


def mean_difference_steps(before: bytes | None, after: bytes | None) -> float | None:
    """Return the mean absolute difference of two encoded pictures over all pixels and RGB channels, in 0..255.

    0.0 where two files differ whose pictures do not; None where one is missing, no picture, or of another size.
    """
    if before is None or after is None:
        return None
    try:
        pictures = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=np.int16) for data in (before, after)]
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    if pictures[0].shape != pictures[1].shape:
        return None
    return float(np.abs(pictures[0] - pictures[1]).mean())


def _compare_figures(stored: OkRecord, fresh: OkRecord) -> Difference | None:
    """Return a difference of figures under equal frames: `motion` also rests on a picture that is not stored."""
    pairs = (
        ("avgLuma", stored.metrics.avg_luma, fresh.metrics.avg_luma),
        ("motion", stored.metrics.motion, fresh.metrics.motion),
    )
    told = [f"{name} {old:g} as stored, {new:g} now" for name, old, new in pairs if abs(old - new) > _FIGURE_TOLERANCE]
    if not told:
        return None
    return Difference(preset_id=stored.preset_id, kind="metrics", text=f"same frames, but {'; '.join(told)}")
