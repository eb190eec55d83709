"""A pack's profile: when its model card is frozen, who holds it, and how a person replaces it.

The card is frozen where a batch is known to be accepted to the end, not where its check passes: by `run_record`, which
every ancestor must have been accepted for, and by `publication`, as nothing is published under a card that is not the
pack's.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

import dagster as dg
from rich.console import Console

from aivj_assets.contracts.embeddings import EmbeddingsMeta, ModelCard
from aivj_assets.contracts.findings import Finding
from aivj_assets.contracts.profile import FrozenCard, PackProfile
from aivj_assets.embed.checks import FROZEN_CARD, check_frozen_card
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot, check_pack_name
from aivj_assets.orchestration.file_lock import held_lock
from aivj_assets.orchestration.guard import acceptance_problem
from aivj_assets.orchestration.instance import open_instance, storage_errors
from aivj_assets.orchestration.stages import PUBLISHED_STAGE
from aivj_assets.report.profile import print_profile

_SUPERSEDED = "no other accepted batch of the pack carried it when {batch} was accepted with another card"


@dataclass(frozen=True)
class BatchCard:
    """One batch of a pack: the card of its rows (None: not embedded) and why it is not accepted, or None."""

    batch: BatchKey
    card: ModelCard | None
    problem: str | None


@dataclass(frozen=True)
class ProfileView:
    """What `aivj profile` shows of a pack."""

    pack: str
    profile: PackProfile
    batches: list[BatchCard]

    def carries_frozen_card(self, row: BatchCard) -> bool:
        """Whether a batch's rows carry the pack's frozen card."""
        return self.profile.embedding is not None and row.card == self.profile.embedding.card

    @property
    def to_embed_again(self) -> list[BatchKey]:
        """Batches whose rows carry another card than the frozen one."""
        return [row.batch for row in self.batches if row.card is not None and not self.carries_frozen_card(row)]

    def to_json(self) -> dict[str, Any]:
        """Return what `aivj profile --json` prints."""
        return {
            "pack": self.pack,
            "embedding": None,
            **self.profile.to_json(),
            "batches": [
                {
                    "batch": row.batch.key,
                    "card": None if row.card is None else row.card.to_json(),
                    "frozen": self.carries_frozen_card(row),
                    "accepted": row.problem is None,
                    "problem": row.problem,
                }
                for row in self.batches
            ],
        }


def batch_card(root: DataRoot, batch: BatchKey) -> ModelCard | None:
    """Return the card of the rows in a batch's folder; None when there are none that can be read."""
    try:
        return EmbeddingsMeta.load(root.batch(batch).embeddings_meta).card
    except UserError:
        return None


def frozen_card_finding(instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey, card: ModelCard) -> Finding:
    """Hold a card against the pack's frozen one; a step can ask before it embeds, as the check does afterwards."""
    try:
        frozen = PackProfile.of_pack(root, batch.pack).embedding
    except UserError as error:
        return Finding(FROZEN_CARD, False, str(error))
    return _finding(instance, root, batch, card, frozen)


def settle_card(instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey, card: ModelCard) -> None:
    """Freeze the card of a batch that is accepted to the end, unless it is frozen already.

    A frozen card that no other batch holds is replaced and kept in the history. Raises `UserError` when another batch
    holds it: one that was accepted while this one was on its way, or that a person re-froze to.
    """
    frozen = PackProfile.of_pack(root, batch.pack).embedding
    if frozen is not None and frozen.card == card:
        return
    with held_lock(root.profile_lock(batch.pack)):
        profile = PackProfile.of_pack(root, batch.pack)
        finding = _finding(instance, root, batch, card, profile.embedding)
        if not finding.passed:
            raise UserError(f"Batch {batch}: {finding.detail}.")
        if profile.embedding is None or profile.embedding.card != card:
            changed = profile.with_card(card, batch.key, _SUPERSEDED.format(batch=batch))
            changed.save(root.profile(batch.pack))


def refreeze(instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey, reason: str) -> bool:
    """Make a batch's card its pack's, by a person's decision; returns whether anything changed.

    The batch's embeddings must be accepted, or rejected by `frozen_card` alone. Raises `UserError` when they are not,
    when nothing is frozen yet, and without a reason: it is kept in the history.
    """
    why = " ".join(reason.split())
    if not why:
        raise UserError("Say why the card is replaced: --reason TEXT; it is kept in the pack's history.")
    problem = acceptance_problem(instance, root, batch, "embeddings", without=(FROZEN_CARD,))
    if problem is not None:
        raise UserError(f"Batch {batch} cannot lend its card to the pack: {problem.rstrip('.')}.")
    card = EmbeddingsMeta.load(root.batch(batch).embeddings_meta).card
    with held_lock(root.profile_lock(batch.pack)):
        profile = PackProfile.of_pack(root, batch.pack)
        if profile.embedding is None:
            raise UserError(
                f"Pack '{batch.pack}' has no frozen card yet: the first batch that is accepted to the end freezes its "
                f"own. Next: aivj run {batch}."
            )
        if profile.embedding.card == card:
            return False
        profile.with_card(card, batch.key, why).save(root.profile(batch.pack))
    return True


def view_profile(instance: dg.DagsterInstance, root: DataRoot, pack: str) -> ProfileView:
    """Gather a pack's profile and the cards of its batches; raises `UserError` when there is no such pack."""
    rows = [
        BatchCard(batch, batch_card(root, batch), acceptance_problem(instance, root, batch, PUBLISHED_STAGE))
        for batch in pack_batches(root, pack)
    ]
    return ProfileView(pack, PackProfile.of_pack(root, pack), rows)


def pack_batches(root: DataRoot, pack: str) -> list[BatchKey]:
    """Return a pack's batches; raises `UserError` naming the known packs when it has none."""
    check_pack_name(pack)
    batches = root.find_batches()
    found = [batch for batch in batches if batch.pack == pack]
    if not found:
        known = ", ".join(sorted({batch.pack for batch in batches})) or "none yet"
        raise UserError(f"There is no pack '{pack}' under {root.presets_dir} (known: {known}).")
    return found


def profile_and_report(
    console: Console, root: DataRoot, pack: str, *, refreeze_to: BatchKey | None, reason: str, as_json: bool
) -> None:
    """Re-freeze a pack's card where asked for, then print its profile."""
    known = pack_batches(root, pack)
    if refreeze_to is not None and refreeze_to not in known:
        raise UserError(f"There is no batch {refreeze_to} (known: {', '.join(batch.key for batch in known)}).")
    with storage_errors(root), open_instance(root, os.environ) as instance:
        changed = refreeze_to is not None and refreeze(instance, root, refreeze_to, reason)
        view = view_profile(instance, root, pack)
    if as_json:
        console.out(json.dumps(view.to_json(), indent=2), highlight=False)
        return
    if refreeze_to is not None:
        console.print(
            f"The card of {refreeze_to} is now the pack's; next: aivj run {refreeze_to}, whose check then passes."
            if changed
            else f"Nothing to change: the card of {refreeze_to} is the pack's already.",
            highlight=False,
            soft_wrap=True,
        )
    print_profile(console, pack, view.profile, [(row.batch.key, row.card, row.problem) for row in view.batches])
    if view.profile.embedding is not None:
        for batch in view.to_embed_again:
            console.print(
                f"{batch} carries another card: embed it with the pack's model (aivj run {batch}), or it is not "
                "published.",
                markup=False,
                soft_wrap=True,
            )


def _finding(
    instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey, card: ModelCard, frozen: FrozenCard | None
) -> Finding:
    holder = None if frozen is None or frozen.card == card else _other_holder(instance, root, batch, frozen)
    return check_frozen_card(card, batch.key, frozen, holder)


def _other_holder(instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey, frozen: FrozenCard) -> str | None:
    """Return another batch of the pack whose rows carry the frozen card, or None when it may be replaced.

    Besides accepted batches the one that it was frozen from counts while its rows carry it: it may be on its way to be
    accepted again, and a person may have re-frozen to it before its check was repeated.
    """
    others = [other for other in root.find_batches() if other.pack == batch.pack and other != batch]
    carriers = [other for other in others if batch_card(root, other) == frozen.card]
    for other in sorted(carriers, key=lambda other: other.key != frozen.batch):
        if other.key == frozen.batch or acceptance_problem(instance, root, other, PUBLISHED_STAGE) is None:
            return other.key
    return None
