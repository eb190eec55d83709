"""The judge finds what breaks a rule, and nothing in a show that keeps all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from aivj_assets.contracts.rehearsal import Violation
from aivj_assets.contracts.show_log import ActLine, Candidate, EndLine, PickLine
from aivj_assets.contracts.style import Selection, StyleEntry
from aivj_assets.show.rehearsal.heard import Acts, Heard, Shown, acts_of, shown_of
from aivj_assets.show.rehearsal.judge import Rules, judge, judge_log
from aivj_assets.show.rehearsal.play import play
from aivj_assets.show.selector.library import PresetLibrary
from aivj_assets.show.selector.selector import Selector
from aivj_assets_tests.rehearsal_builders import entries_of, heard_of, set_of, shown_every, timeline_of

ENTRIES = entries_of(60, 5)
LIBRARY = {entry.preset_id: entry for entry in ENTRIES}
GROOVE = [entry for entry in ENTRIES if entry.energy == "groove"]
SELECTION = Selection.model_validate(
    {
        "presetCooldownSeconds": 100,
        "clusterCooldownSwitches": 2,
        "minDwellSeconds": {"calm": 24, "groove": 16, "peak": 8},
        "maxWaitSeconds": {"calm": 8, "groove": 8, "peak": 4},
    }
)
RULES = Rules(LIBRARY, SELECTION)
HEARD = heard_of([("groove", 180.0)])


def good() -> list[Shown]:
    """Nine presets of groove, 20 s each, of five clusters in turn."""
    return shown_every(20.0, GROOVE[:9])


def rules_broken(shown: list[Shown], heard: Heard = HEARD, rules: Rules = RULES) -> list[str]:
    return [one.rule for one in judge(shown, heard, rules)]


def test_a_show_that_keeps_all_rules_is_clean() -> None:
    assert rules_broken(good()) == []


def with_preset(number: int, entry: StyleEntry, **more: object) -> list[Shown]:
    shown = good()
    shown[number] = replace(
        shown[number], preset_id=entry.preset_id, cluster=entry.author_key, energy=entry.energy, **more
    )
    return shown


def other_of(cluster: str) -> StyleEntry:
    return next(entry for entry in GROOVE[9:] if entry.author_key == cluster)


@pytest.mark.parametrize(
    ("shown", "rule", "at_s", "said"),
    [
        (with_preset(5, GROOVE[0]), "presetCooldown", 100.05, "back after 80.0 s of 100"),
        (with_preset(4, other_of(GROOVE[3].author_key)), "clusterCooldown", 80.05, "was picked 1 before"),
        (with_preset(4, other_of(GROOVE[2].author_key)), "clusterCooldown", 80.05, "was picked 2 before"),
        (with_preset(4, ENTRIES[29]), "tier", 80.05, "peak while the music was groove"),
    ],
    ids=["preset", "cluster just before", "cluster two before", "energy"],
)
def test_a_preset_that_may_not_come_is_found_and_no_other(
    shown: list[Shown], rule: str, at_s: float, said: str
) -> None:
    (found,) = judge(shown, HEARD, RULES)
    assert (found.rule, found.time_s, found.preset_id) == (rule, at_s, shown[round(at_s / 20)].preset_id)
    assert said in found.detail


@pytest.mark.parametrize(("cooldown_s", "found"), [(80.0, []), (80.1, ["presetCooldown"])])
def test_what_comes_back_when_its_cooldown_is_over_is_no_violation(cooldown_s: float, found: list[str]) -> None:
    selection = SELECTION.model_copy(update={"preset_cooldown_seconds": cooldown_s})
    assert rules_broken(with_preset(5, GROOVE[0]), rules=replace(RULES, selection=selection)) == found


def test_a_blacklisted_preset_is_found_from_the_moment_of_its_blacklisting() -> None:
    assert rules_broken(good(), rules=replace(RULES, blacklist={GROOVE[3].preset_id})) == ["blacklisted"]
    for at_s, found in ((50.0, ["blacklisted"]), (70.0, [])):
        acts = Acts(blacklisted_s={GROOVE[3].preset_id: at_s})
        assert rules_broken(good(), rules=replace(RULES, acts=acts)) == found


def test_a_preset_that_leaves_early_is_found_unless_a_person_skipped_it() -> None:
    shown = good()
    shown[4] = replace(shown[4], time_s=shown[3].time_s + 15.95)
    assert "dwell" in rules_broken(shown)
    shown[4] = replace(shown[4], reason="skip")
    assert "dwell" not in rules_broken(shown)
    # The tier of the music when it leaves decides: peak asks for 8 s.
    sections = heard_of([("groove", 70.0), ("peak", 10.0), ("groove", 100.0)])
    peak = ENTRIES[2]
    shown[4] = Shown(75.0, peak.preset_id, peak.author_key, "peak", "peak")
    assert "dwell" not in rules_broken(shown[:5], sections)


def test_a_switch_that_comes_late_is_a_stall_and_the_longest_wait_is_none() -> None:
    # 16 s of dwell, 8 s of wait, 2 s of grace.
    assert rules_broken(shown_every(26.0, GROOVE[:7])) == []
    assert rules_broken(shown_every(26.1, GROOVE[:7])) == ["stall"] * 6
    # The last one is judged until the end.
    (found,) = judge(good()[:8], HEARD, RULES)
    assert (found.rule, found.preset_id) == ("stall", GROOVE[7].preset_id)


def test_a_calmer_tier_makes_a_switch_not_due_again() -> None:
    # At 22 s the music calms down, which asks for 24 s: due from 24 s on, with 8 s of wait.
    heard = heard_of([("groove", 22.0), ("calm", 60.0)])
    first = GROOVE[0]
    calm = ENTRIES[3]
    for leaves_s, found in ((33.9, []), (34.2, ["stall"])):
        shown = [
            Shown(0.05, first.preset_id, first.author_key, "groove", "groove"),
            Shown(leaves_s, calm.preset_id, calm.author_key, "calm", "calm"),
        ]
        assert rules_broken(shown, replace(heard, end_s=60.0)) == found


def test_what_a_person_holds_is_no_stall() -> None:
    shown = good()[:1]
    assert rules_broken(shown) == ["stall"]
    lines = [ActLine(time_s=10.0, act="hold", preset_id=shown[0].preset_id)]
    assert rules_broken(shown, rules=replace(RULES, acts=acts_of(lines, 180.0))) == []


def test_one_preset_alone_stays_and_nothing_shown_at_all_is_a_stall() -> None:
    first = ENTRIES[1]
    alone = Rules({first.preset_id: first}, SELECTION)
    assert rules_broken(good()[:1], rules=alone) == []
    assert rules_broken([], rules=alone) == ["stall"]
    assert rules_broken([], rules=Rules({}, SELECTION)) == []
    assert rules_broken([], rules=replace(alone, blacklist={first.preset_id})) == []
    late = [replace(good()[0], time_s=5.0)]
    (found,) = judge(late, HEARD, alone)
    assert found.detail == "nothing was shown for 5.0 s"


def test_a_rule_that_gave_way_is_no_violation_only_where_it_had_to() -> None:
    three = {entry.preset_id: entry for entry in GROOVE[:3]}
    rules = Rules(three, SELECTION)
    back = with_preset(3, GROOVE[0], relaxed=("clusterCooldown", "presetCooldown"))[:4]
    heard = replace(heard_of([("groove", 80.0)]), end_s=80.0)
    assert rules_broken(back, heard, rules) == []
    assert rules_broken(back, heard, RULES) == ["needlessRelax"]


def test_a_pick_that_the_index_does_not_know_contradicts_it() -> None:
    shown = good()
    for wrong in ({"preset_id": "nobody"}, {"cluster": "c77"}, {"energy": "peak"}):
        shown[2] = replace(good()[2], **wrong)
        assert "log" in rules_broken(shown)
    assert rules_broken([replace(one, tier="calm") for one in good()]) == ["log"] * 9


def selectors_log() -> list[PickLine | EndLine]:
    timeline = timeline_of(set_of(4))
    library = PresetLibrary((entry.preset_id, entry.author_key, entry.energy) for entry in ENTRIES)
    return play(timeline, Selector(library, SELECTION, seed=3, index_hash="a" * 64))


def test_the_selectors_own_log_holds_together() -> None:
    log = selectors_log()
    assert len(shown_of(log)) > 8
    assert judge_log(log, RULES) == []
    assert rules_broken(shown_of(log), heard_of(set_of(4))) == []


LIKELY = Candidate(preset_id=GROOVE[0].preset_id, cluster="c00", probability=0.5)
Tamper = Callable[[list[PickLine | EndLine]], None]


def change(kind: type[PickLine | EndLine], which: int, /, **values: object) -> Tamper:
    def done(log: list[PickLine | EndLine]) -> None:
        place = [at for at, line in enumerate(log) if isinstance(line, kind)][which]
        log[place] = log[place].model_copy(update=values)

    return done


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (change(PickLine, 2, number=7), "pick 2 is numbered 7"),
        (change(PickLine, 2, candidate_count=2), "lists 8 of 2 candidates"),
        (change(PickLine, 2, candidates=[LIKELY] * 8), "add up to 4.000000"),
        (change(EndLine, 3, preset_id="nobody"), "its end line names 'nobody'"),
        (change(EndLine, 3, dwell_s=1.0), "it says 1.000 s on screen"),
        (change(EndLine, 3, number=900), "it has no end line"),
    ],
)
def test_a_log_that_contradicts_itself_is_found(tamper: Tamper, said: str) -> None:
    log = selectors_log()
    tamper(log)
    found: list[Violation] = judge_log(log, RULES)
    assert {one.rule for one in found} == {"log"}
    assert any(said in one.detail for one in found), [one.detail for one in found]
