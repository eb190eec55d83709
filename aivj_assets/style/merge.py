"""A pack's index from its accepted batches: entries gathered, cluster ids and energies of the lineage's head."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from aivj_assets.contracts.embeddings import ModelCard, require_same_card
from aivj_assets.contracts.lineage import EnergyCuts
from aivj_assets.contracts.style import StyleEntry, StyleIndex
from aivj_assets.errors import UserError
from aivj_assets.style.energy import EnergyTiers, energy_by_cuts, energy_by_motion, uneven_tier


@dataclass(frozen=True)
class AcceptedBatch:
    """What publication takes from one batch. `motion` is {presetId: motion in 0..1} of its indexed presets."""

    batch: str
    fingerprint: str
    card: ModelCard
    v1: StyleIndex
    v0: StyleIndex
    motion: Mapping[str, float]


@dataclass(frozen=True)
class PackIndex:
    """The pack's index in both versions."""

    v1: StyleIndex
    v0: StyleIndex


def require_mergeable(pack: str, batches: Sequence[AcceptedBatch]) -> None:
    """Raise `UserError` unless batches may lie in one index.

    They may not when there is none, when two were rendered with different pixel parameters or embedded by different
    models (their figures do not compare), or when two hold the same preset id.
    """
    if not batches:
        raise UserError(f"Pack '{pack}' has no accepted batch to publish.")
    first = batches[0]
    for other in batches[1:]:
        if other.fingerprint != first.fingerprint:
            raise UserError(
                f"Pack '{pack}': {first.batch} was rendered with parameters {first.fingerprint}, {other.batch} with "
                f"{other.fingerprint}; frames of two kinds never lie in one index. Render one of them again."
            )
    require_same_card(
        {f"batch {batch.batch}": batch.card for batch in batches},
        f"embed batches again so that all carry one card (aivj profile {pack} shows which is the lineage's)",
    )
    _require_unique(pack, batches)


def settle_cuts(
    pack: str,
    motion: Mapping[str, float],
    known: EnergyCuts | None,
    *,
    major_since: bool,
    lineage_version: int,
    at: str,
) -> EnergyCuts:
    """Return the cut points of motion (0..1) that hold for a pack: those known, or the pack's own terciles.

    They are drawn anew when there are none, after a `major` of the lineage, and when a tier has left 25-42% of the
    pack. `flips` then counts the presets that get another energy.
    """
    before = None if known is None else energy_by_cuts(motion, known.calm_max, known.groove_max)
    if known is None or before is None:
        reason = "the first of the lineage"
    elif major_since:
        reason = "the lineage has had a major"
    else:
        uneven = uneven_tier(before)
        if uneven is None:
            return known
        reason = uneven
    drawn = energy_by_motion(motion)
    if known is not None and (drawn.calm_max, drawn.groove_max) == (known.calm_max, known.groove_max):
        # Many presets that move alike: no cut is better.
        return known
    after = energy_by_cuts(motion, drawn.calm_max, drawn.groove_max)
    flips = 0 if before is None else sum(before.energies[name] != energy for name, energy in after.energies.items())
    return EnergyCuts(
        calm_max=drawn.calm_max, groove_max=drawn.groove_max, drawn_at=at, drawn_from=pack,
        lineage_version=lineage_version, presets=len(motion), reason=reason, flips=flips,
    )  # fmt: skip


def merge_batches(
    pack: str,
    batches: Sequence[AcceptedBatch],
    generated_at: str,
    *,
    clusters: Mapping[str, str],
    tiers: EnergyTiers,
    left_out: Collection[str] = (),
    tags: Mapping[str, Sequence[str]] | None = None,
) -> PackIndex:
    """Merge the indexes of a pack's accepted batches, in the order given.

    `clusters` are {presetId: cluster id} and `tiers` the energies over the whole pack: they replace what the batches'
    own indexes say. `left_out` are presets that get no entry, `tags` {cluster id: further tags of its entries}. Raises
    `UserError` when the batches may not lie in one index or a preset has no cluster.
    """
    require_mergeable(pack, batches)
    lost = [entry.preset_id for batch in batches for entry in batch.v1.entries if entry.preset_id not in clusters]
    if lost:
        raise UserError(
            f"Pack '{pack}': {len(lost)} indexed presets have no cluster in the lineage, e.g. '{lost[0]}'; materialise "
            "clusters of their batch again."
        )
    further = tags or {}
    v1 = [
        _settled(entry, clusters, tiers, further)
        for batch in batches
        for entry in batch.v1.entries
        if entry.preset_id not in left_out
    ]
    v0 = [entry for batch in batches for entry in batch.v0.entries if entry.preset_id not in left_out]
    made_of = [{"batch": batch.batch, "fingerprint": batch.fingerprint} for batch in batches]
    return PackIndex(
        StyleIndex.model_validate(
            {"version": "v1", "generated_at": generated_at, "pack": pack, "entries": v1, "batches": made_of}
        ),
        StyleIndex.model_validate(
            {"version": "v0", "generated_at": generated_at, "pack": pack, "entries": v0, "batches": made_of}
        ),
    )


def _require_unique(pack: str, batches: Sequence[AcceptedBatch]) -> None:
    owner: dict[str, str] = {}
    for batch in batches:
        for entry in batch.v1.entries:
            other = owner.setdefault(entry.preset_id, batch.batch)
            if other != batch.batch:
                raise UserError(
                    f"Pack '{pack}': preset '{entry.preset_id}' is in {other} and in {batch.batch}; "
                    "take it out of one manifest."
                )


def _settled(
    entry: StyleEntry, clusters: Mapping[str, str], tiers: EnergyTiers, further: Mapping[str, Sequence[str]]
) -> StyleEntry:
    cluster, energy = clusters[entry.preset_id], tiers.energies[entry.preset_id]
    now = {"cluster": f"cluster:{cluster}", "energy": f"energy:{energy}"}
    tags = [now.get(tag.partition(":")[0], tag) for tag in entry.tags]
    tags += [tag for tag in further.get(cluster, ()) if tag not in tags]
    return entry.model_copy(update={"author_key": cluster, "energy": energy, "tags": tags})
