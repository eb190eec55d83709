"""`profile.json` of a pack: the parameters that all of its batches share, frozen by the first that is accepted."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field

from aivj_assets.contracts.base import ContractFile, ContractModel, utc_now
from aivj_assets.contracts.embeddings import ModelCard
from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot


class FrozenCard(ContractModel):
    """The model card that the rows of every batch of the pack carry, and the batch that it was taken from."""

    card: ModelCard
    batch: str
    frozen_at: str


class ReplacedCard(FrozenCard):
    """A card that was the pack's once; `reason` says why it is no longer."""

    replaced_at: str
    reason: str


class PackProfile(ContractFile):
    """What is frozen for a pack, and what was before, oldest first. Without a file nothing is frozen."""

    version: Literal["v0"] = "v0"
    embedding: FrozenCard | None = None
    history: list[ReplacedCard] = Field(default_factory=list)

    @classmethod
    def of_pack(cls, root: DataRoot, pack: str) -> Self:
        """Read a pack's profile; raises `UserError` when the file is malformed."""
        path = root.profile(pack)
        if not path.exists():
            return cls()
        try:
            return cls.load(path)
        except UserError as error:
            raise UserError(f"{error} It holds the pack's frozen parameters: mend it, or delete it.") from None

    def with_card(self, card: ModelCard, batch: str, reason: str) -> Self:
        """Return the profile with another card frozen; the one that it replaces goes into the history with `reason`."""
        now = utc_now()
        history = list(self.history)
        if self.embedding is not None:
            history.append(ReplacedCard(**dict(self.embedding), replaced_at=now, reason=reason))
        return self.model_copy(
            update={"embedding": FrozenCard(card=card, batch=batch, frozen_at=now), "history": history}
        )
