"""What `aivj bench duplicates` measures with: a batch's pairs, and a sheet of those near the thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from aivj_assets.contracts.clusters import Clusters
from aivj_assets.contracts.embeddings import load_embeddings
from aivj_assets.contracts.frames_index import OkRecord, read_records
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.qa_duplicates import DuplicateThresholds
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir, BatchKey, DataRoot
from aivj_assets.qa.duplicate_bench import DuplicateBench, NearPair, bench_duplicates
from aivj_assets.qa.duplicates import Records
from aivj_assets.qa.picture_hash import BITS, CAPTURES
from aivj_assets.report.console import require_batch
from aivj_assets.report.pictures import Tile, sectioned_sheet


@dataclass(frozen=True)
class BenchedBatch:
    """The measured pairs of a batch, and what is needed to draw them."""

    bench: DuplicateBench
    folder: BatchDir
    records: Records
    labels: Mapping[str, str]

    def sheet(self, thresholds: DuplicateThresholds, count: int) -> Image.Image:
        """Return a picture of up to `count` pairs just inside and just outside, a pair a row, captures side by side."""
        inside, outside = self.bench.around(thresholds, count)
        sections = [
            (f"{heading} a cosine of {thresholds.min_cosine:g} and {thresholds.max_hash_distance} bits", tiles)
            for heading, pairs in (("just inside", inside), ("just outside", outside))
            for tiles in [self._tiles(pairs)]
        ]
        return sectioned_sheet(self.folder.path, sections, columns=2 * CAPTURES)

    def _tiles(self, pairs: Sequence[NearPair]) -> list[Tile]:
        """Return the captures of both presets of each pair; the caption of the first says how near they are."""
        tiles: list[Tile] = []
        for pair in pairs:
            bits = "-" if pair.distance > BITS else str(pair.distance)
            for name, before in ((pair.one, f"{pair.cosine:.4f}, {bits} bits: "), (pair.other, "")):
                record = self.records[name]
                frames = record.frames[:CAPTURES] if isinstance(record, OkRecord) else []
                captions = [before + self.labels.get(name, name), *[""] * (CAPTURES - 1)]
                pictures = [*frames, *[None] * (CAPTURES - len(frames))]
                tiles += [Tile(caption, frame) for caption, frame in zip(captions, pictures, strict=True)]
        return tiles


def bench_batch(root: DataRoot, batch: BatchKey) -> BenchedBatch:
    """Measure a batch's pairs; raises `UserError` when it has no clusters."""
    require_batch(root, batch)
    folder = root.batch(batch)
    if not folder.clusters.exists():
        raise UserError(f"Batch {batch} has no clusters; run it first: aivj run {batch}")
    records = read_records(folder.frames_index)
    labels = {preset.id: preset.label for preset in Manifest.load(root.manifest(batch)).presets}
    bench = bench_duplicates(
        folder, Clusters.load(folder.clusters), load_embeddings(folder), records=records, labels=labels
    )
    return BenchedBatch(bench, folder, records, labels)
