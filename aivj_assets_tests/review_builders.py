"""A batch as the review page needs it: clusters of presets whose pictures and rows resemble each other, on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from aivj_assets.contracts.clusters import BatchLineage, Cluster, Clusters, cluster_id
from aivj_assets.contracts.embeddings import Embeddings
from aivj_assets.contracts.frames_index import FrameMetrics, OkRecord, frame_paths, id_hash
from aivj_assets.contracts.qa_duplicates import (
    DuplicateCounts,
    DuplicateGroup,
    DuplicatePreset,
    DuplicateThresholds,
    Misfit,
    QaDuplicates,
)
from aivj_assets.contracts.qa_index import QaIndex
from aivj_assets.contracts.style import Energy
from aivj_assets.layout import BatchDir, BatchKey
from aivj_assets.qa.page import write_qa_samples
from aivj_assets_tests.builders import NOW, embeddings_meta

HOSTILE_NAMES = [
    "<script>document.title = 'taken'</script> - <img src=x onerror=\"document.title='taken'\">",
    "Author " * 50 + "- " + "x" * 300,
    "🔥🦄 - ночь 日本",
    "שלום עולם - عنوان طويل",
    "\"quotes\" & 'more' - </li></ul></main></script>\u2028",
]
DIM = 24


@dataclass
class ReviewBatch:
    """What `write_qa_samples` takes, of `k` clusters with `per` presets each; the first names are hostile."""

    folder: BatchDir
    clusters: Clusters
    records: dict[str, OkRecord]
    energies: dict[str, Energy]
    labels: dict[str, str]
    embeddings: Embeddings
    centroids: npt.NDArray[np.float32]

    def write(self, **more: Any) -> QaIndex:
        """Write `qa-samples/`."""
        return write_qa_samples(
            self.folder, BatchKey("starter"), self.clusters, records=self.records, energies=self.energies,
            labels=self.labels, embeddings=self.embeddings, centroids=self.centroids, **more,
        )  # fmt: skip


def review_batch(path: Path, k: int, per: int, *, captures: int = 3, side: int = 64) -> ReviewBatch:
    """Write frames and return the batch: cluster c00 is wide, the last one tight."""
    folder = BatchDir(path)
    random = np.random.default_rng(1)
    assignments: dict[str, str] = {}
    records: dict[str, OkRecord] = {}
    labels: dict[str, str] = {}
    axes = np.linalg.qr(random.normal(size=(max(DIM, k), max(DIM, k))))[0][:k]
    rows = []
    for number in range(k * per):
        name, cluster = f"starter-{number:04d}", number % k
        labels[name] = HOSTILE_NAMES[number] if number < len(HOSTILE_NAMES) else f"Geiss - Title {number}"
        assignments[name] = cluster_id(cluster)
        frames = frame_paths(id_hash(name), captures, "webp")
        for capture, frame in enumerate(frames):
            place = folder.path / frame
            place.parent.mkdir(parents=True, exist_ok=True)
            picture(cluster / k, number, capture, side).save(place, quality=80)
        records[name] = OkRecord(
            preset_id=name, rel_path=f"starter/{labels[name].replace('/', '-')}.milk", file_path="x",
            id_hash=id_hash(name), frames=frames,
            metrics=FrameMetrics(
                avg_luma=0.3 + number % 5 / 10, motion=float(random.uniform(0, 0.5)),
                flags=["static"] if number % 9 == 8 else [],
            ),
        )  # fmt: skip
        spread = 0.4 - 0.3 * cluster / k
        rows.append(axes[cluster] + spread * (number // k + 1) / per * random.normal(size=len(axes[0])) / DIM**0.5 * 3)
    vectors = np.array(rows, dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return ReviewBatch(
        folder,
        _clusters(k, per, assignments),
        records,
        {name: ("calm", "groove", "peak")[int(record.metrics.motion * 6) % 3] for name, record in records.items()},
        labels,
        Embeddings(vectors, list(records), embeddings_meta(len(rows), vectors.shape[1])),
        axes.astype(np.float32),
    )


def _clusters(k: int, per: int, assignments: dict[str, str]) -> Clusters:
    return Clusters(
        k=k, seed=1, strategy="lineage", previous=None,
        clusters=[
            Cluster(
                id=cluster_id(row), size=per, centroid=row, born_in="starter", label=f"style {row}",
                library_size=2 * per,
            )
            for row in range(k)
        ],
        assignments=assignments, lineage=BatchLineage(name="main", version=3, k=k, presets=2 * k * per),
    )  # fmt: skip


def picture(hue: float, seed: int, capture: int, side: int) -> Image.Image:
    """Return waves in a hue (0..1) that move from capture to capture."""
    x, y = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side))
    turn = seed * 0.7
    wave = np.sin((4 + seed % 5) * np.hypot(x - np.sin(turn) / 2, y - np.cos(turn) / 2) * 2 - capture * 1.2)
    wave = wave + np.sin(3 * x * np.cos(turn) + 3 * y * np.sin(turn) + capture)
    hsv = np.stack([(hue + wave * 0.05) % 1, 0.8 - wave * 0.1, 0.55 + wave * 0.22], axis=-1).clip(0, 1)
    return Image.fromarray((hsv * 255).astype(np.uint8), mode="HSV").convert("RGB")


def some_duplicates(batch: ReviewBatch) -> QaDuplicates:
    """Return two groups, of three and of two presets of one cluster each, and one misfit."""
    ids = list(batch.records)
    k = batch.clusters.k

    def group(first: int, size: int) -> DuplicateGroup:
        names = [ids[first + k * place] for place in range(size)]
        return DuplicateGroup(
            cluster=batch.clusters.assignments[names[0]], keep=names[0], reason="most detail",
            presets=[
                DuplicatePreset(
                    preset_id=name, hash_distance=2 * place, cosine=1 - 0.004 * place, frame="x", detail_bytes=4000
                )
                for place, name in enumerate(names)
            ],
        )  # fmt: skip

    return QaDuplicates(
        batch="starter", thresholds=DuplicateThresholds(black_max_luma=3 / 255, flat_max_std=4 / 255),
        counts=DuplicateCounts(presets=len(ids), unique=len(ids) - 4, near_duplicates=3, misfits=1),
        groups=[group(0, 3), group(1, 2)],
        misfits=[Misfit(preset_id=ids[2], cluster="c02", flags=["black"], avg_luma=0.004, frame="x")],
    )  # fmt: skip


KNOWN: dict[str, dict[str, Any]] = {
    "c01": {"verdict": "good", "label": "blue tunnel", "note": None, "at": NOW, "carried": True},
    "c02": {"verdict": "bad", "label": None, "note": "all the same", "at": NOW, "carried": "changed"},
}
