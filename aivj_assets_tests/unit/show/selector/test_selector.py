"""What a person in front of the show would notice of the selector."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import Any

import pytest

from aivj_assets.contracts.show_log import EndLine, PickLine
from aivj_assets.contracts.style import ENERGIES, Selection
from aivj_assets.show.selector.library import PresetLibrary
from aivj_assets.show.selector.selector import Selector, StepResult
from aivj_assets_tests.selector_builders import INDEX_HASH, index_of, music, perform, random_index, script_of


def show(index: dict[str, Any], *, selection: Any = None, seed: int = 1, **more: Any) -> Selector:
    rules = Selection.model_validate(selection or {})
    return Selector(PresetLibrary.of_json(index), rules, seed=seed, index_hash=INDEX_HASH, **more)


def row(time_s: float, tier: str = "groove", **more: Any) -> dict[str, Any]:
    """A row in a phrase that never ends: nothing is due but what `more` says."""
    return {"timeS": time_s, "tier": tier, "tempoConfidence": 1.0, "features": {}, **more}


def pick(selector: Selector, *told: Any, **more: Any) -> PickLine:
    made = selector.step(row(*told, **more)).pick
    assert made is not None
    return made


def both(result: StepResult) -> tuple[EndLine, PickLine]:
    assert result.end is not None
    assert result.pick is not None
    return result.end, result.pick


def test_the_first_row_brings_a_preset_of_the_music_s_tier() -> None:
    first = pick(show(random_index(300, 12)), 0.0, "peak", features={"loudnessMean": 0.7})
    assert (first.number, first.reason, first.tier, first.energy, first.relaxed) == (0, "start", "peak", "peak", [])
    assert first.features == {"loudnessMean": 0.7}
    assert first.index_hash == INDEX_HASH


def test_a_switch_waits_for_the_phrase_then_the_bar_then_the_beat_and_not_longer() -> None:
    def switched(*rows: dict[str, Any]) -> list[Any]:
        selector = show(random_index(300, 12))
        made = [selector.step(one).pick for one in [row(0.0), *rows]][1:]
        return [one and one.reason for one in made]

    # groove: 16 s, then 8 s of waiting, of which 4 s for a phrase alone.
    assert switched(row(15.9, phrase=True), row(16.0, bar=True), row(18.0, phrase=True)) == [None, None, "phrase"]
    assert switched(row(19.9, bar=True), row(20.0, beat=True), row(20.5, bar=True)) == [None, None, "bar"]
    assert switched(row(23.9, beat=True), row(24.0), row(24.3, beat=True)) == [None, None, "beat"]
    assert switched(row(24.9), row(25.0)) == [None, "wait"]
    assert switched(row(15.9, tempoConfidence=0.1), row(16.0, tempoConfidence=0.1)) == [None, "noBeat"]


def test_a_new_section_switches_at_once_or_with_the_first_bar_once_the_dwell_is_over() -> None:
    selector = show(random_index(300, 12))
    pick(selector, 0.0)
    assert selector.step(row(5.0, section=True)) == StepResult()
    assert selector.step(row(15.9, bar=True)) == StepResult()
    assert selector.step(row(16.0, beat=True)) == StepResult()
    end, made = both(selector.step(row(16.5, bar=True)))
    assert (end.ended_by, made.reason, end.dwell_s) == ("section", "section", 16.5)
    assert selector.step(row(33.0)) == StepResult()
    assert both(selector.step(row(33.1, section=True)))[1].reason == "section"
    # Where beats cannot be trusted, or no bar comes, it is not waited for one for ever.
    assert selector.step(row(40.0, section=True)) == StepResult()
    assert both(selector.step(row(49.1, tempoConfidence=0.0)))[1].reason == "section"
    assert selector.step(row(60.0, section=True)) == StepResult()
    assert selector.step(row(73.0)) == StepResult()
    assert both(selector.step(row(73.2)))[1].reason == "section"


def test_another_tier_switches_at_the_next_beat_once_its_own_dwell_is_over() -> None:
    selector = show(random_index(300, 12))
    pick(selector, 0.0, "calm")
    assert selector.step(row(7.9, "peak", beat=True)) == StepResult()
    assert selector.step(row(8.0, "peak")) == StepResult()
    end, made = both(selector.step(row(8.3, "peak", beat=True)))
    assert (end.ended_by, made.reason, made.tier, made.energy) == ("tier", "tier", "peak", "peak")
    # Without beats that can be trusted there is nothing to wait for.
    assert both(selector.step(row(24.5, "groove", tempoConfidence=0.0)))[1].reason == "tier"


def test_a_skip_switches_with_the_next_row_whatever_the_dwell() -> None:
    selector = show(random_index(300, 12))
    first = pick(selector, 0.0)
    line = selector.act("skip", 1.5)
    assert line is not None
    assert (line.act, line.preset_id, line.time_s) == ("skip", first.preset_id, 1.5)
    end, made = both(selector.step(row(1.55)))
    assert (end.ended_by, end.preset_id, made.reason) == ("skip", first.preset_id, "skip")
    assert selector.step(row(1.6)) == StepResult()


def test_hold_keeps_a_preset_until_it_is_released_or_skipped() -> None:
    selector = show(random_index(300, 12))
    pick(selector, 0.0)
    assert selector.act("hold", 10.0) is not None
    assert selector.step(row(100.0, "peak", phrase=True, section=True)) == StepResult()
    selector.act("release", 110.0)
    # What the music did meanwhile does not count, and the wait begins with the release.
    assert selector.step(row(110.1)) == StepResult()
    end, made = both(selector.step(row(112.0, phrase=True)))
    assert (made.reason, end.dwell_s, end.held_s) == ("phrase", 112.0, 100.0)
    selector.act("hold", 113.0)
    selector.act("skip", 115.0)
    assert both(selector.step(row(115.0)))[0].held_s == 2.0
    assert both(selector.step(row(131.0, section=True)))[0].held_s == 0.0


def test_a_favourite_comes_before_all_others_though_its_cluster_was_just_shown() -> None:
    entries = [(f"p{number}", "c00" if number < 5 else f"c{number:02d}", "groove") for number in range(40)]
    selector = show(index_of(entries), favourites=["p1", "p3", "unknown"])
    first, second, third = (pick(selector, at, tempoConfidence=0.0) for at in (0.0, 16.0, 32.0))
    assert {first.preset_id, second.preset_id} == {"p1", "p3"}
    assert (first.favourite, second.favourite, third.favourite) == (True, True, False)
    assert second.relaxed == []
    # They come back when their cooldown is over, but not one whose mark was taken away.
    back, again = (pick(selector, at, tempoConfidence=0.0) for at in (2000.0, 2020.0))
    assert {back.preset_id, again.preset_id} == {"p1", "p3"}
    selector.act("unfavourite", 2021.0)
    selector.act("favourite", 2022.0)
    selector.act("unfavourite", 2023.0)
    later = [pick(selector, at, tempoConfidence=0.0) for at in (4000.0, 4020.0, 4040.0)]
    assert [one.favourite for one in later] == [True, False, False]
    assert later[0].preset_id == back.preset_id


def test_a_blacklisted_preset_leaves_at_once_and_never_comes_back() -> None:
    selector = show(random_index(3, 1, energies=["groove"]), blacklist=["p-0001"])
    banned = pick(selector, 0.0).preset_id
    selector.act("blacklist", 1.0)
    end, made = both(selector.step(row(1.0)))
    assert (end.preset_id, end.ended_by, made.reason) == (banned, "skip", "skip")
    assert {made.preset_id, banned} == {"p-0000", "p-0002"}
    # The last one stays for good; when it is banned too the screen is empty, and the reason is told.
    for at in range(2, 200):
        assert selector.step(row(float(at), phrase=True, section=True)) == StepResult()
    assert selector.problem is None
    selector.act("blacklist", 200.0)
    last = selector.step(row(200.0))
    assert last.end is not None
    assert (last.end.preset_id, last.pick, selector.on_screen) == (made.preset_id, None, None)
    assert selector.problem == "All 3 presets of the style index are blacklisted."
    assert selector.step(row(201.0)) == StepResult()
    assert selector.act("skip", 202.0) is None
    assert selector.finish(203.0) is None


@pytest.mark.parametrize("index", [index_of([]), {}, None, {"entries": [{"presetId": "p", "energy": "calm"}]}])
def test_an_index_without_presets_gives_an_empty_show_and_says_why(index: Any) -> None:
    selector = show(index)
    assert str(selector.problem).startswith("The style index has no preset")
    assert perform(selector, script_of(music(1), acts={"skip": 0.1, "hold": 0.1})) == []


def test_one_preset_stays_on_screen_and_the_log_is_not_flooded() -> None:
    lines = perform(show(random_index(1, 1)), script_of(music(30, 2)))
    assert [made["line"]["kind"] for made in lines] == ["pick", "end"]
    assert lines[1]["line"]["endedBy"] == "stop"


def test_rules_give_way_in_their_order_and_only_as_far_as_they_must() -> None:
    def relaxed(entries: list[tuple[str, str, str]], **selection: Any) -> list[tuple[str, list[str]]]:
        selector = show(index_of(entries), selection=selection)
        made = [pick(selector, 16.0 * number, tempoConfidence=0.0) for number in range(4)]
        return [(one.preset_id, list(one.relaxed)) for one in made][2:]

    two_styles = [("a1", "a", "groove"), ("a2", "a", "groove"), ("b1", "b", "groove"), ("b2", "b", "groove")]
    assert [rules for _, rules in relaxed(two_styles)] == [["clusterCooldown"]] * 2
    # The tier gives way to the nearest one, whose cluster is not cooling.
    small = [("g1", "a", "groove"), ("g2", "b", "groove"), ("k1", "c", "calm"), ("p1", "d", "peak")]
    assert {name for name, _ in relaxed(small)} == {"k1", "p1"}
    assert [rules for _, rules in relaxed(small)] == [["tier"]] * 2
    # With no tier left it is the preset that left longest ago.
    assert relaxed(small[:2]) == [
        (name, ["clusterCooldown", "presetCooldown"]) for name, _ in relaxed(small[:2], presetCooldownSeconds=16)
    ]  # fmt: skip
    # Another order: the preset cooldown first.
    first = relaxed(small, relaxOrder=["presetCooldown", "clusterCooldown", "tier"])
    assert [(name[0], rules) for name, rules in first] == [("g", ["presetCooldown", "clusterCooldown"])] * 2


def test_an_empty_tier_borrows_from_its_neighbour() -> None:
    index = random_index(60, 6, energies=["groove", "peak"])
    lines = perform(show(index), script_of([{**one, "tier": "calm"} for one in music(10)]))
    picks = [made["line"] for made in lines if made["line"]["kind"] == "pick"]
    assert {line["energy"] for line in picks} == {"groove"}
    assert all("tier" in line["relaxed"] for line in picks)


def test_the_model_s_clusters_are_preferred_and_the_others_still_come() -> None:
    index = index_of((f"p{number:03d}", f"c{number % 10}", "groove") for number in range(5000))
    heard = {f"c{number}": 0.9 if number == 3 else 0.1 / 9 for number in range(10)}
    selection = {"clusterCooldownSwitches": 0, "minDwellSeconds": {"groove": 1}, "presetCooldownSeconds": 0}
    selector = show(index, selection=selection)
    picks = [pick(selector, float(at), tempoConfidence=0.0, clusterProbabilities=heard) for at in range(300)]
    counts = Counter(one.cluster for one in picks)
    # 0.9 times 0.9 and a tenth of 0.1 are 0.82.
    assert 0.75 < counts["c3"] / 300 < 0.89
    assert len(counts) >= 8
    for place, odd in enumerate([{}, {"c3": math.nan}, {"c3": 7}, dict.fromkeys(heard, 0.0), [1], "c3"]):
        made = pick(selector, 1000.0 + place, tempoConfidence=0.0, clusterProbabilities=odd)
        assert sum(one.probability for one in made.candidates) < 0.1


def test_large_clusters_do_not_take_over_the_show() -> None:
    entries = [(f"big{number:03d}", "big", "groove") for number in range(900)]
    entries += [(f"{name}{number}", name, "groove") for name in "abcdefghi" for number in range(11)]
    rules = {"clusterCooldownSwitches": 0, "minDwellSeconds": {"groove": 1}}
    selector = show(index_of(entries), selection=rules)
    picks = [pick(selector, float(at), tempoConfidence=0.0) for at in range(90)]
    counts = Counter(one.cluster for one in picks)
    assert 0.25 < counts["big"] / 90 < 0.75
    assert len(counts) == 10


def test_observations_that_make_no_sense_do_not_break_the_show() -> None:
    selector = show(random_index(300, 12))
    odd: list[Any] = [
        {}, None, row(math.nan), row(math.inf, "loud"), row(20.0, features={"a": math.nan, "b": 10**400, "c": 1}),
        row(-50.0), row(21.0, None, tempoConfidence=math.nan, clusterProbabilities={"c00": math.nan}, features=None),
    ]  # fmt: skip
    picks = [made.pick for made in map(selector.step, odd) if made.pick is not None]
    assert [one.reason for one in picks] == ["start", "noBeat"]
    assert picks[0].tier == "groove"
    assert all(math.isfinite(value) for one in picks for value in one.features.values())


def test_a_track_that_is_wound_back_goes_on_switching_and_no_time_is_counted_twice() -> None:
    selector = show(random_index(300, 12))
    pick(selector, 1000.0)
    assert selector.step(row(5.0, phrase=True)) == StepResult()
    assert selector.step(row(20.9, phrase=True)) == StepResult()
    end, made = both(selector.step(row(21.0, phrase=True)))
    assert (made.time_s, end.dwell_s) == (1016.0, 16.0)
    # An act that was timed a little ahead of the rows is no seek.
    selector.act("hold", 21.04)
    selector.act("release", 21.04)
    assert both(selector.step(row(37.2, phrase=True)))[1].time_s == pytest.approx(1032.2)


def test_the_seed_decides() -> None:
    index, script = random_index(300, 12), script_of(music(10))
    one, again, other = (perform(show(index, seed=seed), script) for seed in (7, 7, 8))
    assert one == again
    chosen = [[made["line"]["presetId"] for made in lines if made["line"]["kind"] == "pick"] for lines in (one, other)]
    assert chosen[0] != chosen[1]


def test_the_order_of_the_index_file_does_not_matter() -> None:
    index, script = random_index(300, 12), script_of(music(10))
    turned = {**index, "entries": index["entries"][::-1]}
    assert perform(show(index), script) == perform(show(turned), script)


def test_an_end_follows_every_pick_and_a_finished_show_can_begin_again() -> None:
    selector = show(random_index(30, 4))
    lines = [made["line"] for made in perform(selector, script_of(music(10)))]
    picks = [line["number"] for line in lines if line["kind"] == "pick"]
    assert picks == [line["number"] for line in lines if line["kind"] == "end"] == list(range(len(picks)))
    assert selector.on_screen is None
    assert pick(selector, 700.0).number == len(picks)


def test_the_log_line_tells_motion_and_quality_where_they_are_known() -> None:
    made = PresetLibrary([("p", "c00", "calm")], motion={"p": 0.14}, quality_tiers={"p": "strict"})
    assert made.log_line("p") == "selected preset p (aivj-style) [m=0.14] [tier=strict]"
    assert PresetLibrary([("p", "c00", "calm")]).log_line("p") == "selected preset p (aivj-style)"


def test_a_pick_among_130000_presets_takes_less_than_20_ms() -> None:
    library = PresetLibrary((f"p{n:06d}", f"c{n % 397:03d}", ENERGIES[n % 3]) for n in range(130_000))
    rules = Selection.model_validate({"minDwellSeconds": {"groove": 1}, "presetCooldownSeconds": 100})
    selector = Selector(library, rules, seed=1, index_hash=INDEX_HASH, favourites=library.ids[:20])
    took = []
    for at in range(60):
        began = time.process_time()
        made = pick(selector, 100.0 * at, tempoConfidence=0.0, clusterProbabilities={"c001": 0.5})
        took.append((time.process_time() - began) * 1000)
        assert not made.relaxed
        selector.act("unfavourite", 100.0 * at)
    assert sorted(took)[len(took) // 2] < 20
