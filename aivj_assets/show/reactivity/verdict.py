"""From the scores of a sample to who reacts: verdicts over all presets at once, and shares by cluster."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aivj_assets.contracts.reactivity import AudioScore, ClusterReactivity, ReactivityEntry
from aivj_assets.contracts.style import Energy
from aivj_assets.show.reactivity.envelopes import Envelopes
from aivj_assets.show.reactivity.pictures import Movement
from aivj_assets.show.reactivity.score import ALPHA, PresetScore, Scorer, adjusted, is_reactive

_DIGITS = 6


@dataclass(frozen=True)
class Tried:
    """A preset of the sample with its pictures' figures."""

    preset_id: str
    cluster: str
    energy: Energy | None
    movement: Movement


def judge(
    presets: Sequence[Tried], envelopes: Mapping[str, Envelopes], *, spacing_s: float, seed: int, alpha: float = ALPHA
) -> list[ReactivityEntry]:
    """Return the entries of presets, in their order; `spacing_s` lies between two captures."""
    scorer = Scorer(envelopes)
    scores = [
        scorer.score(one.movement.differences, one.movement.silence, seed=(seed, number))
        for number, one in enumerate(presets)
    ]
    adjusted_p = adjusted([score.p for score in scores])
    return [
        _entry(one, score, q, spacing_s=spacing_s, alpha=alpha)
        for one, score, q in zip(presets, scores, adjusted_p, strict=True)
    ]


def _entry(one: Tried, score: PresetScore, q: float, *, spacing_s: float, alpha: float) -> ReactivityEntry:
    moved = one.movement
    loud = [float(series.mean()) for series in moved.differences.values()]
    return ReactivityEntry(
        preset_id=one.preset_id,
        cluster=one.cluster,
        energy=one.energy,
        audios=[
            AudioScore(
                audio=name, score=_rounded(of_sound.score), envelope=of_sound.envelope,
                lag_s=_rounded(of_sound.lag * spacing_s), control=_rounded(of_sound.control),
                other=_rounded(of_sound.other), p=_rounded(of_sound.p),
            )
            for name, of_sound in score.sounds.items()
        ],
        score=_rounded(score.score),
        control=_rounded(score.control),
        other=_rounded(score.other),
        p=_rounded(score.p),
        q=_rounded(q),
        difference=_rounded(moved.difference),
        motion_silence=_rounded(float(moved.silence.mean())),
        motion_audio=_rounded(sum(loud) / len(loud)),
        reactive=is_reactive(score, q, moved.difference, alpha=alpha),
    )  # fmt: skip


def by_cluster(entries: Sequence[ReactivityEntry]) -> list[ClusterReactivity]:
    """Return what entries tell of their clusters, in order of the clusters' ids."""
    members: dict[str, list[ReactivityEntry]] = defaultdict(list)
    for entry in entries:
        members[entry.cluster].append(entry)
    return [_cluster(name, members[name]) for name in sorted(members, key=lambda name: (len(name), name))]


def _cluster(name: str, entries: Sequence[ReactivityEntry]) -> ClusterReactivity:
    reactive = sum(entry.reactive for entry in entries)
    by_sound: dict[str, list[float]] = defaultdict(list)
    for entry in entries:
        for one in entry.audios:
            by_sound[one.audio].append(one.score)
    return ClusterReactivity(
        cluster=name,
        presets=len(entries),
        reactive=reactive,
        share_fraction=_rounded(reactive / len(entries)),
        mean_score=_rounded(sum(entry.score for entry in entries) / len(entries)),
        scores={sound: _rounded(sum(values) / len(values)) for sound, values in by_sound.items()},
    )


def _rounded(value: float) -> float:
    return round(value, _DIGITS)
