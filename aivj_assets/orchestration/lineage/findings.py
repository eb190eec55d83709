"""What the checks of `clusters` ask of a batch's lineage: published ids kept, centroids that turn, presets far off."""

from __future__ import annotations

import numpy as np

from aivj_assets.cluster.checks import check_drift, check_far
from aivj_assets.cluster.lloyd import own_cosines
from aivj_assets.cluster.rows import RowParts
from aivj_assets.contracts.clusters import Clusters
from aivj_assets.contracts.embeddings import load_embeddings
from aivj_assets.contracts.findings import Finding, examples
from aivj_assets.contracts.unaccepted import is_marked
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.lineage.store import Lineage, centroid_drift, stored_churn_problem

PUBLISHED_IDS_KEPT = "published_ids_kept"


def lineage_findings(root: DataRoot, batch: BatchKey, clusters: Clusters) -> list[Finding]:
    """Hold a batch's clusters against the version of its lineage that they are of, and that one against its parent.

    Raises `UserError` when the lineage's files are missing or broken.
    """
    if is_marked(clusters):
        detail = "not asked: made past the gates, the batch is in no lineage"
        return [Finding(name, True, detail) for name in (PUBLISHED_IDS_KEPT, "centroid_drift", "far_from_centroids")]
    if clusters.lineage is None:
        raise UserError(f"{root.batch(batch).clusters} names no lineage; materialise clusters again.")
    lineage = Lineage.at(root.lineage(clusters.lineage.name), clusters.lineage.version)
    parent = lineage.parent()
    return [
        _kept(lineage, batch, clusters),
        check_drift(
            {} if parent is None or lineage.facts.kind == "anew" else centroid_drift(parent.version, lineage.version)
        ),
        _far(root, batch, lineage, parent, clusters),
    ]


def _kept(lineage: Lineage, batch: BatchKey, clusters: Clusters) -> Finding:
    known = lineage.batch(batch.key)
    if known is None:
        return Finding(PUBLISHED_IDS_KEPT, False, f"version {lineage.facts.number} of the lineage has no batch {batch}")
    ids = lineage.ids_of(known)
    differ = sorted(
        name for name in ids.keys() | clusters.assignments.keys() if ids.get(name) != clusters.assignments.get(name)
    )
    if differ:
        detail = f"{len(differ)} presets have another cluster than in the lineage ({examples(differ)})"
        return Finding(PUBLISHED_IDS_KEPT, False, f"{detail}; materialise clusters again")
    problem = stored_churn_problem(lineage)
    if problem is not None:
        return Finding(PUBLISHED_IDS_KEPT, False, f"version {lineage.facts.number} {problem}")
    facts = lineage.facts
    detail = (
        f"version {facts.number} of lineage '{lineage.name}' ({facts.kind}) changed {facts.changed} published ids, "
        f"each in its migration table; {facts.since_first_changed} of {facts.presets} differ from their first one"
        if facts.changed
        else f"version {facts.number} of lineage '{lineage.name}' ({facts.kind}) changed no published id"
    )
    return Finding(
        PUBLISHED_IDS_KEPT,
        True,
        detail,
        figures={"changed_ids": facts.changed, "since_first": facts.since_first_changed},
    )


def _far(root: DataRoot, batch: BatchKey, lineage: Lineage, parent: Lineage | None, clusters: Clusters) -> Finding:
    """Measure against the clusters as they were before the batch; a first version against itself."""
    state = (parent if parent is not None and lineage.facts.kind != "anew" else lineage).version.state
    embeddings = load_embeddings(root.batch(batch))
    numbers = np.array([int(clusters.assignments[name][1:]) for name in embeddings.preset_ids], dtype=np.int64)
    # Presets of clusters that were founded with the batch are where they belong.
    there = np.flatnonzero(np.isin(numbers, state.numbers))
    places = state.places(numbers[there])
    rows = RowParts.of(np.asarray(embeddings.vectors)[there])
    known = state.clustering(state.parameters.births)
    return check_far(own_cosines(rows, known.centroids, places), known.low_cosines[places])
