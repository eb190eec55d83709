"""Whatever is played, shown and asked for, the rules are kept or the line says which gave way."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aivj_assets.contracts.style import ENERGIES, RELAX_ORDER, Selection
from aivj_assets_tests.selector_builders import music, python_lines, random_index, script_of
from aivj_assets_tests.selector_judge import Judge

ACTS = {"skip": 0.01, "favourite": 0.005, "unfavourite": 0.003, "hold": 0.003, "release": 0.02, "blacklist": 0.002}
seconds = st.sampled_from([0.0, 0.5, 3.0, 8.0, 20.0])
by_tier = st.fixed_dictionaries(dict.fromkeys(ENERGIES, seconds))
selections = st.fixed_dictionaries(
    {
        "presetCooldownSeconds": st.sampled_from([0, 30, 200, 1800]),
        "clusterCooldownSwitches": st.integers(0, 5),
        "minDwellSeconds": by_tier,
        "maxWaitSeconds": by_tier,
        "relaxOrder": st.builds(lambda order, named: order[:named], st.permutations(RELAX_ORDER), st.integers(0, 3)),
    }
)


@st.composite
def shows(draw: st.DrawFn) -> dict[str, Any]:
    """Five minutes with any library, rules, music, person and model."""
    seed, clusters = draw(st.integers(0, 2**32)), draw(st.integers(1, 8))
    energies = sorted(draw(st.sets(st.sampled_from(ENERGIES), min_size=1)))
    index = random_index(draw(st.integers(0, 60)), clusters, seed, energies=energies)
    chance, names = random.Random(seed), [entry["presetId"] for entry in index["entries"]]
    liked, banned = draw(st.sampled_from([0, 0.1])), draw(st.sampled_from([0, 0.1, 0.9]))
    rows = music(
        5, seed, bpm=draw(st.sampled_from([61, 97, 120, 174])), sections=0.01, tiers=0.02,
        trusted=draw(st.sampled_from([1.0, 0.5])),
        clusters=[f"c{number:02d}" for number in range(0, clusters, 2)] if draw(st.booleans()) else (),
    )  # fmt: skip
    return {
        "index": index, "selection": draw(selections), "seed": seed,
        "script": script_of(rows, seed, ACTS if draw(st.booleans()) else {}),
        "favourites": [name for name in names if chance.random() < liked],
        "blacklist": [name for name in names if chance.random() < banned],
    }  # fmt: skip


def judge(case: dict[str, Any]) -> Judge:
    judge = Judge(case, Selection.model_validate(case["selection"]))
    breaches = judge.replay(case["script"], python_lines(case))
    assert breaches == []
    return judge


@given(shows())
@settings(deadline=None, max_examples=40)
def test_no_rule_is_broken_that_the_line_does_not_name(case: dict[str, Any]) -> None:
    judge(case)


@pytest.mark.parametrize("seed", range(3))
def test_an_hour_on_300_presets_needs_no_relaxed_rule_and_shows_nothing_twice_too_soon(seed: int) -> None:
    case: dict[str, Any] = {
        "index": random_index(300, 12, seed), "selection": {"presetCooldownSeconds": 600}, "seed": seed,
        "script": script_of(music(60, seed)),
    }  # fmt: skip
    seen = judge(case)
    assert sum(bool(pick["relaxed"]) for pick in seen.picks) <= 0.01 * len(seen.picks)
    # Nearly all that could be new is: drawing at random from the tier shows four fifths of that.
    tiers = Counter(entry["energy"] for entry in case["index"]["entries"])
    asked = Counter(pick["tier"] for pick in seen.picks)
    most = sum(min(asked[energy], tiers[energy]) for energy in ENERGIES)
    chance = random.Random(seed)
    at_random = {(energy, chance.randrange(tiers[energy])) for energy in ENERGIES for _ in range(asked[energy])}
    assert len(at_random) * 1.1 < len(seen.shown)
    assert len(seen.shown) >= 0.85 * most
    assert len(seen.picks) > 180


def test_the_judge_sees_what_it_is_for() -> None:
    """Each rule is met in the shows above: a judge that is never asked would find no breach."""
    case: dict[str, Any] = {
        "index": random_index(14, 3, 5), "selection": {"presetCooldownSeconds": 100}, "seed": 3,
        "script": script_of(music(20, 5), 5, ACTS), "favourites": ["p-0003", "p-0005", "p-0009"],
    }  # fmt: skip
    seen = judge(case)
    assert min(seen.checked.values()) >= 5
    for spoil in ("presetId", "relaxed", "timeS", "favourite"):
        lines = python_lines(case)
        picks = [made["line"] for made in lines if made["line"]["kind"] == "pick"]
        wrong = {
            "presetId": picks[3]["presetId"],
            "relaxed": ["tier", "presetCooldown"],
            "timeS": 1.0,
            "favourite": True,
        }
        picks[4][spoil] = wrong[spoil] if picks[4][spoil] != wrong[spoil] else not wrong[spoil]
        again = Judge(case, Selection.model_validate(case["selection"]))
        assert again.replay(case["script"], lines), spoil
