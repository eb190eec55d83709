"""What a lineage's verdicts mean for its version in force: which carry over, which are asked for again.

A verdict is of a cluster as it was in one version of its lineage. It carries over until the cluster changed much:

- more than a third of its presets are new since: a person who saw only good samples would then have missed a third
  of bad ones, and would have said "mixed";
- or its centroid has a cosine below 0.97 with that of then. On 1,495 real presets in 24 clusters, a third of new ones
  by chance leaves 0.995, twice as many new ones as old ones about 0.97 at the worst tenth; the nearest other cluster
  has 0.87. So it is a cluster whose members were exchanged (a minor, a major, a batch that left or was embedded anew)
  or one that grew in one direction.

Shares count presets by content; presets that left do not count: nothing unseen comes with them. A verdict that is asked
for again stays in force until it is given again: a bad cluster does not come back by growing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from aivj_assets.cluster.version import Version
from aivj_assets.contracts.clusters import Clusters, cluster_id
from aivj_assets.contracts.findings import Finding
from aivj_assets.contracts.pack_settings import PackSettings
from aivj_assets.contracts.run_meta import QaVerdict
from aivj_assets.contracts.unaccepted import is_marked
from aivj_assets.contracts.verdicts import LineageVerdicts, Said, Statement
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.lineage.store import Lineage, lineage_of
from aivj_assets.qa.conclusion import QA_REVIEWED, KnownVerdict, check_reviewed, conclude

MAX_NEW_FRACTION = 1 / 3
MIN_COSINE = 0.97


@dataclass(frozen=True)
class ClusterChange:
    """How a cluster changed between two versions: share of its presets that are new, cosine of its two centroids."""

    new_fraction: float
    cosine: float

    @property
    def why(self) -> str | None:
        """Why its verdict is asked for again, None when it carries over."""
        if self.new_fraction > MAX_NEW_FRACTION:
            return f"{self.new_fraction:.0%} of its presets are new since"
        if self.cosine < MIN_COSINE:
            return f"its centre moved since (cosine {self.cosine:.3f})"
        return None


def cluster_changes(then: Version, now: Version) -> dict[str, ClusterChange]:
    """Return {cluster id: its change} of the clusters that both versions have."""
    common, old, new = np.intersect1d(then.state.numbers, now.state.numbers, return_indices=True)
    cosines = np.einsum("ij,ij->i", then.state.centroids[old], now.state.centroids[new], dtype=np.float64)
    # The cluster that each of today's presets was in then; -1 where it was in none.
    order = np.argsort(then.shas)
    places = np.minimum(np.searchsorted(then.shas, now.shas, sorter=order), len(then.shas) - 1)
    known = then.shas[order[places]] == now.shas
    before = np.where(known, then.numbers[order[places]], -1)
    changes = {}
    for number, cosine in zip(common.tolist(), cosines.tolist(), strict=True):
        members = now.numbers == number
        fresh = float((before[members] != number).mean()) if members.any() else 0.0
        changes[cluster_id(number)] = ClusterChange(fresh, cosine)
    return changes


@dataclass
class Judged:
    """The verdicts of a lineage, held against its version in force."""

    root: DataRoot
    lineage: Lineage
    verdicts: LineageVerdicts
    _changes: dict[int, Mapping[str, ClusterChange]] = field(default_factory=dict)

    @classmethod
    def open(cls, root: DataRoot, name: str) -> Judged | None:
        """Read a lineage and its verdicts; None when it has no version. Raises `UserError` for broken files."""
        folder = root.lineage(name)
        lineage = Lineage.open(folder)
        return None if lineage is None else cls(root, lineage, LineageVerdicts.of(folder))

    @cached_property
    def known(self) -> dict[str, KnownVerdict]:
        """What counts of each living cluster of which anything was said."""
        found = {}
        for number in sorted(self.lineage.version.state.numbers.tolist()):
            name = cluster_id(number)
            one = self._known(name, self.verdicts.said(name))
            if one is not None:
                found[name] = one
        return found

    def _known(self, name: str, said: Said) -> KnownVerdict | None:
        given = [one for one in (said.verdict, said.label, said.note) if one is not None]
        if not given:
            return None
        verdict = said.verdict
        why = None if verdict is None else self._why_again(name, verdict)
        return KnownVerdict(
            verdict=verdict.verdict if verdict else None,
            label=said.label.label if said.label else None,
            note=said.note.note if said.note else None,
            # The verdict's own time: a page exports it again as that statement.
            at=(verdict or given[0]).at,
            carried=True if why is None else "changed",
            reviewer=(verdict or given[0]).reviewer,
            why=why,
        )

    def _why_again(self, name: str, verdict: Statement) -> str | None:
        number = verdict.lineage_version
        if number not in self._changes:
            self._changes[number] = self._changes_since(number)
        change = self._changes[number].get(name)
        return "the version that was judged is not known any more" if change is None else change.why

    def _changes_since(self, number: int) -> Mapping[str, ClusterChange]:
        if number == self.lineage.facts.number:
            then = self.lineage.version
        else:
            try:
                then = Lineage.at(self.lineage.folder, number).version
            except UserError:
                return {}
        return cluster_changes(then, self.lineage.version)

    def conclusion(self, batch: BatchKey) -> QaVerdict:
        """Return what the verdicts come to for a batch, by the clusters that its sheets show; raises `UserError`."""
        made = Clusters.load(self.root.batch(batch).clusters)
        sizes = {cluster.id: cluster.size for cluster in made.clusters}
        return conclude(sizes, self.known, PackSettings.of_pack(self.root, batch.pack).qa)


def known_verdicts(root: DataRoot, batch: BatchKey) -> dict[str, dict[str, Any]]:
    """Return {cluster: {verdict, label, note, at, carried, why}} of the living clusters that were judged.

    `carried` is True, or "changed" where the verdict is asked for again. Empty when nothing was said or the batch's
    lineage has no version. Raises `UserError` for broken files.
    """
    judged = Judged.open(root, lineage_of(root, batch.pack).name)
    if judged is None:
        return {}
    return {
        name: {
            "verdict": one.verdict, "label": one.label, "note": one.note, "at": one.at, "carried": one.carried,
            "why": one.why,
        }
        for name, one in judged.known.items()
    }  # fmt: skip


def batch_conclusion(root: DataRoot, batch: BatchKey) -> QaVerdict | None:
    """Return what the verdicts of its lineage come to for a batch; None while nobody judged any of its clusters."""
    folder = lineage_of(root, batch.pack)
    judged = Judged.open(root, folder.name) if folder.verdicts.exists() else None
    if judged is None:
        return None
    qa = judged.conclusion(batch)
    return qa if qa.counts and qa.counts["reviewed"] + qa.counts["askedAgain"] else None


def reviewed_finding(root: DataRoot, batch: BatchKey) -> Finding:
    """Return the finding of `qa_reviewed` for a batch; raises `UserError` for broken files."""
    made = Clusters.load(root.batch(batch).clusters)
    if is_marked(made):
        return Finding(QA_REVIEWED, True, "not asked: made past the gates, the batch is in no lineage", "warning")
    judged = Judged.open(root, lineage_of(root, batch.pack).name)
    settings = PackSettings.of_pack(root, batch.pack).qa
    sizes = {cluster.id: cluster.size for cluster in made.clusters}
    return check_reviewed(conclude(sizes, {} if judged is None else judged.known, settings), settings)
