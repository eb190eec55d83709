"""A lineage's profile: when its model card and pixel parameters are frozen, who holds them, how a person replaces them.

They are frozen where a batch is known to be accepted to the end, not where its check passes: by `run_record`, which
every ancestor must have been accepted for, and by `publication`, as nothing is published under a card or parameters
that are not the lineage's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dagster as dg
from rich.console import Console

from aivj_assets.contracts.embeddings import EmbeddingsMeta, ModelCard
from aivj_assets.contracts.findings import Finding
from aivj_assets.contracts.frames_meta import FramesMeta
from aivj_assets.contracts.pack_settings import PackSettings
from aivj_assets.contracts.profile import (
    CARD,
    FROZEN_CARD,
    PARAMETERS_FROZEN,
    PIXELS,
    Facet,
    Frozen,
    FrozenCard,
    LineageProfile,
    check_frozen,
    pixels_name,
)
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot, LineageDir
from aivj_assets.orchestration.file_lock import held_lock
from aivj_assets.orchestration.guard import acceptance_problem
from aivj_assets.orchestration.instance import open_instance, storage_errors
from aivj_assets.orchestration.lineage.store import lineage_of
from aivj_assets.orchestration.stages import PUBLISHED_STAGE
from aivj_assets.report.profile import ProfileRow, print_profile

_SUPERSEDED = "no other accepted batch of the lineage carried it when {batch} was accepted with another"
_FROZEN_CHECKS = (FROZEN_CARD, PARAMETERS_FROZEN)


@dataclass(frozen=True)
class BatchProfile:
    """What one batch of a lineage carries (None: not made yet, or not known) and why it is not accepted, or None."""

    batch: BatchKey
    card: ModelCard | None
    pixels: dict[str, Any] | None
    problem: str | None


@dataclass(frozen=True)
class ProfileView:
    """What `aivj profile` shows of a lineage."""

    lineage: str
    profile: LineageProfile
    batches: list[BatchProfile]

    def carries_frozen_card(self, row: BatchProfile) -> bool:
        """Whether a batch's rows carry the lineage's frozen card."""
        return self.profile.embedding is not None and row.card == self.profile.embedding.card

    def carries_frozen_pixels(self, row: BatchProfile) -> bool:
        """Whether a batch's frames were rendered with the lineage's frozen pixel parameters."""
        return self.profile.pixels is not None and row.pixels == self.profile.pixels.parameters

    def to_json(self) -> dict[str, Any]:
        """Return what `aivj profile --json` prints."""
        return {
            "lineage": self.lineage,
            "embedding": None,
            "pixels": None,
            **self.profile.to_json(),
            "batches": [
                {
                    "batch": row.batch.key,
                    "card": None if row.card is None else row.card.to_json(),
                    "frozen": self.carries_frozen_card(row),
                    "pixels": row.pixels,
                    "pixelsFrozen": self.carries_frozen_pixels(row),
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


def batch_pixels(root: DataRoot, batch: BatchKey) -> dict[str, Any] | None:
    """Return the pixel parameters of the frames in a batch's folder; None when they are not there or not known."""
    try:
        return known_pixels(FramesMeta.load(root.batch(batch).frames_meta))
    except UserError:
        return None


def known_pixels(meta: FramesMeta) -> dict[str, Any] | None:
    """Return the pixel parameters of frames; None where they were adopted from a tool that does not tell them all."""
    return None if meta.fingerprint.startswith("adopted-") else meta.pixel_parameters


def lineage_batches(root: DataRoot, lineage: str) -> list[BatchKey]:
    """Return the batches of the packs that a lineage goes through; packs whose settings are broken are passed over."""
    of_pack: dict[str, bool] = {}
    batches = root.find_batches()
    for batch in batches:
        if batch.pack not in of_pack:
            try:
                of_pack[batch.pack] = PackSettings.of_pack(root, batch.pack).lineage == lineage
            except UserError:
                of_pack[batch.pack] = False
    return [batch for batch in batches if of_pack[batch.pack]]


def frozen_card_finding(instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey, card: ModelCard) -> Finding:
    """Hold a card against the lineage's frozen one; a step can ask before it embeds, as the check does afterwards."""
    try:
        return _Hold.of(instance, root, batch).card(card)
    except UserError as error:
        return Finding(FROZEN_CARD, False, str(error))


def frozen_pixels_finding(
    instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey, pixels: dict[str, Any] | None
) -> Finding:
    """Hold pixel parameters (None: not known) against the lineage's frozen ones; a step can ask before it renders."""
    try:
        return _Hold.of(instance, root, batch).pixels(pixels)
    except UserError as error:
        return Finding(PARAMETERS_FROZEN, False, str(error))


def settle_profile(
    instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey, card: ModelCard, pixels: dict[str, Any] | None
) -> None:
    """Freeze what a batch that is accepted to the end carries, unless it is frozen already.

    What no other batch holds is replaced and kept in the history. Raises `UserError` when another batch holds it: one
    that was accepted while this one was on its way, or that a person re-froze to. Pixel parameters that are not known
    (`pixels` None) freeze nothing.
    """
    folder = lineage_of(root, batch.pack)
    if _carries(LineageProfile.of(folder), card, pixels):
        return
    with held_lock(folder.profile_lock):
        hold = _Hold.of(instance, root, batch)
        for finding in (hold.card(card), *([hold.pixels(pixels)] if pixels is not None else [])):
            if not finding.passed:
                raise UserError(f"Batch {batch}: {finding.detail}.")
        _freeze(folder, hold.profile, BatchProfile(batch, card, pixels, None), _SUPERSEDED.format(batch=batch))


def refreeze(instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey, reason: str) -> bool:
    """Make what a batch carries its lineage's, by a person's decision; returns whether anything changed.

    Its frames (and, where they are made from these, its embeddings) must be accepted, or rejected by the checks of what
    is frozen alone. Raises `UserError` when they are not, when nothing is frozen yet, and without a reason: it is kept
    in the history.
    """
    why = " ".join(reason.split())
    if not why:
        raise UserError("Say why it is replaced: --reason TEXT; it is kept in the lineage's history.")
    folder = lineage_of(root, batch.pack)
    problem = acceptance_problem(instance, root, batch, "frames", without=_FROZEN_CHECKS)
    if problem is not None:
        raise UserError(f"Batch {batch} cannot lend anything to its lineage: {problem.rstrip('.')}.")
    meta = FramesMeta.load(root.batch(batch).frames_meta)
    no_rows = acceptance_problem(instance, root, batch, "embeddings", without=_FROZEN_CHECKS)
    card = None if no_rows is not None else EmbeddingsMeta.load(root.batch(batch).embeddings_meta).card
    with held_lock(folder.profile_lock):
        profile = LineageProfile.of(folder)
        if profile.embedding is None and profile.pixels is None:
            raise UserError(
                f"Lineage '{folder.name}' has nothing frozen yet: its first batch that is accepted to the end freezes "
                f"what it carries. Next: aivj run {batch}."
            )
        pixels = known_pixels(meta)
        if card is None and (pixels is None or _carries(profile, None, pixels)):
            raise UserError(f"Batch {batch} cannot lend its card to the lineage: {str(no_rows).rstrip('.')}.")
        return _freeze(folder, profile, BatchProfile(batch, card, pixels, None), why)


def view_profile(instance: dg.DagsterInstance, root: DataRoot, lineage: str) -> ProfileView:
    """Gather a lineage's profile and what its batches carry."""
    rows = [
        BatchProfile(
            batch, batch_card(root, batch), batch_pixels(root, batch),
            acceptance_problem(instance, root, batch, PUBLISHED_STAGE),
        )
        for batch in lineage_batches(root, lineage)
    ]  # fmt: skip
    return ProfileView(lineage, LineageProfile.of(root.lineage(lineage)), rows)


def named_lineage(root: DataRoot, name: str) -> str:
    """Return the lineage that a person means: that of a pack of this name, else the lineage itself.

    Raises `UserError` naming what there is when it is neither.
    """
    packs = sorted({batch.pack for batch in root.find_batches()})
    if name in packs:
        return lineage_of(root, name).name
    if root.lineage(name).profile.exists() or name in root.find_lineages():
        return name
    raise UserError(
        f"There is no pack or lineage '{name}' under {root.path} (packs: {', '.join(packs) or 'none yet'}; lineages: "
        f"{', '.join(root.find_lineages()) or 'none yet'})."
    )


def profile_and_report(
    console: Console, root: DataRoot, name: str, *, refreeze_to: BatchKey | None, reason: str, as_json: bool
) -> None:
    """Re-freeze a lineage's profile where asked for, then print it; `name` is that of a pack or lineage."""
    lineage = named_lineage(root, name)
    known = lineage_batches(root, lineage)
    if refreeze_to is not None and refreeze_to not in known:
        listed = ", ".join(batch.key for batch in known)
        raise UserError(f"Lineage '{lineage}' has no batch {refreeze_to} (known: {listed}).")
    with storage_errors(root), open_instance(root, os.environ) as instance:
        changed = refreeze_to is not None and refreeze(instance, root, refreeze_to, reason)
        view = view_profile(instance, root, lineage)
    if as_json:
        console.out(json.dumps(view.to_json(), indent=2), highlight=False)
        return
    if refreeze_to is not None:
        console.print(
            f"What {refreeze_to} carries is now the lineage's; next: aivj run {refreeze_to}, whose checks then pass."
            if changed
            else f"Nothing to change: what {refreeze_to} carries is the lineage's already.",
            highlight=False,
            soft_wrap=True,
        )
    rows = [
        ProfileRow(
            row.batch.key, row.card.name if row.card else None, view.carries_frozen_card(row),
            pixels_name(row.pixels) if row.pixels else None, view.carries_frozen_pixels(row), row.problem,
        )
        for row in view.batches
    ]  # fmt: skip
    print_profile(console, lineage, view.profile, rows)


def _carries(profile: LineageProfile, card: ModelCard | None, pixels: dict[str, Any] | None) -> bool:
    same_card = card is None or (profile.embedding is not None and profile.embedding.card == card)
    return same_card and (pixels is None or (profile.pixels is not None and profile.pixels.parameters == pixels))


def _freeze(folder: LineageDir, profile: LineageProfile, carried: BatchProfile, reason: str) -> bool:
    """Store what a batch carries and the profile does not say yet; returns whether anything was stored."""
    made = profile
    if carried.card is not None and not _carries(made, carried.card, None):
        made = made.with_card(carried.card, carried.batch.key, reason)
    if carried.pixels is not None and not _carries(made, None, carried.pixels):
        made = made.with_pixels(carried.pixels, carried.batch.key, reason)
    if made is not profile:
        made.save(folder.profile)
    return made is not profile


@dataclass(frozen=True)
class _Hold:
    """A batch held against its lineage's profile as it is now."""

    instance: dg.DagsterInstance
    root: DataRoot
    batch: BatchKey
    folder: LineageDir
    profile: LineageProfile

    @classmethod
    def of(cls, instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey) -> _Hold:
        folder = lineage_of(root, batch.pack)
        return cls(instance, root, batch, folder, LineageProfile.of(folder))

    def card(self, card: ModelCard) -> Finding:
        frozen = self.profile.embedding
        holder = None
        if frozen is not None and frozen.card != card:
            holder = self._other_holder(frozen, lambda other: batch_card(self.root, other))
        return self._check(CARD, card.name, card.to_json(), frozen, holder)

    def pixels(self, pixels: dict[str, Any] | None) -> Finding:
        frozen = self.profile.pixels
        if pixels is None and (frozen is None or frozen.batch == self.batch.key):
            detail = "the pixel parameters of adopted frames are not known: they freeze nothing"
            return Finding(PARAMETERS_FROZEN, True, detail)
        holder = None
        if frozen is not None and frozen.parameters != pixels:
            holder = self._other_holder(frozen, lambda other: batch_pixels(self.root, other))
        name = pixels_name(pixels) if pixels else "of unknown pixel parameters"
        return self._check(PIXELS, name, pixels or {}, frozen, holder)

    def _check(
        self, facet: Facet, name: str, values: dict[str, Any], frozen: Frozen | None, holder: str | None
    ) -> Finding:
        return check_frozen(
            facet, self.folder.name, self.batch.key, name=name, values=values, frozen=frozen, held_by=holder
        )

    def _other_holder(
        self, frozen: Frozen, carried: Callable[[BatchKey], ModelCard | dict[str, Any] | None]
    ) -> str | None:
        """Return another batch of the lineage that carries what is frozen, or None when it may be replaced.

        Besides accepted batches the one that it was frozen from counts while it carries it: it may be on its way to be
        accepted again, and a person may have re-frozen to it before its check was repeated.
        """
        value = frozen.card if isinstance(frozen, FrozenCard) else frozen.parameters
        others = [other for other in lineage_batches(self.root, self.folder.name) if other != self.batch]
        carriers = [other for other in others if carried(other) == value]
        for other in sorted(carriers, key=lambda other: other.key != frozen.batch):
            accepted = acceptance_problem(self.instance, self.root, other, PUBLISHED_STAGE) is None
            if other.key == frozen.batch or accepted:
                return other.key
        return None
