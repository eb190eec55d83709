"""A pack's index from its accepted batches: entries gathered, energy tiers cut anew over the whole pack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aivj_assets.contracts.embeddings import ModelCard, require_same_card
from aivj_assets.contracts.style import StyleEntry, StyleIndex
from aivj_assets.errors import UserError
from aivj_assets.style.energy import EnergyTiers, energy_by_motion


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
    """The pack's index in both versions, and how its energy tiers were cut."""

    v1: StyleIndex
    v0: StyleIndex
    tiers: EnergyTiers


def merge_batches(pack: str, batches: Sequence[AcceptedBatch], generated_at: str) -> PackIndex:
    """Merge the indexes of a pack's accepted batches, in the order given.

    Raises `UserError` when there is no batch, when two were rendered with different pixel parameters or embedded by
    different models (their figures do not compare), or when two hold the same preset id.
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
        f"embed batches again so that all carry one card (aivj profile {pack} shows which is the pack's)",
    )
    _require_unique(pack, batches)
    tiers = energy_by_motion({key: value for batch in batches for key, value in batch.motion.items()})
    v1 = [_with_energy(entry, tiers) for batch in batches for entry in batch.v1.entries]
    v0 = [entry for batch in batches for entry in batch.v0.entries]
    made_of = [{"batch": batch.batch, "fingerprint": batch.fingerprint} for batch in batches]
    return PackIndex(
        StyleIndex.model_validate(
            {"version": "v1", "generated_at": generated_at, "pack": pack, "entries": v1, "batches": made_of}
        ),
        StyleIndex.model_validate(
            {"version": "v0", "generated_at": generated_at, "pack": pack, "entries": v0, "batches": made_of}
        ),
        tiers,
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


def _with_energy(entry: StyleEntry, tiers: EnergyTiers) -> StyleEntry:
    energy = tiers.energies[entry.preset_id]
    tags = [f"energy:{energy}" if tag.startswith("energy:") else tag for tag in entry.tags]
    return entry.model_copy(update={"energy": energy, "tags": tags})
