"""`qa-samples/`: copies of a few frames of every cluster, the list of them, and a static page to judge them on."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from aivj_assets.contracts.clusters import Clusters
from aivj_assets.contracts.embeddings import Embeddings
from aivj_assets.contracts.frames_index import FailedRecord, OkRecord
from aivj_assets.contracts.qa_duplicates import DUPLICATES_NAME, QaDuplicates
from aivj_assets.contracts.qa_index import QaCopy, QaIndex
from aivj_assets.contracts.style import ENERGIES, Energy
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir, BatchKey, StyleMapDir, safe_file_stem, write_text_atomic
from aivj_assets.qa.duplicate_views import DuplicatesView, duplicates_view, presets_of, shown_part
from aivj_assets.qa.figures import cluster_figures
from aivj_assets.qa.frames import copy_frame, write_strips
from aivj_assets.qa.sampling import sample_clusters
from aivj_assets.qa.swap import rebuilt_folder
from aivj_assets.qa.views import ClusterChange, ClusterView, ViewSources, cluster_views, page_data, shares

PAGE_NAME = "index.html"
INDEX_NAME = "index.json"
# Windows limits a whole path to 260 characters.
_STEM_LIMIT = 48
_TEMPLATES = Path(__file__).parent / "templates"


def write_qa_samples(
    folder: BatchDir,
    batch: BatchKey,
    clusters: Clusters,
    *,
    records: Mapping[str, OkRecord | FailedRecord],
    energies: Mapping[str, Energy],
    labels: Mapping[str, str],
    embeddings: Embeddings | None = None,
    centroids: npt.NDArray[np.float32] | None = None,
    changes: Mapping[str, ClusterChange] | None = None,
    known: Mapping[str, Mapping[str, Any]] | None = None,
    duplicates: QaDuplicates | None = None,
    map_page: str | None = None,
    per_cluster: int = 12,
    frame_index: int = 1,
    seed: int = 1,
    notice: str | None = None,
) -> QaIndex:
    """Write `qa-samples/` whole and return its index.

    Samples are drawn per cluster (see `sample_clusters`) and shown from calm to peak, by motion. `frame_index` is the
    capture that is copied, the last one of a preset that has fewer. `labels` are the manifest's, {presetId: label}.
    With `embeddings` and `centroids` (unit rows float32 [k, d]) the page has medoids, outliers, cohesion and nearest
    clusters; `changes` are what came and left, by cluster. `known` are verdicts given before, {cluster: {verdict,
    label, note, at, carried}}, where carried "changed" asks for one again. `duplicates` are shown and written beside
    the page. `map_page` is a link to the pack's map, relative to the page; `notice` stands above all.

    Raises `UserError` when a clustered preset has no ok record or energy, or a frame is not on disk; the earlier
    folder is then unchanged.
    """
    if per_cluster < 1 or frame_index < 0:
        raise UserError(f"per cluster {per_cluster} must be at least 1 and frame index {frame_index} at least 0.")
    ok = {preset_id: _ok_record(preset_id, records, energies) for preset_id in clusters.assignments}
    figures = (
        {} if embeddings is None or centroids is None else cluster_figures(clusters, embeddings, centroids)
    )  # fmt: skip
    shown = None if duplicates is None else shown_part(duplicates)
    named = {
        preset_id: record
        for preset_id in (() if shown is None else presets_of(shown))
        if isinstance(record := records.get(preset_id), OkRecord)
    }
    with rebuilt_folder(folder.qa_dir, keep=StyleMapDir.PARTS) as new:
        copier = _Copier(folder, new, ok, energies, frame_index)
        samples: list[QaCopy] = []
        for cluster, drawn in sample_clusters(clusters.assignments, per_cluster, seed).items():
            (new / f"cluster-{cluster}").mkdir()
            in_order = sorted(drawn, key=lambda name: _calm_to_peak(ok[name], energies))
            samples += [copier.copy(cluster, preset_id) for preset_id in in_order]
        index = QaIndex(
            pack=batch.pack, per_cluster=per_cluster, frame_index=frame_index, copied=samples, seed=seed,
            batch=batch.key,
            lineage=clusters.lineage and clusters.lineage.name,
            lineage_version=clusters.lineage and clusters.lineage.version,
            medoids=[copier.copy(name, one) for name, each in figures.items() for one in each.medoids] or None,
            outliers=[copier.copy(name, one) for name, each in figures.items() for one in each.outliers] or None,
        )  # fmt: skip
        moving = {name: ok[name] for name in copier.made if len(ok[name].frames) > 1}
        strips = write_strips(folder, new, (moving | named).values())
        sources = ViewSources(clusters, index, ok, energies, labels, strips, figures, changes or {})
        section = None
        if duplicates is not None and shown is not None:
            duplicates.save(new / DUPLICATES_NAME)
            section = duplicates_view(duplicates, shown, sources, named)
        html = render_page(
            batch, index, cluster_views(sources), notice, known=known or {}, duplicates=section,
            map_page=map_page, state=_state(clusters),
        )  # fmt: skip
        write_text_atomic(new / PAGE_NAME, html)
        index.save(new / INDEX_NAME)
    return index


def render_page(
    batch: BatchKey,
    index: QaIndex,
    clusters: Sequence[ClusterView],
    notice: str | None = None,
    *,
    known: Mapping[str, Mapping[str, Any]],
    duplicates: DuplicatesView | None = None,
    map_page: str | None = None,
    state: str = "",
) -> str:
    """Return the review page as HTML. Names of presets are untrusted: all values are escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    counts = Counter(dict.fromkeys(ENERGIES, 0))
    for cluster in clusters:
        counts.update({share.energy: share.count for share in cluster.mix})
    script = environment.get_template("review.js.j2").render()
    return environment.get_template("review.html.j2").render(
        batch=batch,
        index=index,
        clusters=clusters,
        presets=sum(cluster.size for cluster in clusters),
        mix=shares(counts),
        samples=len(index.copied),
        duplicates=duplicates,
        map_page=map_page,
        data=page_data(index, clusters, known, state),
        # The browser runs the one script whose hash the page's policy names: ours.
        script=Markup(script),  # noqa: S704
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        notice=notice,
    )


def _state(clusters: Clusters) -> str:
    text = "\n".join(f"{preset_id}\0{cluster}" for preset_id, cluster in sorted(clusters.assignments.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


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


class _Copier:
    """Copies one capture of a preset into its cluster's folder, once."""

    def __init__(
        self,
        folder: BatchDir,
        new: Path,
        ok: Mapping[str, OkRecord],
        energies: Mapping[str, Energy],
        frame_index: int,
    ) -> None:
        self._folder, self._new, self._ok, self._energies = folder, new, ok, energies
        self._frame_index = frame_index
        self.made: dict[str, QaCopy] = {}

    def copy(self, cluster: str, preset_id: str) -> QaCopy:
        """Return the copy of a preset, made when it is asked for first; raises `UserError`."""
        if preset_id not in self.made:
            record = self._ok[preset_id]
            rel = record.frames[min(self._frame_index, len(record.frames) - 1)]
            stem = safe_file_stem(PurePosixPath(record.rel_path).stem, _STEM_LIMIT)
            name = f"{cluster}__{self._energies[preset_id]}__{record.id_hash}__{stem}{PurePosixPath(rel).suffix}"
            dest = f"cluster-{cluster}/{name}"
            copy_frame(self._folder, record, rel, self._new / dest)
            self.made[preset_id] = QaCopy(cluster=cluster, preset_id=preset_id, rel=rel, dest=dest)
        return self.made[preset_id]
