"""Which presets the rules leave, and which rules give way when they leave none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

from aivj_assets.contracts.style import RELAX_ORDER, Energy, RelaxableRule, Selection
from aivj_assets.show.selector.draw import SHOWN_COUNT, Offer
from aivj_assets.show.selector.library import PresetLibrary
from aivj_assets.show.selector.stock import Shelf, Stock

# The tier itself, then the nearest ones; groove lies between two that are equally near.
TIER_STEPS: dict[Energy, tuple[tuple[Energy, ...], ...]] = {
    "calm": (("calm",), ("groove",), ("peak",)),
    "groove": (("groove",), ("calm", "peak")),
    "peak": (("peak",), ("groove",), ("calm",)),
}


class Rules:
    """The cooldowns of a show and the order in which its rules give way."""

    def __init__(self, selection: Selection) -> None:
        self.cooldown_s = selection.preset_cooldown_seconds
        self.switches = selection.cluster_cooldown_switches
        self.order: list[RelaxableRule] = list(dict.fromkeys([*selection.relax_order, *RELAX_ORDER]))
        self._picks = 0
        self._last_pick: dict[str, int] = {}

    def note(self, cluster: str) -> None:
        """Count a pick of a cluster."""
        self._picks += 1
        self._last_pick[cluster] = self._picks

    def offers(self, stock: Stock, tier: Energy, now_s: float) -> tuple[list[Offer], list[RelaxableRule]]:
        """Return what may be drawn, and the rules that had to give way for it; no offers when nothing is left at all.

        A rule gives way only as far as it must: a rule earlier in the order before a later one, the cluster cooldown
        by single switches, the tier to the nearest one, the preset cooldown for those that left longest ago.
        """
        steps = {"clusterCooldown": 2, "tier": len(TIER_STEPS[tier]), "presetCooldown": 2}
        # The first rule of the order changes fastest.
        for levels in product(*(range(steps[rule]) for rule in reversed(self.order))):
            level = dict(zip(reversed(self.order), levels, strict=True))
            shelves = [shelf for energy in TIER_STEPS[tier][level["tier"]] for shelf in stock.shelves[energy]]
            cooling = level["presetCooldown"] > 0
            found = self._of_shelves(stock, shelves, now_s, cooling=cooling, cluster_kept=not level["clusterCooldown"])
            if found:
                return found, [rule for rule in self.order if level[rule]]
        return [], []

    def favourites(
        self, library: PresetLibrary, stock: Stock, favourites: Iterable[int], tier: Energy, now_s: float
    ) -> list[Offer]:
        """Return the favourites that may be drawn: tier and preset cooldown are kept, the cluster's is not heeded."""
        by_cluster: dict[str, list[int]] = {}
        for number in sorted(favourites):
            if library.energies[number] == tier and stock.is_ready(number, now_s, self.cooldown_s):
                by_cluster.setdefault(library.clusters[number], []).append(number)
        made: list[Offer] = []
        for cluster, presets in by_cluster.items():
            fresh = [number for number in presets if stock.is_fresh(number)]
            shown = sorted((number for number in presets if not stock.is_fresh(number)), key=stock.left_s)
            made.append(_offer(cluster, fresh, shown))
        return made

    def _of_shelves(
        self, stock: Stock, shelves: Sequence[Shelf], now_s: float, *, cooling: bool, cluster_kept: bool
    ) -> list[Offer]:
        """Return what may be drawn of shelves; not `cluster_kept`: of those whose cluster was picked longest ago."""
        if cooling:
            filled = [(shelf, len(shelf.shown)) for shelf in shelves if shelf.shown]
        else:
            ready = [(shelf, stock.rested(shelf, now_s, self.cooldown_s)) for shelf in shelves]
            filled = [(shelf, rested) for shelf, rested in ready if rested or shelf.fresh]
        ago = [self._switches_ago(shelf.cluster) for shelf, _ in filled]
        least = self.switches if cluster_kept else min(self.switches, max(ago, default=0)) - 1
        kept = [one for one, since in zip(filled, ago, strict=True) if since > least]
        if not cooling:
            return [_offer(shelf.cluster, shelf.fresh, shelf.shown[:rested]) for shelf, rested in kept]
        # All of them are cooling, or they had been found before.
        first = min((stock.left_s(shelf.shown[0]) for shelf, _ in kept), default=0.0)
        longest = [(shelf, [one for one in shelf.shown if stock.left_s(one) == first]) for shelf, _ in kept]
        return [_offer(shelf.cluster, [], presets) for shelf, presets in longest if presets]

    def _switches_ago(self, cluster: str) -> int:
        """Return how many picks ago a cluster was picked: 1 for the last pick's, more than any rule asks for never."""
        last = self._last_pick.get(cluster)
        return self._picks + self.switches + 1 if last is None else self._picks - last + 1


def _offer(cluster: str, fresh: Sequence[int], shown: Sequence[int]) -> Offer:
    return Offer(cluster, fresh or shown, bool(fresh), len(fresh) + SHOWN_COUNT * len(shown))
