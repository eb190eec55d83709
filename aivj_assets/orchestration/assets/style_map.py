"""`style_map`: a page with every preset of a pack as a point in the plane, what looks alike together."""

import hashlib
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import numpy.typing as npt
from pydantic import Field

from aivj_assets.contracts.base import utc_now
from aivj_assets.contracts.embeddings import EmbeddingsMeta, load_embeddings, require_same_card
from aivj_assets.contracts.frames_index import OkRecord, read_records
from aivj_assets.contracts.lineage import LineageEnergy
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.progress import WorkProgress
from aivj_assets.contracts.style_map import StyleMap, StyleMapBatch, StyleMapMovement, load_points, save_points
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot, StyleMapDir, StyleMapSide, check_pack_name
from aivj_assets.orchestration.assets.publication import publishable_batches
from aivj_assets.orchestration.file_lock import held_lock
from aivj_assets.orchestration.lineage.store import Lineage, lineage_of
from aivj_assets.orchestration.partitions import PACKS
from aivj_assets.orchestration.pictures import markdown_table
from aivj_assets.orchestration.resources import DataRootResource
from aivj_assets.orchestration.search_rows import shown_picture
from aivj_assets.orchestration.stages import PUBLISHED_STAGE
from aivj_assets.orchestration.step import user_errors
from aivj_assets.qa.map_layout import MapLayout, Moved, Progress, lay_out
from aivj_assets.qa.map_page import MapHeading, MapPoints, write_map_page, write_map_side
from aivj_assets.qa.swap import rebuilt_folder
from aivj_assets.style.energy import energy_by_cuts, energy_by_motion

# Thumbnails and places take about as long; the bar counts in hundredths of each.
_SHARE = 100
_EXAMPLES = 3
# A second run waits for the first, whose places it then takes over.
_LOCK_TIMEOUT_S = 3600.0


class StyleMapConfig(dg.Config):
    """The seed of the places."""

    seed: int = Field(default=1, ge=0)


@dg.asset(
    partitions_def=PACKS,
    # A pack's batches are looked up when the map is made: the guard decides which of them count.
    deps=[dg.AssetDep(PUBLISHED_STAGE, partition_mapping=dg.AllPartitionMapping())],
    group_name="pack",
    kinds={"html"},
)
def style_map(
    context: dg.AssetExecutionContext, config: StyleMapConfig, data_root: DataRootResource
) -> dg.MaterializeResult[Any]:
    """Lay a pack's accepted presets out in the plane, begun from the last map, and write the page that shows them."""
    root = data_root.get()
    with user_errors():
        made = make_map(context.instance, root, check_pack_name(context.partition_key), config.seed)
        for batch, why in made.left_out.items():
            context.log.warning(f"Batch {batch} is not on the map: {why}")
        return dg.MaterializeResult(data_version=dg.DataVersion(made.digest), metadata=_facts(root, made))


@dataclass(frozen=True)
class MappedPack:
    """What a map is made of: the presets of the accepted batches with the cluster ids of the version in force."""

    pack: str
    lineage: Lineage
    batches: list[BatchKey]
    left_out: dict[str, str]
    points: MapPoints
    rows: npt.NDArray[np.float32]

    @property
    def rows_sha256(self) -> str:
        """SHA-256 over ids and embeddings, in order."""
        digest = hashlib.sha256("\n".join(self.points.ids).encode("utf-8"))
        digest.update(self.rows.tobytes())
        return digest.hexdigest()


def make_map(instance: dg.DagsterInstance, root: DataRoot, pack: str, seed: int) -> StyleMap:
    """Write a pack's `map.html` and `map/` and return their facts; raises `UserError`, the earlier map then stays."""
    started = time.monotonic()
    progress_file = root.style_map_progress(pack)
    told = 0.0

    def tell(begin: int) -> Progress:
        def progress(done: int, total: int) -> None:
            nonlocal told
            if done < total and time.monotonic() - told < 0.5:
                return
            told = time.monotonic()
            WorkProgress(done=begin + round(_SHARE * done / max(1, total)), total=2 * _SHARE).save(progress_file)

        return progress

    with held_lock(root.style_map_lock(pack), timeout_s=_LOCK_TIMEOUT_S):
        try:
            mapped = gather_map(instance, root, pack)
            place = root.style_map(pack)
            layout = _places(place.files, mapped, seed, tell(0))
            return _write(place, mapped, layout, seed=seed, progress=tell(_SHARE), started=started)
        except FileNotFoundError as error:
            # The review page of a pack of one batch lies in the same folder, which is swapped whole.
            raise UserError(
                f"Pack '{pack}': its folders changed while its map was made ({error}); run again."
            ) from None
        finally:
            progress_file.unlink(missing_ok=True)


def gather_map(instance: dg.DagsterInstance, root: DataRoot, pack: str) -> MappedPack:
    """Read what a pack's map shows; raises `UserError` when no batch counts or batches do not go together."""
    batches, left_out = publishable_batches(instance, root, pack)
    if not batches:
        why = "; ".join(f"{key}: {problem}" for key, problem in left_out.items()) or "it has no batch with a manifest"
        raise UserError(f"Pack '{pack}' has no accepted batch to map ({why}): aivj run {next(iter(left_out), pack)}.")
    cards = {f"batch {batch}": EmbeddingsMeta.load(root.batch(batch).embeddings_meta).card for batch in batches}
    require_same_card(cards, f"embed all with one model (aivj profile {pack} shows which is the pack's).")
    folder = lineage_of(root, pack)
    lineage = Lineage.open(folder)
    if lineage is None:
        raise UserError(f"Pack '{pack}': lineage '{folder.name}' has no version; materialise clusters of its batches.")
    parts = [_read_batch(root, batch, lineage) for batch in batches]
    motion = {name: value for points, _ in parts for name, value in zip(points.ids, points.motion, strict=True)}
    cuts = LineageEnergy.of(folder).cuts
    tiers = energy_by_motion(motion) if cuts is None else energy_by_cuts(motion, cuts.calm_max, cuts.groove_max)
    points = MapPoints.join([points for points, _ in parts])
    points = replace(points, energies=[tiers.energies[name] for name in points.ids])
    return MappedPack(pack, lineage, batches, left_out, points, np.concatenate([rows for _, rows in parts]))


def _read_batch(root: DataRoot, batch: BatchKey, lineage: Lineage) -> tuple[MapPoints, npt.NDArray[np.float32]]:
    """Return a batch's presets, still without place and energy, and their rows; raises `UserError`."""
    known = lineage.batch(batch.key)
    if known is None:
        raise UserError(
            f"Batch {batch} is accepted but not in lineage '{lineage.name}', which began anew in version "
            f"{lineage.facts.number}: aivj run {batch}, or remove the batch (aivj lineage remove {batch})."
        )
    folder = root.batch(batch)
    cluster_of, embeddings, records = lineage.ids_of(known), load_embeddings(folder), read_records(folder.frames_index)
    named = {preset.id: preset.label for preset in Manifest.load(root.manifest(batch)).presets}
    ids = embeddings.preset_ids
    motion: list[float] = []
    pictures: list[Path | None] = []
    for preset_id in ids:
        record = records.get(preset_id)
        if not isinstance(record, OkRecord) or preset_id not in cluster_of:
            raise UserError(f"Batch {batch} changed while its map was made ('{preset_id}'); make the map again.")
        motion.append(record.metrics.motion)
        pictures.append(shown_picture(folder, record))
    points = MapPoints(
        ids=ids, labels=[named.get(name, name) for name in ids], clusters=[cluster_of[name] for name in ids],
        energies=["groove"] * len(ids), batches=[batch.key] * len(ids), motion=motion,
        places=np.zeros((len(ids), 2)), pictures=pictures,
    )  # fmt: skip
    # A copy: on Windows a mapped file cannot be replaced by a run.
    return points, np.array(embeddings.vectors)


def _places(files: StyleMapSide, mapped: MappedPack, seed: int, progress: Progress) -> MapLayout:
    """Return the places; those of the last map where it was made of the same rows with the same seed."""
    before = load_points(files)
    try:
        last = StyleMap.load(files.facts)
    except UserError:
        last = None
    ids = mapped.points.ids
    same = last is not None and (last.rows_sha256, last.seed) == (mapped.rows_sha256, seed)
    if last is not None and same and set(before) == set(ids):
        progress(1, 1)
        places = np.array([before[name] for name in ids])
        return MapLayout(places, len(ids), Moved(len(ids), 0.0, 0.0), last.method)
    return lay_out(mapped.rows, ids, before, seed=seed, progress=progress)


def _write(
    place: StyleMapDir, mapped: MappedPack, layout: MapLayout, *, seed: int, progress: Progress, started: float
) -> StyleMap:
    lineage, points, moved = mapped.lineage, mapped.points, layout.moved
    movement = None if moved is None else StyleMapMovement(**vars(moved))
    heading = MapHeading(
        pack=mapped.pack, lineage=lineage.name, lineage_version=lineage.facts.number, labels=lineage.labels,
        review_pages={batch.key: _review_page(batch) for batch in mapped.batches}, method=layout.method,
        movement=movement, left_out=mapped.left_out,
    )  # fmt: skip
    points = replace(points, places=layout.places)
    with rebuilt_folder(place.side) as new:
        side = StyleMapSide(new)
        written = write_map_side(side, points, heading, progress=progress)
        save_points(side, list(points.ids), layout.places)
        made = StyleMap(
            generated_at=utc_now(), pack=mapped.pack, lineage=lineage.name, lineage_version=lineage.facts.number,
            batches=[
                StyleMapBatch(batch=batch.key, presets=points.batches.count(batch.key)) for batch in mapped.batches
            ],
            left_out=mapped.left_out, presets=len(points.ids), clusters=len(set(points.clusters)), seed=seed,
            method=layout.method, begun_from=layout.begun_from, movement=movement, rows_sha256=mapped.rows_sha256,
            digest=written.digest, without_picture=written.without_picture,
            page_bytes=len(written.page.encode("utf-8")), side_bytes=written.side_bytes,
            duration_s=round(time.monotonic() - started, 3),
        )  # fmt: skip
        made.save(side.facts)
    write_map_page(place.page, written)
    return made


def _review_page(batch: BatchKey) -> str:
    """Return the way from the pack's `qa-samples/` to the review page of a batch."""
    return "index.html" if batch.batch is None else f"../{batch.batch}/qa-samples/index.html"


def _facts(root: DataRoot, made: StyleMap) -> dict[str, Any]:
    movement = made.movement
    moved = {} if movement is None else {
        "known_presets": movement.known,
        "moved_median_fraction": movement.median_fraction,
        "moved_p95_fraction": movement.p95_fraction,
    }  # fmt: skip
    without = made.without_picture
    return {
        "presets": made.presets,
        "clusters": made.clusters,
        "batches": dg.MetadataValue.md("\n".join(f"- {batch.batch}: {batch.presets}" for batch in made.batches)),
        "batches_left_out": dg.MetadataValue.md(
            markdown_table(("batch", "why"), list(made.left_out.items())) if made.left_out else "none"
        ),
        "lineage": made.lineage,
        "lineage_version": made.lineage_version,
        "method": made.method,
        **moved,
        "without_picture": f"{len(without)}: {', '.join(without[:_EXAMPLES])}" if without else "0",
        "page_bytes": made.page_bytes,
        "side_bytes": made.side_bytes,
        "seed": made.seed,
        "duration_s": made.duration_s,
        "page": dg.MetadataValue.path(str(root.style_map(made.pack).page)),
        "open": dg.MetadataValue.url(root.style_map(made.pack).page.resolve().as_uri()),
    }
