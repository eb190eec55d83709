"""Before a batch spends a night: what can be known in seconds, put together from the rooms' findings."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from aivj_assets.contracts.findings import Finding
from aivj_assets.contracts.frames_index import OkRecord, read_records
from aivj_assets.contracts.manifest import ManifestPreset
from aivj_assets.contracts.render_parameters import RenderParameters, fingerprint, pixel_parameters
from aivj_assets.embed.cache import cache_limit_bytes
from aivj_assets.embed.choose import EmbedderChoice
from aivj_assets.embed.preflight import DIM_FIGURE, MODEL_FINDING, look_at_model
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir, BatchKey, DataRoot
from aivj_assets.orchestration.guard import materialization_record
from aivj_assets.orchestration.pictures import markdown_table
from aivj_assets.render.environment import BrowserReport, RenderEnvironment
from aivj_assets.render.preflight import BROWSER, BrowserLook, look_at_browser
from aivj_assets.render.preflight_places import (
    DISK,
    Need,
    Record,
    clock_finding,
    disk_finding,
    frames_bytes,
    newest_time,
    write_findings,
)

OK, WARNING, FAILED = "ok", "warning", "failed"

_INDEX = "index"
# EfficientNet-Lite0's vectors; OpenCLIP's are shorter.
_LONGEST_VECTOR = 1664
_EMBEDDED_FRAMES = 3
# History, logs and contact sheets of a run, and a share of a shard's events.
_DAGSTER_BYTES, _DAGSTER_BYTES_PER_PRESET = 5_000_000, 1000


@dataclass(frozen=True)
class Preflight:
    """What was found, in how many seconds; `report` is the browser's where it showed a page."""

    batch: BatchKey
    findings: Sequence[Finding]
    report: BrowserReport | None
    duration_s: float

    def require(self) -> BrowserReport:
        """Return the browser's report; raises one `UserError` that lists every finding that stops the batch."""
        failed = [each for each in self.findings if verdict(each) == FAILED]
        if failed or self.report is None:
            listed = "; ".join(f"{each.name}: {each.detail.rstrip('.')}" for each in failed)
            raise UserError(f"Batch {self.batch} was not started and nothing was changed. {listed}.")
        return self.report

    def tell(self, log: dg.DagsterLogManager) -> None:
        """Tell the run's log all that was found, and one line for each warning."""
        log.info(f"Preflight, in {self.duration_s:.1f} s:\n{findings_table(self.findings)}")
        for each in self.findings:
            if verdict(each) == WARNING:
                log.warning(f"{each.name}: {each.detail}")

    def facts(self) -> dict[str, Any]:
        """Return what the job hands on to the materialisation's metadata."""
        return {"table": findings_table(self.findings), "duration_s": round(self.duration_s, 3)}


def preflight_metadata(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of `frames` from `Preflight.facts`."""
    took = f"\n\nin {facts['duration_s']:.1f} s"
    return {"preflight": dg.MetadataValue.md(facts["table"] + took)}


def verdict(finding: Finding) -> str:
    """Return `ok`, `warning` or `failed`."""
    if finding.passed:
        return OK
    return WARNING if finding.severity == "warning" else FAILED


def findings_table(findings: Sequence[Finding]) -> str:
    """Return findings as a Markdown table."""
    return markdown_table(("looked at", "", "found"), [(each.name, verdict(each), each.detail) for each in findings])


def look_before_rendering(
    instance: dg.DagsterInstance,
    root: DataRoot,
    batch: BatchKey,
    presets: Sequence[ManifestPreset],
    parameters: RenderParameters,
    *,
    environment: Callable[[], RenderEnvironment],
    choose: Callable[[], EmbedderChoice],
    device: str | None,
    precision: str,
) -> Preflight:
    """Look at folders, clock, model, browser, page and room for what is left to render; nothing of the batch changes.

    `environment` and `choose` may raise `UserError`: it becomes a failed finding, as all else that a user can cause.
    """
    started = time.monotonic()
    folder = root.batch(batch)
    findings = write_findings(written_places(root, folder))
    records = _records(folder, findings)
    findings.append(clock_of_batch(instance, batch, records, resume=parameters.resume))
    model = model_of_run(root.checked_weights, choose, device=device, precision=precision)
    try:
        look = look_at_browser(environment(), parameters)
    except UserError as error:
        look = BrowserLook([Finding(BROWSER, passed=False, detail=str(error))], None)
    findings += [model, *look.findings]
    if look.report is not None:
        digest = fingerprint(pixel_parameters(parameters, look.report.page))
        storage = Path(instance.root_directory)
        # A cache limit that is none stands with the model already.
        with suppress(UserError):
            needs = needs_of_batch(
                root,
                folder,
                presets,
                records,
                parameters=parameters,
                digest=digest,
                storage=storage,
                dim=_dim(model),
            )
            findings.append(room(needs))
    return Preflight(batch, findings, look.report, time.monotonic() - started)


def written_places(root: DataRoot, folder: BatchDir | None = None) -> list[Path]:
    """Return the folders that a run writes: a batch's own first, which another user may have made in part."""
    own = [] if folder is None else [folder.path, folder.frames_dir, folder.shard_logs_dir]
    return [*own, *([root.artifacts_dir] if folder is None else []), root.dagster_home, root.own_dir]


def model_of_run(
    known: Path | None, choose: Callable[[], EmbedderChoice], *, device: str | None, precision: str
) -> Finding:
    """Return the finding on the model that a run takes; `known` is where it is noted that weights were loaded."""
    try:
        choice = choose()
    except UserError as error:
        return Finding(MODEL_FINDING, passed=False, detail=str(error))
    return look_at_model(choice, os.environ, device=device, precision=precision, known=known)


def _dim(model: Finding) -> int:
    return int(model.figures.get(DIM_FIGURE, 0)) or _LONGEST_VECTOR


def _records(folder: BatchDir, findings: list[Finding]) -> dict[str, Record]:
    """Return what index and shard logs hold, without touching them; one that cannot be read is a finding."""
    records: dict[str, Record] = {}
    logs = sorted(folder.shard_logs_dir.glob("*.jsonl")) if folder.shard_logs_dir.is_dir() else []
    try:
        for path in (folder.frames_index, *logs):
            records.update(read_records(path))
    except UserError as error:
        findings.append(Finding(_INDEX, passed=False, detail=str(error)))
    return records


def clock_of_batch(
    instance: dg.DagsterInstance, batch: BatchKey, records: Mapping[str, Record], *, resume: bool
) -> Finding:
    """Return the finding on the clock, held against the batch's records and its latest materialisation."""
    stored = materialization_record(instance, "frames", batch.key)
    known = {
        "the newest record of the batch": newest_time(record.at for record in records.values()),
        "the batch's last materialisation": None if stored is None else datetime.fromtimestamp(stored.at_epoch_s, UTC),
    }
    return clock_finding(datetime.now(UTC), known, resume=resume)


def needs_of_batch(
    root: DataRoot,
    folder: BatchDir,
    presets: Sequence[ManifestPreset],
    records: Mapping[str, Record],
    *,
    parameters: RenderParameters,
    digest: str,
    storage: Path,
    dim: int = _LONGEST_VECTOR,
) -> list[Need]:
    """Return what a run of the batch will store and where; nothing when every preset has a record of the fingerprint.

    It is an estimate by records alone: whether their files still are as they were is found when shards are planned.
    """

    def is_kept(record: Record | None) -> bool:
        return parameters.resume and record is not None and record.fingerprint == digest

    left = [preset for preset in presets if not is_kept(records.get(preset.id))]
    if not left:
        return []
    found = [records.get(preset.id) for preset in left]
    replaced = [record for record in found if isinstance(record, OkRecord)]
    vector_bytes = 4 * dim
    frames = min(parameters.capture_count, _EMBEDDED_FRAMES) * len(left)
    cached = min(frames * vector_bytes, int(cache_limit_bytes(os.environ)))
    return [
        Need("frames", folder.path, frames_bytes(folder, len(left), replaced, parameters)),
        # Written beside those of an earlier run, which then give way.
        Need("embeddings", folder.path, len(presets) * vector_bytes),
        Need("vectors kept by content", root.own_dir, cached),
        Need("Dagster's history", storage, _DAGSTER_BYTES + _DAGSTER_BYTES_PER_PRESET * len(left)),
    ]


def room(needs: Sequence[Need]) -> Finding:
    """Return the finding on the disk, also where a folder cannot be looked up."""
    try:
        return disk_finding(needs)
    except OSError as error:
        where = error.filename or "a disk"
        return Finding(DISK, passed=False, detail=f"{where} cannot be looked up ({error.strerror or error})")
