"""Two ways of picking that hear nothing, for comparison: the app's original one and chance."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from aivj_assets.contracts.style import StyleEntry
from aivj_assets.show.rehearsal.heard import Shown


def next_in_list(entries: Sequence[StyleEntry], dwell_s: float, end_s: float) -> list[Shown]:
    """Return the app's original show: the next preset of the list every `dwell_s`, from the first, round and round."""
    return _every(dwell_s, end_s, lambda number: entries[number % len(entries)])


def at_random(entries: Sequence[StyleEntry], dwell_s: float, end_s: float, seed: int) -> list[Shown]:
    """Return a show that draws each preset uniformly from all, every `dwell_s`."""
    draw = random.Random(seed)
    return _every(dwell_s, end_s, lambda _number: draw.choice(entries))


def _every(dwell_s: float, end_s: float, pick: Callable[[int], StyleEntry]) -> list[Shown]:
    if dwell_s <= 0:
        raise ValueError("a preset stays longer than 0 s")
    shown: list[Shown] = []
    while (time_s := len(shown) * dwell_s) < end_s:
        entry = pick(len(shown))
        shown.append(Shown(time_s, entry.preset_id, entry.author_key, entry.energy))
    return shown
