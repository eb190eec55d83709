"""What a model's vectors are worth on a batch's frames: the figures of `quality`, over all and by source library."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from pydantic import Field

from aivj_assets.contracts.base import ContractModel, utc_now
from aivj_assets.contracts.embeddings import Precision
from aivj_assets.embed.cache import FrameVectorCache
from aivj_assets.embed.embed import FrameSource, embed_batch
from aivj_assets.embed.frames import FrameFile, frame_names, read_frame
from aivj_assets.embed.model import TorchModel
from aivj_assets.embed.quality import GroupFigures, figures_by_group
from aivj_assets.layout import BatchDir

MOST_PRESETS = 5000
DARK_LUMA = 0.05
BRIGHT_GROUP = "not dark"


class LibraryFigures(ContractModel):
    """The figures of one group of presets; neighbours are looked for among all of them."""

    presets: int
    retrieval_at_1: float | None
    """Share of pictures whose nearest other picture is of the same preset."""
    queries: int
    near_identical_fraction: float
    effective_dimension: float


class QualityBench(ContractModel):
    """Figures of one model on one batch."""

    at: str
    model: str
    device: str
    precision: Precision
    presets: int
    frames: int
    pictures: int
    """Different ones: byte-identical frames are one picture."""
    seed: int
    groups: dict[str, LibraryFigures] = Field(
        description=f"`all`, `{BRIGHT_GROUP}` (mean luma above {DARK_LUMA}), then each source library"
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

    Of more than 5,000 presets so many are drawn by `seed`. `library_of` is {presetId: source library}. Rows are written
    into `work_dir`; raises `UserError` as `embed_batch` does.
    """
    if len(source.records) > MOST_PRESETS:
        drawn = sorted(random.Random(seed).sample(range(len(source.records)), MOST_PRESETS))
        source = replace(source, records=[source.records[row] for row in drawn])
    cache = FrameVectorCache(cache_dir, model.card, model.dtype)
    made = embed_batch(source, model, cache=cache, progress=progress, target=BatchDir(work_dir))
    row_of = {preset_id: row for row, preset_id in enumerate(made.preset_ids)}
    records = [record for record in source.records if record.preset_id in row_of]
    digests: list[bytes] = []
    preset_of: list[int] = []
    for row, position, name in frame_names(records, source.max_frames):
        file = read_frame(source.batch_dir.path, row, position, name)
        if isinstance(file, FrameFile):
            digests.append(file.sha1)
            preset_of.append(row)
    known = cache.get(digests)
    found = [number for number, digest in enumerate(digests) if digest in known]
    contents = np.unique([digests[number] for number in found], return_inverse=True)[1]
    figures = figures_by_group(
        np.asarray(made.vectors),
        [library_of.get(record.preset_id, "?") for record in records],
        np.stack([known[digests[number]] for number in found]),
        np.asarray(preset_of)[found],
        content_of=contents,
        more_groups={BRIGHT_GROUP: [row for row, record in enumerate(records) if record.metrics.avg_luma > DARK_LUMA]},
        seed=seed,
    )
    return QualityBench(
        at=utc_now(),
        model=model.card.name,
        device=model.device,
        precision=precision,
        presets=len(records),
        frames=len(found),
        pictures=int(contents.max()) + 1,
        seed=seed,
        groups={name: _figures(group) for name, group in figures.items()},
    )


def _figures(group: GroupFigures) -> LibraryFigures:
    flat = asdict(group)
    retrieval = flat.pop("retrieval_at_1")
    return LibraryFigures(retrieval_at_1=retrieval["value"], queries=retrieval["queries"], **flat)
