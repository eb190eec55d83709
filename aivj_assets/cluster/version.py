"""One version of a lineage: its clustering, the presets in it, and those that were in it once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from aivj_assets.cluster.rows import FloatRows, Labels, RowParts
from aivj_assets.cluster.state import LineageState
from aivj_assets.errors import UserError

Shas = npt.NDArray[np.bytes_]
OpenRows = Callable[[int], FloatRows]


def shas_of(hexes: Sequence[str]) -> Shas:
    """Return SHA-256 hex digests as an array S64 [n]."""
    return np.array([text.encode("ascii") for text in hexes], dtype="S64")


@dataclass(frozen=True)
class Left:
    """Presets that left: `shas` S64 [m], int64 [m] the clusters that they were last in and those of their first one."""

    shas: Shas
    numbers: Labels
    first_numbers: Labels

    @classmethod
    def nobody(cls) -> Left:
        """Return that none has left."""
        nothing = np.empty(0, np.int64)
        return cls(np.empty(0, "S64"), nothing, nothing)

    def known(self, shas: Shas) -> Labels:
        """Return the place of each preset, -1 where it never left."""
        where = {sha: place for place, sha in enumerate(self.shas.tolist())}
        return np.array([where.get(sha, -1) for sha in shas.tolist()], dtype=np.int64)

    def with_presets(self, version: Version, places: Labels) -> Left:
        """Return these and the presets at places of a version."""
        return Left(
            np.concatenate([self.shas, version.shas[places]]),
            np.concatenate([self.numbers, version.numbers[places]]),
            np.concatenate([self.first_numbers, version.first_numbers[places]]),
        )

    def without(self, places: Labels) -> Left:
        """Return all but those at places."""
        keep = np.setdiff1d(np.arange(len(self.shas)), places)
        return Left(self.shas[keep], self.numbers[keep], self.first_numbers[keep])


@dataclass(frozen=True)
class Version:
    """A clustering and the presets in it, sorted by where their rows lie.

    `shas` S64 [n] (hex), `numbers` int64 [n] their clusters, `first_numbers` int64 [n] the clusters of their first
    version; `homes` int64 [n] the version with which the row came, and `rows` int64 [n] its place among that one's.
    `left` are presets that were in it once: one that comes again has its cluster again, if that still lives.
    """

    state: LineageState
    shas: Shas
    numbers: Labels
    first_numbers: Labels
    homes: Labels
    rows: Labels
    left: Left = field(default_factory=Left.nobody)

    def __len__(self) -> int:
        return len(self.shas)

    def library(self, open_rows: OpenRows) -> RowParts:
        """Return all rows in order, memory-mapped where every row of a part still counts."""
        parts = []
        for home in np.unique(self.homes).tolist():
            own = self.rows[self.homes == home]
            part = open_rows(home)
            parts.append(part if np.array_equal(own, np.arange(len(part))) else np.ascontiguousarray(part[own]))
        return RowParts.of(*parts)

    def places_of(self, shas: Shas) -> Labels:
        """Return the place of each preset, -1 where it is unknown."""
        where = {sha: place for place, sha in enumerate(self.shas.tolist())}
        return np.array([where.get(sha, -1) for sha in shas.tolist()], dtype=np.int64)

    def to_plain(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Return (facts that fit into JSON, arrays by name)."""
        facts, arrays = self.state.to_plain()
        own = {
            "preset_sha256": self.shas, "preset_numbers": self.numbers, "preset_first_numbers": self.first_numbers,
            "preset_homes": self.homes, "preset_rows": self.rows, "left_sha256": self.left.shas,
            "left_numbers": self.left.numbers, "left_first_numbers": self.left.first_numbers,
        }  # fmt: skip
        return facts, {**arrays, **own}

    @classmethod
    def from_plain(cls, facts: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Version:
        """Make a version of what `to_plain` returned; raises `UserError` when its parts contradict each other."""
        state = LineageState.from_plain(facts, arrays)
        try:
            numbers, first, homes, rows = (
                np.asarray(arrays[f"preset_{name}"], np.int64) for name in ("numbers", "first_numbers", "homes", "rows")
            )
            gone = Left(
                np.asarray(arrays["left_sha256"], dtype="S64"), np.asarray(arrays["left_numbers"], np.int64),
                np.asarray(arrays["left_first_numbers"], np.int64),
            )  # fmt: skip
            made = cls(state, np.asarray(arrays["preset_sha256"], dtype="S64"), numbers, first, homes, rows, gone)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"the lineage's list of presets is broken ({error}); bring it back from a backup."
            ) from None
        lengths = {len(made.shas), len(made.numbers), len(made.first_numbers), len(made.homes), len(made.rows)}
        if len(lengths) > 1 or not np.array_equal(
            np.bincount(state.places(made.numbers), minlength=state.k), state.sizes
        ):
            raise UserError(
                f"version {state.version} of the lineage contradicts itself: its presets are not those that its "
                "clusters count; bring it back from a backup."
            )
        return made
