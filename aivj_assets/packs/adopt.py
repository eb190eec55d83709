"""Looking through a folder that an earlier tool made for a pack: everything that can be wrong, before anything is done.

The folder holds `frames-index.jsonl` with the frames it names, `embeddings.npy` with `ids.txt`, `clusters.v0.json`, and
where the tool wrote them `embeddings.meta.json`, `frames.meta.json` and `centroids.npy`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aivj_assets.contracts.adoption import AdoptedClusters, cluster_number
from aivj_assets.contracts.frames_index import FailedRecord, OkRecord, count_flags, encode_record
from aivj_assets.contracts.frames_meta import FramesMeta
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.presets_report import PresetsReport
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir, BatchKey, DataRoot, sha256_file
from aivj_assets.packs.adopt_frames import (
    FrameCopy,
    Record,
    adopted_records,
    check_contents,
    check_fingerprints,
    check_members,
    find_frames,
    read_index,
)
from aivj_assets.packs.adopt_rows import (
    AdoptedRows,
    check_centroids,
    check_ids,
    embeddings_meta,
    read_clusters,
    read_ids,
    read_meta,
    read_rows,
    reasons_in,
    settle_card,
)
from aivj_assets.packs.validate import validate_batch

Tell = Callable[[str, int, int], None]
"""Called with (what is done, how many, of how many)."""


@dataclass(frozen=True)
class AdoptedFolder:
    """A folder that may be adopted, brought to the contract in memory: nothing is written yet.

    `records` are the index as the batch gets it; `numbers` the cluster number of each row; `source_sha256` the
    digests of the folder's files by name.
    """

    folder: Path
    manifest: Manifest
    report: PresetsReport
    records: dict[str, Record]
    copies: list[FrameCopy]
    fingerprint: str
    rows: AdoptedRows
    clusters: AdoptedClusters
    numbers: list[int]
    frames_meta: FramesMeta
    source_sha256: dict[str, str]
    notes: list[str]

    @property
    def remarks(self) -> list[str]:
        """What a person should know."""
        why = self.rows.no_model
        if not why:
            return self.notes
        return [
            *self.notes,
            f"{why}: batches of a model will be refused beside these rows until it is named by --embedder or --card",
        ]

    @property
    def index_bytes(self) -> bytes:
        """The batch's `frames-index.jsonl`."""
        return b"".join(encode_record(record) for record in self.records.values())


@dataclass
class _Looking:
    """One look through a folder; problems of parts that do not hang on each other are gathered."""

    root: DataRoot
    batch: BatchKey
    source: BatchDir
    card: Path | None
    tell: Tell
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @contextmanager
    def gathering(self) -> Iterator[None]:
        try:
            yield
        except UserError as error:
            self.problems.append(str(error))

    def stop_for_problems(self) -> None:
        if self.problems:
            raise UserError("\n".join(self.problems))

    def progress(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self.tell(what, done, total)


def look_through(root: DataRoot, batch: BatchKey, folder: Path, card: Path | None, tell: Tell) -> AdoptedFolder:
    """Check everything in the folder against the batch's manifest and preset files; nothing is written.

    `card` is a file with the model card of the rows, where the folder does not tell it. Raises `UserError` with one
    line for each problem, naming the file and what to do.
    """
    look = _Looking(root, batch, BatchDir(folder), card, tell)
    source, path = look.source, root.manifest(batch)
    _require_files(source)
    manifest, report = validate_batch(root, batch, progress=look.progress("Reading presets"))
    records = read_index(source.frames_index, look.notes)
    # Of presets that are not the pack's nothing else would be right either.
    check_members(source.frames_index, records, manifest.presets, path)
    with look.gathering():
        check_contents(source.frames_index, records, report)
    rows = clusters = None
    with look.gathering():
        rows = _rows(look, records)
    if rows is not None:
        with look.gathering():
            clusters = read_clusters(source, rows.preset_ids, look.notes)
            check_centroids(source, clusters, rows.preset_ids, rows.vectors, look.notes)
    copies: list[FrameCopy] = []
    carried: str | None = None
    with look.gathering():
        carried = check_fingerprints(source.frames_index, records)
    with look.gathering():
        copies = find_frames(folder, source.frames_index, records, look.progress("Checking frames"))
    look.stop_for_problems()
    if rows is None or clusters is None:
        raise UserError(f"{folder} cannot be adopted.")
    return _brought_together(look, _Frames(manifest, report, records, copies, carried), rows, clusters)


@dataclass(frozen=True)
class _Frames:
    """The index as it was found, with its frames and the fingerprint that its lines carry, if they do."""

    manifest: Manifest
    report: PresetsReport
    records: dict[str, Record]
    copies: list[FrameCopy]
    carried: str | None


def _require_files(source: BatchDir) -> None:
    if not source.path.is_dir():
        raise UserError(f"--from {source.path}: there is no such folder.")
    needed = (source.frames_index, source.embeddings, source.embedding_ids, source.clusters)
    missing = [path.name for path in needed if not path.is_file()]
    if missing:
        raise UserError(
            f"--from {source.path} lacks {', '.join(missing)}: name the folder that holds frames-index.jsonl, "
            "embeddings.npy, ids.txt and clusters.v0.json."
        )


def _rows(look: _Looking, records: Mapping[str, Record]) -> AdoptedRows:
    """Return the rows with their card; the index that they are said to be of is filled in later."""
    source = look.source
    content = read_meta(source.embeddings_meta)
    ids = read_ids(source.embedding_ids)
    check_ids(source.embedding_ids, ids, records, reasons_in(content))
    vectors = read_rows(source.embeddings, source.embedding_ids, ids, look.notes)
    most = max((len(record.frames) for record in records.values() if isinstance(record, OkRecord)), default=1)
    card, no_model = settle_card(source, content, vectors, declared=look.card, frames=most)
    meta = embeddings_meta(content, card, ids, records, note=f"adopted from {source.path.name}")
    return AdoptedRows(vectors, ids, meta, no_model)


def _brought_together(look: _Looking, frames: _Frames, rows: AdoptedRows, clusters: AdoptedClusters) -> AdoptedFolder:
    source = look.source
    digests = {
        path.name: sha256_file(path)
        for path in (source.frames_index, source.embeddings, source.embedding_ids, source.clusters)
    }
    manifest, copies = frames.manifest, frames.copies
    fingerprint = frames.carried or f"adopted-{digests[source.frames_index.name][:16]}"
    made = adopted_records(manifest.presets, frames.records, copies, frames.report, fingerprint)
    index = b"".join(encode_record(record) for record in made.values())
    index_sha256 = hashlib.sha256(index).hexdigest()
    meta = rows.meta.model_copy(update={"frames_index_sha256": index_sha256})
    without_line = len(manifest.presets) - len(frames.records)
    if without_line:
        look.notes.append(f"{without_line} presets of the manifest have no line in the index: they count as failed")
    without_file = sum(isinstance(one, OkRecord) and one.preset_sha256 is None for one in made.values())
    if without_file:
        look.notes.append(
            f"{without_file} ok presets have no file under public/presets that can be read: another pack will not "
            "know them again"
        )
    return AdoptedFolder(
        folder=source.path, manifest=manifest, report=frames.report, records=made, copies=copies,
        fingerprint=fingerprint,
        rows=replace(rows, meta=meta), clusters=clusters,
        numbers=[cluster_number(clusters.assignments[name]) or 0 for name in rows.preset_ids],
        frames_meta=_frames_meta(look, frames, made, fingerprint, index_sha256),
        source_sha256=digests, notes=look.notes,
    )  # fmt: skip


def _frames_meta(
    look: _Looking, frames: _Frames, records: Mapping[str, Record], fingerprint: str, index_sha256: str
) -> FramesMeta:
    """Return the batch's `frames.meta.json`: the folder's where it is of this index, else what can be seen."""
    ok = [record for record in records.values() if isinstance(record, OkRecord)]
    failed = [record for record in records.values() if isinstance(record, FailedRecord)]
    told = _told_meta(look, fingerprint)
    suffix = frames.copies[0].target.rpartition(".")[2]
    seen: dict[str, Any] = {
        "format": "jpeg" if suffix == "jpg" else suffix,
        "captureCount": max(len(record.frames) for record in ok),
    }
    return FramesMeta.model_validate(
        {
            **(told.to_json() if told is not None else {}),
            "version": "v0",
            "generatedAt": told.generated_at if told is not None else max(record.at for record in records.values()),
            "batch": look.batch.key,
            "manifestSha256": frames.report.manifest_sha256,
            "fingerprint": fingerprint,
            "pixelParameters": told.pixel_parameters if told is not None else seen,
            "operationalParameters": told.operational_parameters if told is not None else {},
            "rendererClass": told.renderer_class if told is not None else "unknown",
            "browserVersion": told.browser_version if told is not None else "unknown",
            "page": told.page if told is not None else {},
            "total": len(records),
            "ok": len(ok),
            "failed": len(failed),
            "reused": len(records),
            "failureReasons": dict(Counter(reason for one in failed for reason in one.reasons).most_common()),
            "warnings": dict(Counter(text for one in ok for text in one.warnings or ()).most_common()),
            "flags": count_flags(ok),
            "durationS": told.duration_s if told is not None else 0.0,
            "indexSha256": index_sha256,
            "adoptedFrom": look.source.path.name,
        }
    )


def _told_meta(look: _Looking, fingerprint: str) -> FramesMeta | None:
    """Return the folder's own `frames.meta.json`, unless it is of another rendering than the index."""
    path = look.source.frames_meta
    if not path.exists():
        look.notes.append("there is no frames.meta.json: rendering parameters and renderer are unknown")
        return None
    try:
        told = FramesMeta.load(path)
    except UserError as error:
        look.notes.append(f"frames.meta.json is not used: {error}")
        return None
    if told.fingerprint != fingerprint and not fingerprint.startswith("adopted-"):
        look.notes.append(f"frames.meta.json is of fingerprint {told.fingerprint}, the index of {fingerprint}")
        return None
    return told
