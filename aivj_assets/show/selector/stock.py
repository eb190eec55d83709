"""Where every preset is: never shown, shown and when it left, on screen, or blacklisted."""

from __future__ import annotations

from bisect import bisect_left

from aivj_assets.contracts.style import ENERGIES, Energy
from aivj_assets.show.selector.library import PresetLibrary


class Shelf:
    """The presets of one cluster and energy: `fresh` were never shown, `shown` left the screen, longest ago first."""

    __slots__ = ("cluster", "energy", "fresh", "shown")

    def __init__(self, cluster: str, energy: Energy) -> None:
        self.cluster = cluster
        self.energy = energy
        self.fresh: list[int] = []
        self.shown: list[int] = []


class Stock:
    """A library on its shelves, in the course of a show. Only presets that were shown cost more than their place."""

    def __init__(self, library: PresetLibrary) -> None:
        self._places: dict[tuple[Energy, str], Shelf] = {}
        self.shelves: dict[Energy, list[Shelf]] = {energy: [] for energy in ENERGIES}
        self._library = library
        self._left_s: dict[int, float] = {}
        self._banned: set[int] = set()
        self._on_screen: int | None = None
        for number in range(len(library)):
            energy, cluster = library.energies[number], library.clusters[number]
            shelf = self._places.get((energy, cluster))
            if shelf is None:
                shelf = self._places[energy, cluster] = Shelf(cluster, energy)
                self.shelves[energy].append(shelf)
            shelf.fresh.append(number)

    @property
    def waiting(self) -> int:
        """How many presets could be shown instead of the one on screen, if no rule but the blacklist held."""
        away = len(self._banned)
        if self._on_screen is not None and self._on_screen not in self._banned:
            away += 1
        return len(self._library) - away

    def is_banned(self, number: int) -> bool:
        """Whether a preset is blacklisted."""
        return number in self._banned

    def is_fresh(self, number: int) -> bool:
        """Whether a preset was never shown."""
        return number not in self._left_s and number != self._on_screen

    def left_s(self, number: int) -> float:
        """Return when a preset that was shown left the screen."""
        return self._left_s[number]

    def is_ready(self, number: int, now_s: float, cooldown_s: float) -> bool:
        """Whether a preset is neither on screen nor blacklisted nor cooling."""
        if number == self._on_screen or number in self._banned:
            return False
        left = self._left_s.get(number)
        return left is None or now_s - left >= cooldown_s

    def rested(self, shelf: Shelf, now_s: float, cooldown_s: float) -> int:
        """Return how many of a shelf's shown presets are not cooling; they are its first ones."""
        low, high = 0, len(shelf.shown)
        while low < high:
            middle = (low + high) // 2
            if now_s - self._left_s[shelf.shown[middle]] >= cooldown_s:
                low = middle + 1
            else:
                high = middle
        return low

    def take(self, number: int) -> None:
        """Bring a preset to the screen."""
        self._remove(number)
        self._left_s.pop(number, None)
        self._on_screen = number

    def put_back(self, now_s: float) -> None:
        """Take what is on screen off it."""
        number = self._on_screen
        self._on_screen = None
        if number is not None and number not in self._banned:
            self._left_s[number] = now_s
            self._shelf(number).shown.append(number)

    def ban(self, number: int) -> None:
        """Blacklist a preset for good."""
        if number not in self._banned:
            self._banned.add(number)
            self._remove(number)

    def _shelf(self, number: int) -> Shelf:
        return self._places[self._library.energies[number], self._library.clusters[number]]

    def _remove(self, number: int) -> None:
        shelf = self._shelf(number)
        if number in self._left_s:
            shelf.shown.remove(number)
            return
        place = bisect_left(shelf.fresh, number)
        if place < len(shelf.fresh) and shelf.fresh[place] == number:
            del shelf.fresh[place]
