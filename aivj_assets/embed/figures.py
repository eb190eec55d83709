"""What a model's vectors are worth on a batch: the figures of `quality` over all, and by source library."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from pydantic import Field

from aivj_assets.contracts.base import ContractModel, utc_now
from aivj_assets.contracts.embeddings import Embeddings, Precision
from aivj_assets.embed.cache import FrameVectorCache
from aivj_assets.embed.embed import FrameSource, embed_batch
from aivj_assets.embed.frames import FrameFile, frame_names, read_frame
from aivj_assets.embed.model import TorchModel
from aivj_assets.embed.quality import NEAR_IDENTICAL_COSINE, GroupFigures, figures_by_group
from aivj_assets.layout import BatchDir

MOST_PRESETS = 5000
"""Of more, so many are drawn: the vectors of their frames are held in memory."""
DARK_MAX_LUMA = 0.05
NOT_DARK = "not dark"


class GroupQuality(ContractModel):
    """The figures of one group of presets; neighbours are looked for among all of them."""

    presets: int
    retrieval_at_1: float | None
    """Share (0..1) of pictures whose nearest other picture is of the same preset; None when none could be asked for."""
    queries: int
    """Pictures asked for, at most 2,000."""
    near_identical_fraction: float
    """Share (0..1) of presets with another preset's row at a cosine above 0.999."""
    effective_dimension: float
    """Participation ratio of the rows' covariance: 0..min(presets - 1, dimensions)."""


class QualityFigures(ContractModel):
    """Figures of one batch's embeddings."""

    presets: int
    """Measured ones, at most 5,000."""
    frames: int
    """Frames of these presets whose vectors are known."""
    pictures: int
    """Different ones: byte-identical frames are one picture."""
    seed: int
    groups: dict[str, GroupQuality] = Field(
        description=f"`all`, `{NOT_DARK}` (avgLuma above {DARK_MAX_LUMA}), then each source library"
    )

    @property
    def legend(self) -> list[str]:
        """What the figures and groups mean, a sentence each, for a table of them."""
        return [
            "R@1: share of pictures whose nearest other picture is of the same preset, among all presets of the batch.",
            f"Near-identical: another preset's row lies at a cosine above {NEAR_IDENTICAL_COSINE}.",
            "Effective dimension: in how many directions the rows differ (participation ratio).",
            f"'{NOT_DARK}': presets with an avgLuma above {DARK_MAX_LUMA}.",
        ]


class QualityBench(QualityFigures):
    """The figures, and the model that they are of."""

    at: str
    model: str
    device: str
    precision: Precision


def measure_quality(
    source: FrameSource,
    embeddings: Embeddings,
    cache: FrameVectorCache,
    library_of: Mapping[str, str],
    *,
    seed: int = 1,
) -> QualityFigures:
    """Measure rows, and the vectors of their frames as far as `cache` knows them; reads the frames' files.

    `library_of` is {presetId: source library}. Of more than 5,000 presets so many are drawn by `seed`.
    """
    by_id = {record.preset_id: record for record in source.records}
    rows = [row for row, preset_id in enumerate(embeddings.preset_ids) if preset_id in by_id]
    if len(rows) > MOST_PRESETS:
        rows = sorted(random.Random(seed).sample(rows, MOST_PRESETS))
    records = [by_id[embeddings.preset_ids[row]] for row in rows]
    files = (
        read_frame(source.batch_dir.path, row, position, name)
        for row, position, name in frame_names(records, source.max_frames)
    )
    digests = [(file.row, file.sha1) for file in files if isinstance(file, FrameFile)]
    known = cache.get([digest for _, digest in digests])
    found = [(row, digest) for row, digest in digests if digest in known]
    vectors = [known[digest] for _, digest in found]
    contents = np.unique([digest for _, digest in found], return_inverse=True)[1] if found else np.empty(0, int)
    groups = figures_by_group(
        np.asarray(embeddings.vectors[rows]),
        [library_of.get(record.preset_id, "?") for record in records],
        np.stack(vectors) if vectors else np.empty((0, embeddings.meta.dim), np.float32),
        np.array([row for row, _ in found], dtype=np.int64),
        content_of=contents,
        more_groups={NOT_DARK: [row for row, record in enumerate(records) if record.metrics.avg_luma > DARK_MAX_LUMA]},
        seed=seed,
    )
    return QualityFigures(
        presets=len(records),
        frames=len(found),
        pictures=len(np.unique(contents)),
        seed=seed,
        groups={name: _figures(group) for name, group in groups.items()},
    )


def bench_quality(
    source: FrameSource,
    model: TorchModel,
    precision: Precision,
    *,
    library_of: Mapping[str, str],
    cache_dir: Path,
    work_dir: Path,
    seed: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> QualityBench:
    """Embed a batch's frames (those that `cache_dir` knows are taken from there) and measure the vectors.

    Of more than 5,000 presets so many are drawn by `seed`. Rows are written into `work_dir`; raises `UserError` as
    `embed_batch` does.
    """
    if len(source.records) > MOST_PRESETS:
        drawn = sorted(random.Random(seed).sample(range(len(source.records)), MOST_PRESETS))
        source = replace(source, records=[source.records[row] for row in drawn])
    cache = FrameVectorCache(cache_dir, model.card, model.dtype)
    made = embed_batch(source, model, cache=cache, progress=progress, target=BatchDir(work_dir))
    figures = measure_quality(source, made, cache, library_of, seed=seed)
    return QualityBench(**dict(figures), at=utc_now(), model=model.card.name, device=model.device, precision=precision)


def _figures(group: GroupFigures) -> GroupQuality:
    flat = asdict(group)
    retrieval = flat.pop("retrieval_at_1")
    return GroupQuality(retrieval_at_1=retrieval["value"], queries=retrieval["queries"], **flat)
