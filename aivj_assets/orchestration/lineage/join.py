"""A batch joins its lineage: the one place where cluster ids of presets come about.

Order of what is written: the version's folder, the batch's own files, then the lineage's head. Killed anywhere before
the last, the lineage is as it was and the same run gives the same version again; killed after it, the batch is found to
be in the lineage already and its files are written from there.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from aivj_assets.cluster.checks import check_clusters
from aivj_assets.cluster.choose_k import DEFAULT_K, DEFAULT_PRESETS_PER_CLUSTER, capped_k
from aivj_assets.cluster.lineage import Act, BatchRows, found, join
from aivj_assets.cluster.rows import RowParts, check_unit_rows, count_distinct
from aivj_assets.cluster.state import LineageParameters, LineageState
from aivj_assets.cluster.strategies import DEFAULT_STRATEGY, STRATEGIES
from aivj_assets.cluster.version import Version, shas_of
from aivj_assets.contracts.base import utc_now
from aivj_assets.contracts.clusters import BatchLineage, Cluster, Clusters, cluster_id, load_centroids, save_centroids
from aivj_assets.contracts.embeddings import Embeddings
from aivj_assets.contracts.frames_index import read_records
from aivj_assets.contracts.frames_meta import FramesMeta
from aivj_assets.contracts.lineage import LineageBatch, LineageMembers
from aivj_assets.contracts.profile import LineageProfile
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir, BatchKey, DataRoot, LineageDir, sha256_file
from aivj_assets.orchestration.file_lock import held_lock
from aivj_assets.orchestration.lineage.labels import update_labels
from aivj_assets.orchestration.lineage.store import (
    Lineage,
    NextVersion,
    card_digest,
    lineage_of,
    put_in_force,
    require_not_removed,
    stage,
)
from aivj_assets.orchestration.profile import batch_card

# A major of 130,000 presets takes a minute.
LINEAGE_TIMEOUT_S = 900.0


@dataclass(frozen=True)
class ClusterChoice:
    """What a person chose; None takes the default."""

    k: int | None = None
    reason: str | None = None
    seed: int | None = None
    k_limit: int | None = None
    strategy: str | None = None


@dataclass(frozen=True)
class JoinedBatch:
    """A batch in its lineage. `act` is None when it was there already with the same presets and rows."""

    lineage: Lineage
    act: Act | None
    clusters: Clusters
    former: Lineage | None


def preset_shas(root: DataRoot, batch: BatchKey, preset_ids: list[str]) -> list[str]:
    """Return by what presets are known in a lineage: the SHA-256 of their content.

    Where the index does not tell it (another tool wrote it), a preset is known by its pack and id alone.
    """
    records = read_records(root.batch(batch).frames_index)
    return [
        (records[name].preset_sha256 if name in records else None)
        or hashlib.sha256(f"id:{batch.pack}/{name}".encode()).hexdigest()
        for name in preset_ids
    ]


@dataclass(frozen=True)
class Joining:
    """A batch on its way into its lineage."""

    root: DataRoot
    folder: LineageDir
    batch: BatchKey
    embeddings: Embeddings
    choice: ClusterChoice
    say: Callable[[str], None] = lambda _: None

    def join(self) -> JoinedBatch:
        """Let the batch join, write its clusters and put the version in force.

        Raises `UserError`, with the lineage as it was, for what `cluster.lineage.join` refuses, a batch that was
        removed, another model than the lineage's, and another k than it began with.
        """
        with held_lock(self.folder.lock, timeout_s=LINEAGE_TIMEOUT_S):
            require_not_removed(self.folder, self.batch)
            former = Lineage.open(self.folder)
            act, k_reason = self._act(former)
            lineage = self._staged(former, act, k_reason) if act is not None else former
            if lineage is None:
                raise _no_version(self.folder)
            update_labels(self.root, lineage, again=False, say=self.say)
            place = self.root.batch(self.batch)
            clusters = batch_clusters(lineage, self.batch, embeddings_sha256=sha256_file(place.embeddings))
            kept = _kept_file(place, clusters) if act is None else None
            if kept is None:
                self._require_sound(clusters, lineage)
                write_batch_clusters(place, lineage, clusters)
            if act is not None:
                put_in_force(lineage)
            clusters = kept or clusters
        return JoinedBatch(lineage, act, clusters, former)

    def preview(self) -> Clusters:
        """Write the clusters that the batch would have, and leave the lineage as it is; for what is past the gates.

        Raises `UserError` as `join` does.
        """
        former = Lineage.open(self.folder)
        act, k_reason = self._act(former)
        version = act.version if act is not None else _version_of(self.folder, former)
        numbers = version.numbers[version.places_of(self.rows.shas)]
        ids = [cluster_id(int(number)) for number in numbers]
        assignments = dict(zip(self.embeddings.preset_ids, ids, strict=True))
        place = self.root.batch(self.batch)
        clusters = Clusters(
            **_listed(version.state, assignments, former.labels if former is not None else {}),
            strategy=self.choice.strategy or DEFAULT_STRATEGY,
            previous=None,
            requested_k=former.facts.requested_k if former is not None else self.choice.k or DEFAULT_K,
            k_reason=k_reason,
            embeddings_sha256=sha256_file(place.embeddings),
        )
        save_centroids(place.centroids, centroids_of(version.state, clusters))
        clusters.save(place.clusters)
        return clusters

    @cached_property
    def rows(self) -> BatchRows:
        """The batch's rows, and by what its presets are known."""
        shas = preset_shas(self.root, self.batch, self.embeddings.preset_ids)
        return BatchRows(self.batch.key, shas_of(shas), np.asarray(self.embeddings.vectors))

    def _act(self, former: Lineage | None) -> tuple[Act | None, str]:
        """Return what the batch does to the lineage, and how its k came about."""
        choice, card = self.choice, self.embeddings.meta.card
        strategy = choice.strategy or DEFAULT_STRATEGY
        if strategy not in STRATEGIES or strategy == "major":
            usual = ", ".join(name for name in STRATEGIES if name != "major")
            raise UserError(
                f"a batch joins by one of the strategies {usual}, not '{strategy}' (a major: aivj lineage major)."
            )
        model = card_digest(card)
        why = None if former is None else self._begins_anew(former)
        if former is None or why is not None:
            parameters, k_reason = _first_parameters(self.rows, choice)
            after = None if former is None else former.version
            return found(self.rows, model=model, parameters=parameters, after=after, reason=why or ""), k_reason
        if choice.k is not None and choice.k != former.facts.requested_k:
            raise UserError(
                f"Lineage '{former.name}' began with k {former.facts.requested_k}, not {choice.k}: the k of a lineage "
                "is that of its first batch, births add to it. Leave k away, raise kLimit, or give the pack a lineage "
                "of its own in aivj-pack.json."
            )
        parameters = former.version.state.parameters
        if choice.k_limit is not None:
            parameters = replace(parameters, k_limit=choice.k_limit)
        act = join(
            former.version, self.rows, strategy=strategy, open_rows=former.open_rows, held=former.held, model=model,
            parameters=parameters,
        )  # fmt: skip
        return act, former.facts.k_reason

    def _begins_anew(self, former: Lineage) -> str | None:
        """Return why the lineage begins again with this batch, None when it goes on.

        Raises `UserError` for another model while another batch carries the lineage's.
        """
        card, choice = self.embeddings.meta.card, self.choice
        if card != former.facts.card:
            holder = self._card_holder(former)
            if holder is not None:
                raise UserError(
                    f"Batch {self.batch} was embedded by {card.name}, lineage '{former.name}' by "
                    f"{former.facts.card.name} (batch {holder} carries that): rows of two models never mix. Embed the "
                    'batch with the lineage\'s model, or give its pack a lineage of its own ("lineage" in '
                    "aivj-pack.json)."
                )
            return f"batch {self.batch} came with another model than {former.facts.card.name}"
        if former.keys != [self.batch.key]:
            return None
        # The only batch of its lineage decides for itself.
        if choice.k is not None and choice.k != former.facts.requested_k:
            return f"a person chose k {choice.k}"
        if choice.seed is not None and choice.seed != former.version.state.parameters.seed:
            return f"a person chose seed {choice.seed}"
        if (former.version.places_of(self.rows.shas) < 0).all():
            return f"batch {self.batch} came again with other presets"
        return None

    def _card_holder(self, former: Lineage) -> str | None:
        """Return another batch of the lineage that carries its card, accepted or not at this moment.

        One that is being made again is not accepted for a while, and a lineage does not end for that. Where a person
        replaced the frozen card by this batch's, the lineage goes over to it batch by batch: none counts.
        """
        frozen = LineageProfile.of(self.folder).embedding
        if frozen is not None and frozen.card == self.embeddings.meta.card:
            return None
        for key in former.keys:
            other = BatchKey.parse(key)
            if other == self.batch:
                continue
            if batch_card(self.root, other) in (None, former.facts.card):
                return key
        return None

    def _staged(self, former: Lineage | None, act: Act, k_reason: str) -> Lineage:
        place, state, rows = self.root.batch(self.batch), act.version.state, self.rows
        line = LineageBatch(
            key=self.batch.key, joined=state.version, joined_at=utc_now(), presets=len(rows.shas),
            brought=len(act.brought), fingerprint=FramesMeta.load(place.frames_meta).fingerprint,
            embeddings_sha256=sha256_file(place.embeddings),
        )  # fmt: skip
        goes_on = former if former is not None and state.kind != "anew" else None
        earlier = goes_on.facts.batches if goes_on is not None else []
        members = LineageMembers(
            batch=self.batch.key, preset_ids=self.embeddings.preset_ids,
            preset_sha256=[sha.decode() for sha in rows.shas.tolist()], brought=act.brought.tolist(),
        )  # fmt: skip
        what = NextVersion(
            strategy=self.choice.strategy or DEFAULT_STRATEGY,
            batches=[*(other for other in earlier if other.key != self.batch.key), line],
            card=self.embeddings.meta.card,
            requested_k=goes_on.facts.requested_k if goes_on is not None else self.choice.k or DEFAULT_K,
            k_reason=k_reason,
            batch=self.batch.key,
            members=members,
            rows=np.asarray(rows.rows[act.brought]),
        )
        return stage(self.folder, former, act, what)

    def _require_sound(self, clusters: Clusters, lineage: Lineage) -> None:
        """Raise `UserError` before anything is in force that the checks of `clusters` would then reject."""
        bad = [
            finding.detail
            for finding in check_clusters(
                clusters, centroids_of(lineage.version.state, clusters), self.embeddings.preset_ids
            )
            if not finding.passed and finding.severity == "error"
        ]
        if bad:
            raise UserError(f"Batch {self.batch} cannot join lineage '{lineage.name}': {'; '.join(bad)}.")


def _no_version(folder: LineageDir) -> UserError:
    return UserError(f"Lineage '{folder.name}' has no version.")


def _version_of(folder: LineageDir, lineage: Lineage | None) -> Version:
    if lineage is None:
        raise _no_version(folder)
    return lineage.version


def _first_parameters(rows: BatchRows, choice: ClusterChoice) -> tuple[LineageParameters, str]:
    requested = choice.k or DEFAULT_K
    check_unit_rows(RowParts.of(rows.rows), f"batch {rows.key}")
    distinct = count_distinct(np.asarray(rows.rows))
    per_cluster = 1 if choice.k else DEFAULT_PRESETS_PER_CLUSTER
    k, reason = capped_k(requested, len(set(rows.shas.tolist())), per_cluster, distinct=distinct)
    reason = f"{reason} That was its lineage's first batch, {rows.key}."
    why = " ".join((choice.reason or "").split())
    limit = choice.k_limit if choice.k_limit is not None else 2 * requested
    seed = 1 if choice.seed is None else choice.seed
    return LineageParameters(k=k, k_limit=limit, seed=seed), f"{reason} Chosen because: {why}" if why else reason


def batch_clusters(lineage: Lineage, batch: BatchKey, *, embeddings_sha256: str) -> Clusters:
    """Return a batch's clusters as its lineage has them: those that the batch has presets in."""
    known = lineage.batch(batch.key)
    if known is None:
        raise UserError(f"Batch {batch} is not in lineage '{lineage.name}'; materialise clusters.")
    state, facts = lineage.version.state, lineage.facts
    before = lineage.keys[: lineage.keys.index(batch.key)]
    return Clusters(
        **_listed(state, lineage.ids_of(known), lineage.labels),
        strategy=facts.strategy,
        previous=before[-1] if before else None,
        requested_k=facts.requested_k,
        k_reason=facts.k_reason,
        embeddings_sha256=embeddings_sha256,
        lineage=BatchLineage(name=lineage.name, version=facts.number, k=state.k, presets=len(lineage.version)),
    )


def _listed(state: LineageState, assignments: dict[str, str], labels: Mapping[str, str]) -> dict[str, Any]:
    """Return what `clusters.v0.json` says of the clusters of {presetId: cluster id}: those that have a preset in it."""
    sizes = Counter(assignments.values())
    listed = [(place, name) for place, number in enumerate(state.numbers) if (name := cluster_id(int(number))) in sizes]
    return {
        "k": len(listed),
        "seed": state.parameters.seed,
        "clusters": [
            Cluster(
                id=name, size=sizes[name], centroid=row, born_in=state.born_in[place], label=labels.get(name, name),
                library_size=int(state.sizes[place]),
            )
            for row, (place, name) in enumerate(listed)
        ],
        "assignments": assignments,
        "libraries": dict(state.libraries),
    }  # fmt: skip


def _kept_file(place: BatchDir, clusters: Clusters) -> Clusters | None:
    """Return a batch's file when it says the same of its presets as the lineage does now, else None.

    The lineage may have grown since: what was made from the file is not stale for that.
    """
    try:
        known = Clusters.load(place.clusters)
        load_centroids(place.centroids)
    except UserError:
        return None
    same_lineage = (
        known.lineage is not None and clusters.lineage is not None and known.lineage.name == clusters.lineage.name
    )
    same = known.assignments == clusters.assignments and known.embeddings_sha256 == clusters.embeddings_sha256
    labels = [(cluster.id, cluster.label) for cluster in known.clusters]
    return known if same_lineage and same and labels == [(one.id, one.label) for one in clusters.clusters] else None


def ids_are_current(root: DataRoot, batch: BatchKey) -> bool:
    """Whether a batch's clusters say what its lineage says now.

    A minor or major may have changed ids since, or a person may have given the pack another lineage.
    """
    made, folder = Clusters.load(root.batch(batch).clusters), lineage_of(root, batch.pack)
    if made.lineage is None or made.lineage.name != folder.name:
        return False
    lineage = Lineage.open(folder)
    known = None if lineage is None else lineage.batch(batch.key)
    return lineage is not None and known is not None and lineage.ids_of(known) == made.assignments


def centroids_of(state: LineageState, clusters: Clusters) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return the centroids float32 [k, d] of a batch's clusters in their order."""
    numbers = np.array([int(cluster.id[1:]) for cluster in clusters.clusters], dtype=np.int64)
    picked: np.ndarray[tuple[int, int], np.dtype[np.float32]] = state.centroids[state.places(numbers)]
    return picked


def write_batch_clusters(place: BatchDir, lineage: Lineage, clusters: Clusters) -> None:
    """Write a batch's centroids and clusters."""
    save_centroids(place.centroids, centroids_of(lineage.version.state, clusters))
    clusters.save(place.clusters)
