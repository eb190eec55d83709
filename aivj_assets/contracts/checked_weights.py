"""`checked-weights.json`: files of model weights that were loaded on this machine and gave a finite vector."""

from __future__ import annotations

from pydantic import Field

from aivj_assets.contracts.base import ContractFile, ContractModel, utc_now

_MOST_KEPT = 16


class CheckedWeights(ContractModel):
    """Weights as they were loaded. Another size or time of the file, or another library, makes them unchecked."""

    path: str
    size_bytes: int
    mtime_ns: int
    model: str
    device: str
    """As asked for: `auto`, `cpu` or `cuda`."""
    precision: str
    libraries: dict[str, str]
    dim: int = 0
    """Length of the model's vectors."""
    at: str = Field(default_factory=utc_now)

    def is_same(self, other: CheckedWeights) -> bool:
        """Whether both are the same file, loaded in the same way."""
        told = {"dim", "at"}
        return self.model_dump(exclude=told) == other.model_dump(exclude=told)


class CheckedWeightsFile(ContractFile):
    """The whole file, the latest first."""

    entries: list[CheckedWeights] = Field(default_factory=list)

    def find(self, wanted: CheckedWeights) -> CheckedWeights | None:
        """Return the entry that is the same as `wanted`."""
        return next((entry for entry in self.entries if entry.is_same(wanted)), None)

    def with_first(self, entry: CheckedWeights) -> CheckedWeightsFile:
        """Return the file with an entry in front, in place of one of the same path and model; old ones fall away."""
        others = [known for known in self.entries if (known.path, known.model) != (entry.path, entry.model)]
        return self.model_copy(update={"entries": [entry, *others][:_MOST_KEPT]})
