"""`aivj bench library`: what of a whole library renders, what does not and why."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aivj_assets.contracts.base import utc_now
from aivj_assets.contracts.frames_index import FailedRecord, OkRecord, read_records
from aivj_assets.contracts.import_report import LeftOut
from aivj_assets.contracts.manifest import Manifest, ManifestPreset
from aivj_assets.contracts.preset_file import PresetText, normalise_preset, read_manifest_preset
from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.render.bench.batch import all_parameters, describe_machine
from aivj_assets.render.bench.choose import has_pixel_shaders
from aivj_assets.render.bench.results import FailedPreset, LibraryBench, LibraryCounts, distribution
from aivj_assets.render.bench.workers import Progress, ShardResult, ShardWorkers
from aivj_assets.render.environment import BrowserReport, RenderEnvironment
from aivj_assets.render.probe import describe_renderer
from aivj_assets.render.resume import RenderPlan, finish_index, plan_rendering

FAST = {"warmup_frames": 2, "capture_every": 2, "capture_count": 1}
"""Parameters for a look at what loads and compiles: four frames a preset."""


@dataclass(frozen=True)
class LibraryPart:
    """An imported folder of presets."""

    batch: BatchKey
    source: str
    left_out: Sequence[LeftOut] = field(default=())
    """Files that the import refused and that count as failed."""


def bench_library(
    root: DataRoot,
    parts: Sequence[LibraryPart],
    *,
    environment: RenderEnvironment,
    parameters: RenderParameters,
    workers: int,
    progress: Progress | None = None,
) -> LibraryBench:
    """Render what of the imported parts is not rendered yet, and return the report over all of it.

    What is rendered lies under `root` and counts in a later call with the same parameters. Ctrl-C ends it early; the
    report is then over what has a record. Raises `UserError` when a browser does not start or the disk is full.
    """
    run = _LibraryRun(root, parts, parameters, describe_renderer(environment, parameters))
    started_s = time.monotonic()
    interrupted = False
    plans = [run.plan(part, workers) for part in parts]
    kept = sum(len(plan.kept) for plan in plans)
    try:
        with ShardWorkers(environment, workers) as pool:
            pool.run(
                [shard for plan in plans for shard in plan.shards],
                on_result=run.take,
                progress=progress and (lambda done, failed: progress(kept + done, failed)),
            )
    except KeyboardInterrupt:
        interrupted = True
    wall_s = time.monotonic() - started_s
    for part, plan in zip(parts, plans, strict=True):
        finish_index(root.batch(part.batch), run.manifest(part), plan.fingerprint)
    return run.results(interrupted=interrupted, wall_s=wall_s)


def ok_pictures(root: DataRoot, parts: Sequence[LibraryPart], count: int, seed: int) -> list[tuple[str, str]]:
    """Return (picture relative to the data root, label) of a random sample of the presets that render."""
    found = []
    for part in parts:
        folder = root.batch(part.batch)
        for record in read_records(folder.frames_index).values():
            if isinstance(record, OkRecord):
                picture = (folder.path / record.frames[-1]).relative_to(root.path).as_posix()
                found.append((picture, Path(record.rel_path).stem))
    found.sort()
    return random.Random(seed).sample(found, min(count, len(found)))


@dataclass
class _Tally:
    """Counts over records."""

    ok: Counter[bool] = field(default_factory=Counter)
    """Presets that render, by whether they have pixel shaders."""
    failures: list[FailedPreset] = field(default_factory=list)
    flags: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)

    def add_ok(self, record: OkRecord, *, shaders: bool) -> None:
        self.ok[shaders] += 1
        self.flags.update(getattr(record.metrics, "flags", None) or ())
        self.warnings.update({warning.partition(":")[0] for warning in record.warnings or ()})

    def counts(self, total: int, *, shaders_only: bool) -> LibraryCounts:
        failed = sum(failure.pixel_shaders or not shaders_only for failure in self.failures)
        ok = self.ok[True] if shaders_only else self.ok.total()
        return LibraryCounts(presets=total, ok=ok, failed=failed)


class _LibraryRun:
    def __init__(
        self, root: DataRoot, parts: Sequence[LibraryPart], parameters: RenderParameters, report: BrowserReport
    ) -> None:
        self._root = root
        self._parts = parts
        self._parameters = parameters
        self._report = report
        self._rendered = 0
        # Timings are no part of a record: they are kept beside, for the report of a run that goes on.
        self._timings_file = root.path / "convert-ms.jsonl"

    def manifest(self, part: LibraryPart) -> list[ManifestPreset]:
        """Return a part's presets."""
        return Manifest.load(self._root.manifest(part.batch)).presets

    def plan(self, part: LibraryPart, workers: int) -> RenderPlan:
        """Cut what is left of a part into shards."""
        return plan_rendering(
            self.manifest(part),
            root=self._root,
            batch=part.batch,
            batch_dir=self._root.batch(part.batch),
            parameters=self._parameters,
            page=self._report.page,
            parallel=workers,
        )

    def take(self, result: ShardResult) -> None:
        """Count a shard's presets and keep what their conversion took."""
        self._rendered += len(result.statuses)
        lines = [
            json.dumps({"id": preset_id, "ms": timings["convert"]}) + "\n"
            for preset_id, timings in result.timings_ms.items()
            if "convert" in timings
        ]
        with self._timings_file.open("a", encoding="utf-8", newline="\n") as file:
            file.writelines(lines)

    def results(self, *, interrupted: bool, wall_s: float) -> LibraryBench:
        """Return the report over all records."""
        tally = _Tally()
        total: Counter[bool] = Counter()
        ids = set()
        for part in self._parts:
            records = read_records(self._root.batch(part.batch).frames_index)
            for preset in self.manifest(part):
                ids.add(preset.id)
                shaders = self._has_shaders(preset)
                total[shaders] += 1
                record = records.get(preset.id)
                if isinstance(record, OkRecord):
                    tally.add_ok(record, shaders=shaders)
                elif record is not None:
                    tally.failures.append(_failure(record, shaders=shaders))
            refused = [_refusal(part, left) for left in part.left_out]
            tally.failures += refused
            total.update(failure.pixel_shaders for failure in refused)
        convert_ms = {preset_id: ms for preset_id, ms in self._convert_ms() if preset_id in ids}
        return LibraryBench(
            generated_at=utc_now(),
            interrupted=interrupted,
            machine=describe_machine(self._report),
            parameters=all_parameters(self._parameters, self._report),
            sources=[part.source for part in self._parts],
            all=tally.counts(total.total(), shaders_only=False),
            with_pixel_shaders=tally.counts(total[True], shaders_only=True),
            failure_reasons=dict(Counter(failure.reason for failure in tally.failures).most_common()),
            failures=tally.failures,
            flags=dict(tally.flags.most_common()),
            warnings=dict(tally.warnings.most_common()),
            convert_ms=distribution(list(convert_ms.values())),
            rendered=self._rendered,
            wall_s=wall_s,
        )

    def _has_shaders(self, preset: ManifestPreset) -> bool:
        read = read_manifest_preset(self._root, preset.rel_path)
        return isinstance(read, PresetText) and has_pixel_shaders(read.text, Path(preset.rel_path).suffix)

    def _convert_ms(self) -> Iterator[tuple[str, float]]:
        """Yield (preset id, ms) in the order of rendering; a line torn by a crash is passed over."""
        if not self._timings_file.exists():
            return
        for line in self._timings_file.read_text(encoding="utf-8").splitlines():
            try:
                told = json.loads(line)
                yield str(told["id"]), float(told["ms"])
            except (ValueError, KeyError, TypeError):
                continue


def _failure(record: FailedRecord, *, shaders: bool) -> FailedPreset:
    return FailedPreset(
        id=record.preset_id,
        rel_path=record.rel_path,
        reason=record.reasons[0],
        error_text=record.error_text or "",
        pixel_shaders=shaders,
    )


def _refusal(part: LibraryPart, left: LeftOut) -> FailedPreset:
    try:
        text = normalise_preset(Path(part.source, left.rel_path).read_bytes())
    except OSError:
        text = ""
    shaders = has_pixel_shaders(text, Path(left.rel_path).suffix)
    return FailedPreset(
        id="", rel_path=left.rel_path, reason=left.reason, error_text=left.detail, pixel_shaders=shaders
    )
