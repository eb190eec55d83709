"""The selector in JavaScript is the selector in Python: line by line, to the last bit of a probability."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aivj_assets.contracts.show_log import parse_show_line, selection_log_line
from aivj_assets_tests.selector_builders import (
    SELECTOR_MJS,
    index_of,
    music,
    node_lines,
    python_lines,
    random_index,
    run_node,
    script_of,
)

ACTS = {"skip": 0.01, "favourite": 0.004, "unfavourite": 0.002, "hold": 0.003, "release": 0.01, "blacklist": 0.001}
TIGHT = {"presetCooldownSeconds": 240, "minDwellSeconds": {"calm": 10, "groove": 6, "peak": 3}}
ODD_IDS = [
    "__proto__",
    "constructor",
    "a b",
    "\xff",
    "\U0001f600",
    "\ue000",
    "\uff10",
    "e\u0301",
    '"\\',
    "\u2028",
    "\ud800",
]


def case(index: dict[str, Any], script: Any, *, selection: Any = None, seed: int = 1, **more: Any) -> dict[str, Any]:
    return {"index": index, "selection": selection or {}, "seed": seed, "script": script, **more}


def sizes() -> dict[str, dict[str, Any]]:
    """Libraries of all sizes, with acts, sections, weak tempo, a model and favourites."""
    made = {}
    for place, (count, clusters) in enumerate([(0, 1), (1, 1), (2, 1), (3, 2), (12, 3), (300, 12), (3000, 40)]):
        names = [f"c{number:02d}" for number in range(clusters)]
        rows = music(20, place, bpm=20 if place == 6 else 120, trusted=0.7, clusters=names[::2] if place % 2 else ())
        made[f"{count} presets"] = case(
            random_index(count, clusters), script_of(rows, place, ACTS), selection=TIGHT if place % 2 == 0 else {},
            seed=place * 97, favourites=[f"p-{one:04d}" for one in range(0, count, 50)][::-1],
            blacklist=[f"p-{one:04d}" for one in range(7, count, 20)] + ["unknown"],
        )  # fmt: skip
    return made


def orders() -> dict[str, dict[str, Any]]:
    """A library too small for its rules, under every order in which they may give way."""
    index = random_index(9, 3, seed=4)
    rules = ["clusterCooldown", "tier", "presetCooldown"]
    named = [[rules[a], rules[b]] for a in range(3) for b in range(3) if a != b] + [[], ["tier", "tier"]]
    return {
        f"relax {order}": case(
            index, script_of(music(15, 5), 5, {"skip": 0.02}), seed=-place,
            selection={**TIGHT, "relaxOrder": order, "clusterCooldownSwitches": place % 4},
        )
        for place, order in enumerate(named)
    }  # fmt: skip


def oddities() -> dict[str, dict[str, Any]]:
    """Ids, entries, observations and seeds that nobody expects."""
    letters = [f"{name}{number}" for number in range(12) for name in ODD_IDS]
    entries = [(name, ODD_IDS[place % 5], ("calm", "groove", "peak")[place % 3]) for place, name in enumerate(letters)]
    index = index_of(entries)
    index["entries"] += [
        {"presetId": "", "authorKey": "c", "energy": "calm"}, {"presetId": "x", "energy": "calm"}, None, 3, [],
        {"presetId": "y", "authorKey": "c", "energy": "wild"}, {"presetId": 5, "authorKey": "c", "energy": "calm"},
        {"presetId": "z", "authorKey": None, "energy": "peak"}, {"presetId": "w", "authorKey": "c", "energy": ["calm"]},
        {**index["entries"][3], "energy": "calm", "authorKey": "second"},
    ]  # fmt: skip
    rows = music(10, 8, clusters=["__proto__", "constructor", "elsewhere"])
    odd: list[dict[str, Any]] = [
        {"tier": "unheard"}, {"tier": None}, {"timeS": None}, {"timeS": 3.0}, {"tempoConfidence": "x"},
        {"features": {"__proto__": 1, "a": None, "b": "1", "c": True, "d": 5, "e": 0.1}}, {"features": [1]},
        {"clusterProbabilities": {"__proto__": 7, "constructor": -1, "a b": None}}, {"clusterProbabilities": [1]},
        {"beat": 1, "bar": "yes", "phrase": 2, "section": []}, {"bar": None}, {"section": True, "features": None},
    ]  # fmt: skip
    for place, row in enumerate(rows):
        row.update(odd[place // 5 % len(odd)] if place % 5 == 0 else {})
        if place > len(rows) / 2:
            row["clusterProbabilities"] = {"__proto__": 7, "a b": -1, "\xff": 0.5, "\U0001f600": None}
    script = [
        ["act", "skip", 0],
        ["act", "dance", None],
        *script_of(music(0, 1)),
        ["step", {}],
        ["step", None],
        ["step", [1]],
    ]
    script += [["step", row] for row in rows]
    script += [["act", "hold", 700], ["act", "hold", 701], ["step", {"timeS": 5000.0}], ["act", "blacklist", 5001]]
    script += [["step", {"timeS": 5002.5}], ["finish", None], ["finish", 1], ["step", rows[5]]]
    return {f"odd, seed {seed}": case(index, script, selection=TIGHT, seed=seed) for seed in (0, 2**32 + 5, -3, 2**53)}


@pytest.mark.parametrize("made", [sizes, orders, oddities], ids=lambda made: str(made.__name__))
def test_both_selectors_write_the_same_lines(made: Any, tmp_path: Path) -> None:
    cases = made()
    ours = {name: python_lines(one) for name, one in cases.items()}
    theirs = dict(zip(cases, node_lines(list(cases.values()), tmp_path), strict=True))
    for name, lines in ours.items():
        assert len(theirs[name]) == len(lines), name
        for line, other in zip(lines, theirs[name], strict=True):
            assert line == other, name
            # The order of the fields too: the text of a log is the same but for 16.0 and 16.
            assert list(line["line"]) == list(other["line"])
            parse_show_line(other["line"])
    picks = [line for lines in ours.values() for line in lines if line["line"]["kind"] == "pick"]
    assert len(picks) > 300


def test_the_module_reads_a_policy_that_lacks_values_or_has_wrong_ones(tmp_path: Path) -> None:
    index, script = random_index(60, 4), script_of(music(10, 3), 3)
    wrong = {
        "presetCooldownSeconds": "long",
        "minDwellSeconds": {"calm": -1},
        "relaxOrder": ["mood"],
        "maxWaitSeconds": 3,
    }
    told = [case(index, script, selection=one) for one in ({}, {"presetCooldownSeconds": 1800}, wrong)]
    told.append({**case(index, script), "selection": None})
    lines = node_lines(told, tmp_path)
    assert all(one == python_lines(told[0]) for one in lines)


def test_the_module_writes_the_app_s_log_line() -> None:
    cases: list[tuple[Any, Any]] = [
        (None, None),
        (0.14, "strict"),
        (0.125, None),
        (0.375, "dark"),
        (0.005, None),
        (1, ""),
    ]
    script = (
        f"import {{ selectionLogLine }} from {json.dumps(SELECTOR_MJS.as_uri())};"
        f"console.log(JSON.stringify({json.dumps(cases)}.map(([motion, qualityTier]) => "
        'selectionLogLine("p (1)", { motion, qualityTier }))));'
    )
    told = json.loads(run_node(["--input-type=module", "--eval", script]))
    assert told == [selection_log_line("p (1)", motion=motion, quality_tier=tier) for motion, tier in cases]
    assert told[0] == "selected preset p (1) (aivj-style)"
    assert told[1] == "selected preset p (1) (aivj-style) [m=0.14] [tier=strict]"
