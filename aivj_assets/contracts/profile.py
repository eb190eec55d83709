"""`profile.json` of a lineage: what all of its batches share, frozen by the first that is accepted.

Frozen are the model card (embedding parameters) and the pixel parameters; operational parameters never are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import Field

from aivj_assets.contracts.base import ContractFile, ContractModel, utc_now
from aivj_assets.contracts.embeddings import ModelCard
from aivj_assets.contracts.findings import Finding
from aivj_assets.contracts.render_parameters import fingerprint, settable
from aivj_assets.errors import UserError
from aivj_assets.layout import LineageDir

FROZEN_CARD = "frozen_card"
PARAMETERS_FROZEN = "parameters_frozen"


class FrozenCard(ContractModel):
    """The model card that the rows of every batch of the lineage carry, and the batch that it was taken from."""

    card: ModelCard
    batch: str
    frozen_at: str

    @property
    def name(self) -> str:
        """The card in a few words."""
        return self.card.name

    @property
    def values(self) -> dict[str, Any]:
        """The frozen fields by their names in files."""
        return self.card.to_json()


class FrozenPixels(ContractModel):
    """The pixel parameters of every batch of the lineage, and the batch that they were taken from."""

    parameters: dict[str, Any]
    batch: str
    frozen_at: str

    @property
    def name(self) -> str:
        """The parameters by their fingerprint."""
        return pixels_name(self.parameters)

    @property
    def values(self) -> dict[str, Any]:
        """The frozen fields by their names in files."""
        return self.parameters

    @property
    def settings(self) -> dict[str, Any]:
        """Those that a person can set, by their names in files; engine and renderer are the machine's."""
        return settable(self.parameters)


Frozen = FrozenCard | FrozenPixels


class Replaced(ContractModel):
    """What was frozen once, a card or pixel parameters; `reason` says why it is no longer."""

    card: ModelCard | None = None
    parameters: dict[str, Any] | None = None
    batch: str
    frozen_at: str
    replaced_at: str
    reason: str

    @property
    def name(self) -> str:
        """What it was, in a few words."""
        return self.card.name if self.card is not None else pixels_name(self.parameters or {})


class LineageProfile(ContractFile):
    """What is frozen for a lineage, and what was before, oldest first. Without a file nothing is frozen."""

    version: Literal["v0"] = "v0"
    embedding: FrozenCard | None = None
    pixels: FrozenPixels | None = None
    history: list[Replaced] = Field(default_factory=list)

    @classmethod
    def of(cls, folder: LineageDir) -> Self:
        """Read a lineage's profile; raises `UserError` when the file is malformed."""
        if not folder.profile.exists():
            return cls()
        try:
            return cls.load(folder.profile)
        except UserError as error:
            raise UserError(f"{error} It holds the lineage's frozen parameters: mend it, or delete it.") from None

    def with_card(self, card: ModelCard, batch: str, reason: str) -> Self:
        """Return the profile with another card frozen; the one that it replaces goes into the history with `reason`."""
        made = FrozenCard(card=card, batch=batch, frozen_at=utc_now())
        return self.model_copy(update={"embedding": made, "history": self._after(self.embedding, reason)})

    def with_pixels(self, parameters: Mapping[str, Any], batch: str, reason: str) -> Self:
        """Return the profile with other pixel parameters frozen; those that they replace go into the history."""
        made = FrozenPixels(parameters=dict(parameters), batch=batch, frozen_at=utc_now())
        return self.model_copy(update={"pixels": made, "history": self._after(self.pixels, reason)})

    def _after(self, old: Frozen | None, reason: str) -> list[Replaced]:
        if old is None:
            return list(self.history)
        return [*self.history, Replaced(**dict(old), replaced_at=utc_now(), reason=reason)]


def pixels_name(parameters: Mapping[str, Any]) -> str:
    """Return pixel parameters in a few words: their fingerprint."""
    return f"pixel parameters {fingerprint(dict(parameters))}"


@dataclass(frozen=True)
class Facet:
    """One of the two things that a profile freezes, in the words of its check."""

    check: str
    noun: str
    like_the_others: str
    """How the batch comes to have the frozen ones."""
    again: str
    """What the other batches need when a person freezes this batch's instead."""


CARD = Facet(FROZEN_CARD, "card", "embed {batch} with the frozen model", "embed the other batches again")
PIXELS = Facet(
    PARAMETERS_FROZEN, "pixel parameters", "render {batch} with the frozen ones, on a machine with the same renderer",
    "render the other batches again",
)  # fmt: skip


def check_frozen(
    facet: Facet,
    lineage: str,
    batch: str,
    *,
    name: str,
    values: Mapping[str, Any],
    frozen: Frozen | None,
    held_by: str | None,
) -> Finding:
    """Hold what a batch carries (`name` in a few words, `values` by field) against what its lineage has frozen.

    `held_by` names another batch of the lineage that carries the frozen ones; without one nothing could mix, and the
    batch's own take their place once it is accepted.
    """
    if frozen is None:
        told = f"lineage {lineage} has no frozen {facet.noun} yet"
        return Finding(facet.check, True, f"{told}; this batch's ({name}) will be frozen once it is accepted")
    fields = "; ".join(differences(frozen.values, values))
    if not fields:
        return Finding(facet.check, True, f"as frozen for lineage {lineage} by {frozen.batch}: {name}")
    differs = f"lineage {lineage} is frozen to {frozen.name} (by {frozen.batch}), this batch is {name} ({fields})"
    if held_by is None:
        return Finding(
            facet.check,
            True,
            f"{differs}; no other accepted batch carries the frozen {facet.noun}, so that this batch's will be",
        )
    way = facet.like_the_others.format(batch=batch)
    own = f'aivj profile {batch.partition("/")[0]} --refreeze {batch} --reason "..."'
    return Finding(
        facet.check,
        False,
        f"{differs}, and {held_by} carries the frozen {facet.noun}. {way[0].upper()}{way[1:]}, or make this "
        f"batch's the lineage's: {own} and {facet.again}",
    )


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    """Yield `field: value in one -> in the other` where two sets of fields differ; long values are cut."""
    for field in {**one, **other}:
        pair = (one.get(field), other.get(field))
        if pair[0] == pair[1]:
            continue
        left, right = (value if isinstance(value, dict) else {"": value} for value in pair)
        for name in {**left, **right}:
            if left.get(name) != right.get(name):
                values = " -> ".join(_cut(str(side.get(name))) for side in (left, right))
                yield f"{field}{f'.{name}' if name else ''}: {values}"


def _cut(text: str) -> str:
    # A hash says enough by its first digits; the name of a renderer does not.
    is_hash = len(text) > 40 and " " not in text
    return f"{text[:12]}.." if is_hash else text
