"""What the review page shows, as plain values for its template."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from aivj_assets.contracts.clusters import Cluster, Clusters
from aivj_assets.contracts.frames_index import OkRecord
from aivj_assets.contracts.manifest import split_author_title
from aivj_assets.contracts.qa_index import QaCopy, QaIndex
from aivj_assets.contracts.style import ENERGIES, Energy
from aivj_assets.qa.figures import ClusterFigures, Neighbour
from aivj_assets.qa.frames import Strip

_SHOWN_MOVES = 8


@dataclass(frozen=True)
class Moved:
    """A preset that came into a cluster or left it; `cluster` is where it came from or went, None: nowhere."""

    preset_id: str
    cluster: str | None = None


@dataclass(frozen=True)
class ClusterChange:
    """What came into a cluster and left it with a version of its lineage; `since` is the version before.

    `came_count` and `left_count` are all of them; `came` and `left` may be the first few.
    """

    since: int
    came: Sequence[Moved] = ()
    left: Sequence[Moved] = ()
    came_count: int = 0
    left_count: int = 0


@dataclass(frozen=True)
class EnergyShare:
    """Presets of one energy in a group, and their share of it in percent (0..100)."""

    energy: Energy
    count: int
    percent: float


@dataclass(frozen=True)
class Name:
    """A preset by its id and what people call it; untrusted text."""

    preset_id: str
    title: str
    author: str | None


@dataclass(frozen=True)
class TileView:
    """One picture of the page; `motion_percent` is relative to the batch's largest motion, `cosine` to the centroid.

    `marks` are of "medoid" and "outlier"; `strip` is None where there is nothing to move.
    """

    dest: str
    name: Name
    energy: Energy
    avg_luma: float
    motion: float
    motion_percent: float
    flags: Sequence[str] = ()
    cosine: float | None = None
    marks: Sequence[str] = ()
    strip: Strip | None = None


@dataclass(frozen=True)
class MoveView:
    """A preset in the list of what came or left, and the other cluster."""

    name: Name
    cluster: str | None


@dataclass(frozen=True)
class ChangeView:
    """What came and left since a version; the lists are short, the counts whole. `all_new`: the cluster's all came."""

    since: int
    came: Sequence[MoveView]
    left: Sequence[MoveView]
    came_count: int
    left_count: int
    all_new: bool


@dataclass(frozen=True)
class ClusterView:
    """One cluster of the page; `mix`, `avg_luma` and `motion` are over all its presets, not the samples only.

    `medoids` and `outliers` are those that are not among the samples; `medoid_count` and `outlier_count` count both.
    """

    id: str
    label: str
    size: int
    library_size: int | None
    percent: float
    born_in: str
    mix: list[EnergyShare]
    avg_luma: float
    motion: float
    samples: list[TileView]
    medoids: list[TileView] = field(default_factory=list)
    outliers: list[TileView] = field(default_factory=list)
    medoid_count: int = 0
    outlier_count: int = 0
    cohesion: float | None = None
    spread: float | None = None
    nearest: Sequence[Neighbour] = ()
    change: ChangeView | None = None


@dataclass(frozen=True)
class ViewSources:
    """What views are made of: records, energies and labels by preset id, figures and changes by cluster id."""

    clusters: Clusters
    index: QaIndex
    ok: Mapping[str, OkRecord]
    energies: Mapping[str, Energy]
    labels: Mapping[str, str]
    strips: Mapping[str, Strip]
    figures: Mapping[str, ClusterFigures]
    changes: Mapping[str, ClusterChange]

    def name(self, preset_id: str) -> Name:
        """Return what a preset is called; one of another batch is called by its id."""
        author, title = split_author_title(self.labels.get(preset_id, preset_id))
        return Name(preset_id, title or preset_id, author)


def cluster_views(sources: ViewSources) -> list[ClusterView]:
    """Return the clusters in id order."""
    most_motion = max(record.metrics.motion for record in sources.ok.values())
    members: dict[str, list[OkRecord]] = {cluster.id: [] for cluster in sources.clusters.clusters}
    for preset_id, cluster_id in sources.clusters.assignments.items():
        members[cluster_id].append(sources.ok[preset_id])
    return [
        _cluster_view(sources, cluster, members[cluster.id], most_motion)
        for cluster in sorted(sources.clusters.clusters, key=lambda cluster: (len(cluster.id), cluster.id))
    ]


def _cluster_view(
    sources: ViewSources, cluster: Cluster, members: Sequence[OkRecord], most_motion: float
) -> ClusterView:
    index, figures = sources.index, sources.figures.get(cluster.id)
    groups = [
        [copy for copy in copies or () if copy.cluster == cluster.id]
        for copies in (index.copied, index.medoids, index.outliers)
    ]
    sampled, medoids, outliers = ({copy.preset_id for copy in group} for group in groups)

    def tiles(copies: Sequence[QaCopy], without: set[str]) -> list[TileView]:
        return [
            _tile(
                sources, copy, most_motion,
                cosine=None if figures is None else figures.cosines[copy.preset_id],
                marks=[
                    mark
                    for mark, among in (("medoid", medoids), ("outlier", outliers))
                    if copy.preset_id in among
                ],
            )
            for copy in copies
            if copy.preset_id not in without
        ]  # fmt: skip

    return ClusterView(
        id=cluster.id,
        label=cluster.label,
        size=cluster.size,
        library_size=cluster.library_size,
        percent=100 * cluster.size / len(sources.clusters.assignments),
        born_in=cluster.born_in,
        mix=shares(Counter(sources.energies[record.preset_id] for record in members)),
        avg_luma=fmean(record.metrics.avg_luma for record in members),
        motion=fmean(record.metrics.motion for record in members),
        samples=tiles(groups[0], set()),
        medoids=tiles(groups[1], sampled),
        outliers=tiles(groups[2], sampled),
        medoid_count=len(medoids),
        outlier_count=len(outliers),
        cohesion=None if figures is None else figures.cohesion,
        spread=None if figures is None else figures.spread,
        nearest=() if figures is None else figures.nearest,
        change=_change_view(sources, cluster),
    )


def _tile(
    sources: ViewSources, copy: QaCopy, most_motion: float, *, cosine: float | None, marks: Sequence[str]
) -> TileView:
    record = sources.ok[copy.preset_id]
    strip = sources.strips.get(copy.preset_id)
    return TileView(
        dest=copy.dest,
        name=sources.name(copy.preset_id),
        energy=sources.energies[copy.preset_id],
        avg_luma=record.metrics.avg_luma,
        motion=record.metrics.motion,
        motion_percent=100 * record.metrics.motion / most_motion if most_motion else 0.0,
        flags=record.metrics.flags or (),
        cosine=cosine,
        marks=marks,
        strip=strip if strip is not None and strip.captures > 1 else None,
    )


def _change_view(sources: ViewSources, cluster: Cluster) -> ChangeView | None:
    change = sources.changes.get(cluster.id)
    if change is None or not (change.came_count or change.left_count):
        return None
    came, left = (
        [MoveView(sources.name(moved.preset_id), moved.cluster) for moved in moves[:_SHOWN_MOVES]]
        for moves in (change.came, change.left)
    )
    return ChangeView(
        change.since, came, left, change.came_count, change.left_count,
        all_new=change.came_count >= (cluster.library_size or cluster.size) and not change.left_count,
    )  # fmt: skip


def shares(counts: Counter[Energy]) -> list[EnergyShare]:
    """Return the share of every energy, calm first."""
    total = counts.total()
    return [EnergyShare(energy, counts[energy], 100 * counts[energy] / total if total else 0.0) for energy in ENERGIES]


def page_data(
    index: QaIndex, clusters: Sequence[ClusterView], known: Mapping[str, Mapping[str, Any]], state: str
) -> dict[str, Any]:
    """Return what the page's script reads: where verdicts belong, figures to sort by, verdicts given before.

    `state` tells apart two batches of one key that lie in different data roots.
    """
    return {
        "batch": index.batch,
        "lineage": index.lineage,
        "lineageVersion": index.lineage_version,
        "state": state,
        "clusters": [
            {
                "id": view.id,
                "label": view.label,
                "size": view.size,
                "cohesion": view.cohesion,
                "changed": 0 if view.change is None else view.change.came_count + view.change.left_count,
                "mix": {share.energy: share.count for share in view.mix},
            }
            for view in clusters
        ],
        "known": {name: dict(said) for name, said in known.items()},
    }
