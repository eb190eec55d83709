"""Which presets are tried: as many of each cluster."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping


def draw_sample(clusters: Mapping[str, str], size: int, seed: int) -> list[str]:
    """Return up to `size` presets of {presetId: cluster}: one of each cluster in turn, until they are enough.

    The order is drawn with `seed`; a larger sample of the same presets begins with the smaller one.
    """
    rng = random.Random(seed)
    members: dict[str, list[str]] = defaultdict(list)
    for preset_id in sorted(clusters):
        members[clusters[preset_id]].append(preset_id)
    names = sorted(members)
    rng.shuffle(names)
    for name in names:
        rng.shuffle(members[name])
    longest = max((len(listed) for listed in members.values()), default=0)
    turns = [members[name][turn] for turn in range(longest) for name in names if turn < len(members[name])]
    return turns[:size]
