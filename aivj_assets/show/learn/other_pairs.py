"""Pairs that no person made. They train where they are asked for, and never count as proof."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from aivj_assets.contracts.audio_timeline import WINDOW_S, AudioTimeline
from aivj_assets.contracts.reactivity import Reactivity
from aivj_assets.contracts.style import ENERGIES
from aivj_assets.errors import UserError
from aivj_assets.show.learn.design import Floats
from aivj_assets.show.learn.evidence import Judged

ENERGY_WEIGHT = 0.1
"""Of a pair by energy, beside 1 of a favourite."""
ENERGY_EVERY_S = 4.0
ENERGY_LABELS = 3
ENERGY_SET_S = 300.0
ENERGY_SETS = 4


def reactivity_pairs(found: Reactivity, clusters: Sequence[str]) -> list[Judged]:
    """Return the sounds that presets move with, as sounds that their style fits; the weight is score less control.

    Raises `UserError` when the sounds have no features. A sound has no tier, so a third goes to each.
    """
    features = {audio.name: audio.features for audio in found.audios if audio.features}
    if not features:
        raise UserError("reactivity.json tells no features of its sounds; measure the reactivity again.")
    known = set(clusters)
    return [
        Judged(
            features=features[scored.audio], tier=tier, cluster=entry.cluster, preset_id=entry.preset_id, liked=True,
            weight=(scored.score - scored.control) / len(ENERGIES), group=f"reactivity:{scored.audio}", time_s=0.0,
            track_sha256=None, index_hash="",
        )
        for entry in found.entries
        if entry.reactive and entry.cluster in known
        for scored in entry.audios
        if scored.audio in features and scored.score > scored.control
        for tier in ENERGIES
    ]  # fmt: skip


def energy_pairs(
    timelines: Iterable[AudioTimeline], shares: Floats, clusters: Sequence[str], *, seed: int
) -> list[Judged]:
    """Return windows of timelines with styles drawn as the presets of the window's tier are dealt.

    That is the rule itself, in the model's words: a start where there is little else, and circular.
    """
    rng = np.random.default_rng(seed)
    pairs: list[Judged] = []
    for number, timeline in enumerate(timelines):
        every = round(ENERGY_EVERY_S / timeline.row_s)
        for row in range(round(WINDOW_S / timeline.row_s), timeline.rows, every):
            tier = timeline.tiers[row]
            drawn = rng.choice(len(clusters), size=ENERGY_LABELS, p=shares[ENERGIES.index(tier)])
            pairs += [
                Judged(
                    features=timeline.window(row),
                    tier=tier,
                    cluster=clusters[place],
                    preset_id="",
                    liked=True,
                    weight=ENERGY_WEIGHT,
                    group=f"energy:{number}",
                    time_s=timeline.columns["timeS"][row],
                    track_sha256=None,
                    index_hash="",
                )
                for place in drawn.tolist()
            ]
    return pairs


def generated_timelines(seed: int) -> Iterable[AudioTimeline]:
    """Yield what is heard of a few generated sets."""
    from aivj_assets.show.audio.source import track_of_samples
    from aivj_assets.show.generate import generate_set
    from aivj_assets.show.timeline import analyse

    for number in range(ENERGY_SETS):
        made = generate_set(ENERGY_SET_S, seed * ENERGY_SETS + number)
        yield analyse(track_of_samples(made.samples, made.sample_rate_hz, f"generated {number}"))
