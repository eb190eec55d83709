"""Near-duplicates and misfits of a batch, with what a person decided before and with the pack's other batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from aivj_assets.cluster.rows import RowParts
from aivj_assets.cluster.version import shas_of
from aivj_assets.contracts.clusters import Clusters, cluster_id
from aivj_assets.contracts.embeddings import Embeddings
from aivj_assets.contracts.findings import Finding
from aivj_assets.contracts.frames_index import read_records
from aivj_assets.contracts.lineage import LineageBatch
from aivj_assets.contracts.qa_duplicates import DUPLICATES_NAME, DuplicateThresholds, QaDuplicates
from aivj_assets.contracts.unaccepted import is_marked
from aivj_assets.contracts.verdicts import LineageVerdicts
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir, BatchKey, DataRoot
from aivj_assets.orchestration.lineage.store import Lineage
from aivj_assets.qa.duplicate_checks import DUPLICATE_CHECKS, check_duplicates
from aivj_assets.qa.duplicates import OtherBatch, Records, find_duplicates


def batch_duplicates(
    root: DataRoot,
    batch: BatchKey,
    clusters: Clusters,
    embeddings: Embeddings,
    *,
    records: Records,
    manifest_ids: list[str],
    thresholds: DuplicateThresholds,
) -> QaDuplicates:
    """Return a batch's near-duplicates and misfits (see `find_duplicates`); raises `UserError`.

    What a person kept before is kept, what one dropped is not asked for again. Batches of the same pack that are in the
    lineage are looked through too: what is published together should not be there twice.
    """
    is_in_lineage = clusters.lineage is not None and not is_marked(clusters)
    folder = root.lineage(clusters.lineage.name) if clusters.lineage is not None else None
    decided = LineageVerdicts.of(folder).presets if folder is not None and is_in_lineage else {}
    return find_duplicates(
        root.batch(batch),
        batch,
        clusters,
        embeddings,
        records=records,
        manifest_ids=manifest_ids,
        thresholds=thresholds,
        kept=[name for name, decision in decided.items() if decision.choice == "keep"],
        dropped=[name for name, decision in decided.items() if decision.choice == "drop"],
        others=_other_batches(root, batch, clusters) if is_in_lineage else (),
    )


def duplicate_facts(found: QaDuplicates) -> dict[str, Any]:
    """Return the figures for the metadata of `qa_samples`."""
    return {
        "unique": found.counts.unique,
        "exact_duplicates": found.counts.exact_duplicates,
        "near_duplicates": found.counts.near_duplicates,
        "duplicate_groups": len(found.groups),
        "duplicates_in_other_batches": len(found.elsewhere),
        "misfits": found.counts.misfits,
        "near_duplicate_thresholds": f"at most {found.thresholds.max_hash_distance} of 64 bits of the captures' "
        f"perceptual hashes and a cosine of at least {found.thresholds.min_cosine:g}, within a cluster",
    }


def duplicate_findings(folder: BatchDir) -> list[Finding]:
    """Return the findings `near_duplicates` and `misfits`; both fail where none were looked for."""
    try:
        return check_duplicates(QaDuplicates.load(folder.qa_dir / DUPLICATES_NAME))
    except UserError as error:
        return [Finding(name, False, f"{error} Materialise qa_samples again.", "warning") for name in DUPLICATE_CHECKS]


def _other_batches(root: DataRoot, batch: BatchKey, clusters: Clusters) -> Iterator[OtherBatch]:
    """Yield the other batches of the pack as the version of the lineage knows them, of which the clusters are."""
    if clusters.lineage is None or batch.batch is None:
        return
    lineage = Lineage.at(root.lineage(clusters.lineage.name), clusters.lineage.version)
    others = [known for known in lineage.facts.batches if _is_beside(BatchKey.parse(known.key), batch)]
    if others:
        library = lineage.version.library(lineage.open_rows)
        yield from (_other_batch(root, lineage, library, known) for known in others)


def _is_beside(one: BatchKey, batch: BatchKey) -> bool:
    return one.pack == batch.pack and one != batch


def _other_batch(root: DataRoot, lineage: Lineage, library: RowParts, known: LineageBatch) -> OtherBatch:
    folder = root.batch(BatchKey.parse(known.key))
    members = lineage.members(known)
    places = lineage.version.places_of(shas_of(members.preset_sha256))
    there = np.flatnonzero(places >= 0)
    at = places[there]
    return OtherBatch(
        key=known.key,
        folder=folder,
        preset_ids=[members.preset_ids[place] for place in there.tolist()],
        clusters=[cluster_id(int(number)) for number in lineage.version.numbers[at]],
        rows=lambda wanted: library.take(at[wanted]),
        records=lambda: read_records(folder.frames_index),
    )
