"""Verdicts on series whose truth is known: those that follow a sound, and those that only move."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from aivj_assets.show.reactivity.envelopes import ENVELOPES
from aivj_assets.show.reactivity.pictures import Movement
from aivj_assets.show.reactivity.score import MAX_LAG, Scorer, adjusted, is_reactive
from aivj_assets.show.reactivity.verdict import Tried, by_cluster, judge

Series = NDArray[np.float64]
COUNT = 96
SOUNDS = ("a", "b", "c")


def bursts(rng: np.random.Generator) -> Series:
    """Irregular bursts of loudness that ring on."""
    hits = (rng.random(COUNT + MAX_LAG) < 0.2) * rng.random(COUNT + MAX_LAG)
    ringing = np.zeros(COUNT + MAX_LAG)
    for place, hit in enumerate(hits):
        ringing[place] = hit + 0.5 * ringing[place - 1] if place else hit
    return ringing


def sound(seed: int) -> Mapping[str, Series]:
    rng = np.random.default_rng(seed)
    levels = {name: bursts(rng) for name in ENVELOPES if not name.endswith("Change")}
    changes = {f"{name}Change": np.abs(np.diff(series, prepend=series[0])) for name, series in levels.items()}
    return {**levels, **changes}


ENVELOPES_OF = {name: sound(number) for number, name in enumerate(SOUNDS, start=1)}


def wandering(rng: np.random.Generator, memory: float) -> Series:
    """A movement of its own that does not jump."""
    steps = rng.normal(size=COUNT + 100)
    for place in range(1, len(steps)):
        steps[place] += memory * steps[place - 1]
    return steps[100:] / steps.std()


def unit(series: Series) -> Series:
    return (series - series.mean()) / series.std()


def scored(pictures: Callable[[str], Series], silence: Series | None = None, seed: int = 1):
    differences = {name: pictures(name) for name in SOUNDS}
    return Scorer(ENVELOPES_OF).score(differences, np.zeros(COUNT) if silence is None else silence, seed=(seed,))


@pytest.mark.parametrize("memory", [0.0, 0.7, 0.95])
def test_pictures_that_only_move_are_called_followers_as_rarely_as_promised(memory: float) -> None:
    rng, scorer, quiet = np.random.default_rng(7), Scorer(ENVELOPES_OF), np.zeros(COUNT)
    found = [
        scorer.score({name: wandering(rng, memory) for name in SOUNDS}, quiet, seed=(1, number)).p
        for number in range(300)
    ]
    # 5 % of 300 is 15; more than 24 comes once in 100 such tests.
    assert 2 <= sum(p <= 0.05 for p in found) <= 24
    assert sum(q <= 0.05 for q in adjusted(found)) <= 1


@pytest.mark.parametrize(("share", "least"), [(0.5, 0.6), (1.0, 0.95)])
@pytest.mark.parametrize("lag", [0, 2])
def test_followers_are_found_though_they_move_of_themselves_and_come_late(share: float, least: float, lag: int) -> None:
    rng, scorer, quiet = np.random.default_rng(3), Scorer(ENVELOPES_OF), np.zeros(COUNT)

    def follows(name: str) -> Series:
        heard = ENVELOPES_OF[name]["low"][MAX_LAG - lag : MAX_LAG - lag + COUNT]
        return share * unit(heard) + wandering(rng, 0.7)

    found = [scorer.score({name: follows(name) for name in SOUNDS}, quiet, seed=(1, n)) for n in range(60)]
    assert np.mean([one.p <= 0.05 for one in found]) >= least
    assert np.mean([one.score for one in found]) > np.mean([one.other for one in found])
    if share == 1.0:
        sounds = [of_sound for one in found for of_sound in one.sounds.values()]
        assert np.mean([(of_sound.envelope, of_sound.lag) == ("low", lag) for of_sound in sounds]) > 0.8


def test_a_movement_that_is_the_same_under_silence_is_no_reaction() -> None:
    # It pulses exactly as sound a does: only silence tells that it would anyway.
    of_itself = unit(ENVELOPES_OF["a"]["low"][MAX_LAG:]) + 2
    still = scored(lambda _name: of_itself, silence=of_itself)
    assert (still.score, still.p, still.other) == (0, 1, 0)
    assert not is_reactive(still, still.p, 0.1)


def test_a_still_picture_is_no_reaction() -> None:
    assert scored(lambda _name: np.zeros(COUNT)).p == 1


def test_who_follows_another_sound_than_its_own_does_not_react() -> None:
    next_of = dict(zip(SOUNDS, (*SOUNDS[1:], SOUNDS[0]), strict=True))
    stray = scored(lambda name: unit(ENVELOPES_OF[next_of[name]]["low"][MAX_LAG:]))
    assert stray.other > 0.9 > stray.score
    assert not is_reactive(stray, 0.0, 0.1)


def test_a_preset_that_reacts_to_one_of_three_sounds_reacts() -> None:
    rng = np.random.default_rng(5)
    one = scored(lambda name: unit(ENVELOPES_OF[name]["high"][MAX_LAG:]) if name == "b" else wandering(rng, 0.7))
    assert one.p < 0.05
    assert one.sounds["b"].p == pytest.approx(1 / COUNT)
    assert is_reactive(one, one.p, 0.1)
    # A follower that nobody can see.
    assert not is_reactive(one, one.p, 0.4 / 255)


def test_the_same_seed_gives_the_same_verdict() -> None:
    first, again = (scored(lambda _name: wandering(np.random.default_rng(2), 0.5)) for _ in range(2))
    assert first == again


def test_a_sample_is_judged_together_and_told_by_cluster() -> None:
    rng = np.random.default_rng(11)

    def tried(name: str, cluster: str, pictures: Callable[[str], Series]) -> Tried:
        moved = Movement({key: 0.01 * pictures(key) + 0.1 for key in SOUNDS}, np.full(COUNT, 0.05), 0.2)
        return Tried(name, cluster, "groove", moved)

    followers = [
        tried(f"follows-{n}", "c02", lambda key: unit(ENVELOPES_OF[key]["mid"][MAX_LAG:]) + 0.3 * wandering(rng, 0.5))
        for n in range(6)
    ]
    movers = [tried(f"moves-{n}", "c10" if n else "c02", lambda _key: wandering(rng, 0.9)) for n in range(6)]
    entries = judge([*followers, *movers], ENVELOPES_OF, spacing_s=1 / 15, seed=1)
    assert [entry.reactive for entry in entries] == [True] * 6 + [False] * 6
    assert all(entry.q >= entry.p for entry in entries)
    assert entries[0].motion_audio == pytest.approx(0.1, abs=0.02)
    assert (entries[0].motion_silence, entries[0].difference) == (0.05, 0.2)
    told = {one.cluster: (one.presets, one.reactive, one.share_fraction) for one in by_cluster(entries)}
    assert told == {"c02": (7, 6, pytest.approx(6 / 7, abs=1e-6)), "c10": (5, 0, 0)}
    assert list(told) == ["c02", "c10"]
    assert set(by_cluster(entries)[0].scores) == set(SOUNDS)
