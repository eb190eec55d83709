"""`qa-samples/`: copies of a few frames of every cluster, the list of them, and a static page to look at them."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from statistics import fmean

from aivj_assets.contracts.clusters import Clusters
from aivj_assets.contracts.frames_index import FailedRecord, OkRecord
from aivj_assets.contracts.manifest import split_author_title
from aivj_assets.contracts.qa_index import QaCopy, QaIndex
from aivj_assets.contracts.style import ENERGIES, Energy
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir, BatchKey, safe_file_stem, write_text_atomic
from aivj_assets.qa.sampling import sample_clusters
from aivj_assets.qa.swap import rebuilt_folder

PAGE_NAME = "index.html"
INDEX_NAME = "index.json"
# Windows limits a whole path to 260 characters.
_STEM_LIMIT = 48
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class EnergyShare:
    """Presets of one energy in a group, and their share of it in percent (0..100)."""

    energy: Energy
    count: int
    percent: float


@dataclass(frozen=True)
class SampleView:
    """One picture of the page; `motion_percent` is relative to the batch's largest motion."""

    dest: str
    title: str
    author: str | None
    energy: Energy
    avg_luma: float
    motion: float
    motion_percent: float


@dataclass(frozen=True)
class ClusterView:
    """One cluster of the page; `mix`, `avg_luma` and `motion` are over all its presets, not the samples only."""

    id: str
    label: str
    size: int
    percent: float
    mix: list[EnergyShare]
    avg_luma: float
    motion: float
    samples: list[SampleView]


def write_qa_samples(
    folder: BatchDir,
    batch: BatchKey,
    clusters: Clusters,
    *,
    records: Mapping[str, OkRecord | FailedRecord],
    energies: Mapping[str, Energy],
    labels: Mapping[str, str],
    per_cluster: int = 12,
    frame_index: int = 1,
    seed: int = 1,
    notice: str | None = None,
) -> QaIndex:
    """Write `qa-samples/` whole and return its index.

    Samples are drawn per cluster (see `sample_clusters`) and shown from calm to peak, by motion. `frame_index` is the
    capture that is copied, the last one of a preset that has fewer. `labels` are the manifest's, {presetId: label}.
    `notice` stands above all. Raises `UserError` when a clustered preset has no ok record or energy, or a frame is not
    on disk; the earlier folder is then unchanged.
    """
    if per_cluster < 1 or frame_index < 0:
        raise UserError(f"per cluster {per_cluster} must be at least 1 and frame index {frame_index} at least 0.")
    ok = {preset_id: _ok_record(preset_id, records, energies) for preset_id in clusters.assignments}
    copies: list[QaCopy] = []
    with rebuilt_folder(folder.qa_dir) as new:
        for cluster, drawn in sample_clusters(clusters.assignments, per_cluster, seed).items():
            (new / f"cluster-{cluster}").mkdir()
            shown = sorted(drawn, key=lambda name: _calm_to_peak(ok[name], energies))
            copies += [
                _copy_frame(folder, new, _destination(cluster, energies[name], ok[name]), ok[name], frame_index)
                for name in shown
            ]
        index = QaIndex(pack=batch.pack, per_cluster=per_cluster, frame_index=frame_index, copied=copies, seed=seed)
        views = _cluster_views(clusters, copies, ok, energies, labels)
        write_text_atomic(new / PAGE_NAME, render_page(batch, index, views, notice))
        index.save(new / INDEX_NAME)
    return index


def render_page(batch: BatchKey, index: QaIndex, clusters: Sequence[ClusterView], notice: str | None = None) -> str:
    """Return the review page as HTML. Names of presets are untrusted: all values are escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    presets = sum(cluster.size for cluster in clusters)
    counts = Counter(dict.fromkeys(ENERGIES, 0))
    for cluster in clusters:
        counts.update({share.energy: share.count for share in cluster.mix})
    return environment.get_template("review.html.j2").render(
        batch=batch,
        index=index,
        clusters=clusters,
        presets=presets,
        mix=_shares(counts),
        samples=len(index.copied),
        notice=notice,
    )


def _ok_record(
    preset_id: str, records: Mapping[str, OkRecord | FailedRecord], energies: Mapping[str, Energy]
) -> OkRecord:
    record = records.get(preset_id)
    if not isinstance(record, OkRecord) or preset_id not in energies:
        raise UserError(
            f"clustered preset '{preset_id}' has no frames or no energy; materialise embeddings and clusters again."
        )
    return record


def _calm_to_peak(record: OkRecord, energies: Mapping[str, Energy]) -> tuple[int, float, str]:
    return ENERGIES.index(energies[record.preset_id]), record.metrics.motion, record.preset_id


@dataclass(frozen=True)
class _Destination:
    """Where a copy goes: `dest` below `qa-samples/`, still without the image's suffix."""

    cluster: str
    dest: str


def _destination(cluster: str, energy: Energy, record: OkRecord) -> _Destination:
    stem = safe_file_stem(PurePosixPath(record.rel_path).stem, _STEM_LIMIT)
    return _Destination(cluster, f"cluster-{cluster}/{cluster}__{energy}__{record.id_hash}__{stem}")


def _copy_frame(folder: BatchDir, new: Path, to: _Destination, record: OkRecord, frame_index: int) -> QaCopy:
    rel = record.frames[min(frame_index, len(record.frames) - 1)]
    source = folder.path.joinpath(*PurePosixPath(rel).parts)
    # The index may come from another tool: a frame outside the batch's folder is none.
    if not source.resolve().is_relative_to(folder.path.resolve()):
        raise UserError(
            f"frame '{rel}' of preset '{record.preset_id}' lies outside the batch; materialise frames again."
        )
    dest = f"{to.dest}{PurePosixPath(rel).suffix}"
    try:
        shutil.copyfile(source, new / dest)
    except FileNotFoundError:
        raise UserError(f"{source} is missing on disk; materialise frames again.") from None
    return QaCopy(cluster=to.cluster, preset_id=record.preset_id, rel=rel, dest=dest)


def _cluster_views(
    clusters: Clusters,
    copies: Sequence[QaCopy],
    ok: Mapping[str, OkRecord],
    energies: Mapping[str, Energy],
    labels: Mapping[str, str],
) -> list[ClusterView]:
    most_motion = max(record.metrics.motion for record in ok.values())
    members: dict[str, list[OkRecord]] = {cluster.id: [] for cluster in clusters.clusters}
    for preset_id, cluster_id in clusters.assignments.items():
        members[cluster_id].append(ok[preset_id])
    samples: dict[str, list[SampleView]] = {cluster.id: [] for cluster in clusters.clusters}
    for copy in copies:
        label = labels.get(copy.preset_id, copy.preset_id)
        samples[copy.cluster].append(
            _sample_view(copy, ok[copy.preset_id], energies[copy.preset_id], label, most_motion)
        )
    return [
        ClusterView(
            id=cluster.id,
            label=cluster.label,
            size=cluster.size,
            percent=100 * cluster.size / len(clusters.assignments),
            mix=_shares(Counter(energies[record.preset_id] for record in members[cluster.id])),
            avg_luma=fmean(record.metrics.avg_luma for record in members[cluster.id]),
            motion=fmean(record.metrics.motion for record in members[cluster.id]),
            samples=samples[cluster.id],
        )
        for cluster in sorted(clusters.clusters, key=lambda cluster: (len(cluster.id), cluster.id))
    ]


def _sample_view(copy: QaCopy, record: OkRecord, energy: Energy, label: str, most_motion: float) -> SampleView:
    author, title = split_author_title(label)
    return SampleView(
        dest=copy.dest,
        title=title or copy.preset_id,
        author=author,
        energy=energy,
        avg_luma=record.metrics.avg_luma,
        motion=record.metrics.motion,
        motion_percent=100 * record.metrics.motion / most_motion if most_motion else 0.0,
    )


def _shares(counts: Counter[Energy]) -> list[EnergyShare]:
    total = counts.total()
    return [EnergyShare(energy, counts[energy], 100 * counts[energy] / total if total else 0.0) for energy in ENERGIES]
