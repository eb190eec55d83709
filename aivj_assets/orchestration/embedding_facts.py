"""What the UI shows of a batch's embeddings: the card, speed, figures of quality, and two pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import numpy as np
from PIL import Image

from aivj_assets.contracts.embeddings import Embeddings
from aivj_assets.contracts.frames_index import FailedRecord, OkRecord, read_records
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.embed.cache import FrameVectorCache
from aivj_assets.embed.embed import FrameSource
from aivj_assets.embed.figures import QualityFigures, measure_quality
from aivj_assets.embed.quality import (
    ALL_GROUPS,
    effective_dimension,
    nearest_neighbours,
    pairwise_cosines,
    source_library,
)
from aivj_assets.layout import BatchDir, BatchKey, DataRoot
from aivj_assets.orchestration.pictures import markdown_table
from aivj_assets.report.pictures import Tile, as_markdown_image, histogram, sectioned_sheet

_QUERIES, _NEIGHBOURS, _SEED = 6, 5, 1
_LEFT_OUT_EXAMPLES = 20
_TILE_PX = (160, 90)
# Dagster stores metadata with the event: all of a materialisation's pictures stay under 300 KB together.
_SHEET_BYTES, _HISTOGRAM_BYTES = 180_000, 40_000


def embedding_facts(root: DataRoot, batch: BatchKey, source: FrameSource, embeddings: Embeddings) -> dict[str, Any]:
    """Return the metadata of `embeddings`. Rows may be memory-mapped: they are read in blocks, never as a whole."""
    meta, rows, folder = embeddings.meta, embeddings.vectors, source.batch_dir
    presets = Manifest.load(root.manifest(batch)).presets
    labels = {preset.id: preset.label for preset in presets}
    libraries = {preset.id: source_library(preset.rel_path, batch.pack) for preset in presets}
    cache = FrameVectorCache(root.embedding_cache_dir, meta.card, meta.dtype)
    quality = measure_quality(source, embeddings, cache, libraries)
    every = quality.groups[ALL_GROUPS]
    facts: dict[str, Any] = {
        "model": meta.model,
        "pretrained": meta.pretrained,
        "note": meta.note,
        "presets": meta.count,
        "left_out": len(meta.left_out),
        "quality": dg.MetadataValue.md(quality_table(quality)),
        "nearest_neighbours": dg.MetadataValue.md(
            as_markdown_image(
                neighbour_sheet(folder, embeddings, read_records(folder.frames_index), labels),
                limit_bytes=_SHEET_BYTES,
                alt="presets and the presets nearest to them",
            )
        ),
        "cosines": dg.MetadataValue.md(
            as_markdown_image(
                cosine_histogram(embeddings),
                limit_bytes=_HISTOGRAM_BYTES,
                alt="histogram of the cosines of pairs of presets",
            )
        ),
        # As numbers too: the UI plots them over the batches.
        "retrieval_at_1": None if every.retrieval_at_1 is None else round(every.retrieval_at_1, 4),
        "near_identical_fraction": round(every.near_identical_fraction, 4),
        "effective_dimension": round(effective_dimension(rows), 2),
        "frames": meta.frames,
        "computed_frames": meta.computed_frames,
        "images_per_s": meta.images_per_s,
        "device": meta.device,
        "precision": meta.dtype if meta.precision is None else meta.precision.summary,
        "dim": meta.dim,
        # Last: long lists would hide the rest. The file names every preset that was left out; here a few.
        "left_out_examples": dg.MetadataValue.json(dict(list(meta.left_out.items())[:_LEFT_OUT_EXAMPLES]))
        if meta.left_out
        else None,
        "card": dg.MetadataValue.json(meta.card.to_json()),
    }
    return {name: value for name, value in facts.items() if value is not None}


def quality_table(quality: QualityFigures) -> str:
    """Return the figures as a Markdown table, a line a group of presets, and what they mean."""
    rows = [
        (
            name,
            group.presets,
            "-" if group.retrieval_at_1 is None else f"{group.retrieval_at_1:.3f}",
            f"{group.near_identical_fraction:.1%}",
            f"{group.effective_dimension:.1f}",
        )
        for name, group in quality.groups.items()
    ]
    table = markdown_table(("group", "presets", "R@1", "near-identical", "effective dimension"), rows)
    unknown = ["R@1 '-': the frames' vectors are not kept."] if not quality.frames else []
    return f"{table}\n\n{' '.join([*quality.legend, *unknown])}"


def cosine_histogram(embeddings: Embeddings) -> Image.Image:
    """Return a histogram of the cosines of random pairs of presets: narrow near 1 where a model tells little apart."""
    cosines: Sequence[float] = pairwise_cosines(embeddings.vectors).tolist()
    title = f"Cosine of pairs of presets, {embeddings.meta.model}"
    return histogram(cosines, 50, title, x_label="cosine", span=(0.0, 1.0))


def neighbour_sheet(
    folder: BatchDir,
    embeddings: Embeddings,
    records: Mapping[str, OkRecord | FailedRecord],
    labels: Mapping[str, str],
) -> Image.Image:
    """Return a picture with a row for each of a few presets drawn by a fixed seed: the preset, then its nearest."""
    count = len(embeddings.preset_ids)
    asked = np.sort(np.random.default_rng(_SEED).choice(count, min(_QUERIES, count), replace=False))
    found, cosines = nearest_neighbours(embeddings.vectors, asked, _NEIGHBOURS)
    tiles: list[Tile] = []
    for query, neighbours, values in zip(asked.tolist(), found.tolist(), cosines.tolist(), strict=True):
        tiles.append(_tile(embeddings.preset_ids[query], records, labels))
        tiles += [
            _tile(embeddings.preset_ids[row], records, labels, f"{cosine:.3f}: ")
            for row, cosine in zip(neighbours, values, strict=True)
        ]
    heading = f"{len(asked)} of {count:,} presets, each with its {found.shape[1]} nearest to the right, by cosine"
    return sectioned_sheet(folder.path, [(heading, tiles)], columns=1 + found.shape[1], tile=_TILE_PX)


def _tile(
    preset_id: str, records: Mapping[str, OkRecord | FailedRecord], labels: Mapping[str, str], before: str = ""
) -> Tile:
    """Return a tile of a preset's middle capture."""
    caption = before + labels.get(preset_id, preset_id)
    record = records.get(preset_id)
    if not isinstance(record, OkRecord):
        return Tile(caption, words="no frames in the index")
    return Tile(caption, record.frames[len(record.frames) // 2])
