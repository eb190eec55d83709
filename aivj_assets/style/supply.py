"""How many presets and clusters an energy tier has, and which cooldowns they can hold."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aivj_assets.contracts.style import ENERGIES, Energy, Selection, StyleEntry

# A switch takes no less, whatever dwell is set.
SHORTEST_DWELL_S = 1.0


@dataclass(frozen=True)
class TierSupply:
    """The presets of one energy, by the sizes of their clusters, largest first."""

    energy: Energy
    sizes: tuple[int, ...]

    @property
    def presets(self) -> int:
        """How many presets have this energy."""
        return sum(self.sizes)

    @property
    def clusters(self) -> int:
        """How many clusters have a preset of this energy."""
        return len(self.sizes)

    @property
    def effective_clusters(self) -> float:
        """The number of equal clusters that would be as varied: 1 / sum of squared shares (Hill 1973, order 2)."""
        return self.presets**2 / sum(size**2 for size in self.sizes) if self.sizes else 0.0

    @property
    def counted(self) -> str:
        """The supply in words: `133 presets in 21 clusters`."""
        presets, clusters = ("1 preset" if self.presets == 1 else f"{self.presets} presets", self.clusters)
        return f"{presets} in {'1 cluster' if clusters == 1 else f'{clusters} clusters'}"

    def usable_presets(self, picks: int, switches: int, spare: float = 1.0) -> float:
        """Return how many of so many picks in a row can be different presets under a cluster cooldown.

        A cluster gets at most every (switches + 1)th pick, so a large one cannot stand in for others. With `spare`
        1.5 every cluster counts as if it had a third of its presets less.
        """
        turns = math.ceil(picks / (switches + 1))
        return sum(min(size / spare, turns) for size in self.sizes)

    def holds(self, picks: int, switches: int, *, spare: float) -> bool:
        """Whether so many picks in a row can be different presets under a cluster cooldown, with some to spare."""
        if self.clusters <= switches:
            return False
        # Of two picks in a row the second is never the first: there is nothing to plan ahead for.
        return self.presets >= picks if picks <= 2 else self.usable_presets(picks, switches, spare) >= picks

    def longest_cooldown_s(self, dwell_s: float, switches: int, *, spare: float, limit_s: float) -> float:
        """Return the longest preset cooldown up to `limit_s` that the tier holds when it is played through, s.

        0: it holds none.
        """
        dwell = max(dwell_s, SHORTEST_DWELL_S)
        for picks in range(min(picks_within(limit_s, dwell), self.presets), 1, -1):
            if self.holds(picks, switches, spare=spare):
                return min(limit_s, (picks - 1) * dwell)
        return 0.0


def picks_within(cooldown_s: float, dwell_s: float) -> int:
    """Return how many picks in a row must be different presets: one on screen and those that left in the cooldown."""
    return math.ceil(cooldown_s / max(dwell_s, SHORTEST_DWELL_S)) + 1


def supplies(entries: Iterable[StyleEntry]) -> list[TierSupply]:
    """Return the supply of each energy, calm to peak."""
    counts = Counter((entry.energy, entry.author_key) for entry in entries)
    by_energy: dict[Energy, list[int]] = {energy: [] for energy in ENERGIES}
    for (energy, _cluster), count in counts.items():
        by_energy[energy].append(count)
    return [TierSupply(energy, tuple(sorted(sizes, reverse=True))) for energy, sizes in by_energy.items()]


def round_down(seconds: float) -> float:
    """Return a time as a person would set it: in steps of ten seconds from a minute on."""
    return seconds - seconds % 10 if seconds >= 60 else seconds


def dwell_of(selection: Selection, energy: Energy) -> float:
    """Return the shortest time that a preset stays on screen in a tier, s."""
    return float(getattr(selection.min_dwell_seconds, energy))


def scarcest(tiers: Sequence[TierSupply], held_s: Sequence[float]) -> tuple[TierSupply, float]:
    """Return the tier that holds the shortest cooldown, and that cooldown, s."""
    return min(zip(tiers, held_s, strict=True), key=lambda one: one[1])
