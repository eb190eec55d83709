"""The model: what a browser makes of its file, what it learns, and what the proof lets through."""

from __future__ import annotations

import json
import math
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aivj_assets.contracts.audio_style_model import (
    BASE_INPUTS,
    MODEL_BEATS_BASELINE,
    AudioStyleModel,
    Comparison,
    Interval,
    ModelEvaluation,
)
from aivj_assets.contracts.reactivity import Reactivity
from aivj_assets.contracts.style import ENERGIES, StyleEntry, StyleIndex
from aivj_assets.errors import UserError
from aivj_assets.layout import project_root
from aivj_assets.show.learn.design import Design, input_row, make_design, tier_shares
from aivj_assets.show.learn.evaluate import hold_out
from aivj_assets.show.learn.evidence import Judged, read_logs
from aivj_assets.show.learn.export import export
from aivj_assets.show.learn.fit import CLIP, Setting, fit
from aivj_assets.show.learn.other_pairs import energy_pairs, reactivity_pairs
from aivj_assets.show.learn.retrieval import PresetRows
from aivj_assets.show.learn.style_model import StyleModel
from aivj_assets.show.learn.train import Material, Options, check_options, digest, one_thread, prepare_evidence, train
from aivj_assets_tests.show_logs import Show, Taste, taste_of_audio

INPUTS = list(BASE_INPUTS)
MODULE = project_root() / "aivj_assets" / "show" / "web" / "aivj-audio-style.mjs"


def index_of(clusters: list[str]) -> StyleIndex:
    entries = [
        StyleEntry(preset_id=f"{cluster}-p{number}", author_key=cluster, energy=ENERGIES[number % 3], tags=[])
        for cluster in clusters
        for number in range(6)
    ]
    return StyleIndex(version="v1", generated_at="x", pack="pack", entries=entries)


def material(
    tmp_path: Path, clusters: list[str], taste: Taste | None, *, tracks: int, picks: int, **more: Any
) -> Material:
    for number in range(tracks):
        Show(clusters, taste, track=f"track-{number}", seed=1, picks=picks, **more).save(tmp_path / "shows")
    logs = read_logs((tmp_path / "shows").glob("*.jsonl"), "pack")
    return prepare_evidence(Material("pack", index_of(clusters), "a" * 64, logs))


def in_node(path: Path, asked: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Evaluate a model's file with the module that an app imports; odd numbers as JavaScript has them."""
    script = (
        f"import {{ styleProbabilities }} from {json.dumps(MODULE.as_uri())};\n"
        "import { readFileSync } from 'node:fs';\n"
        "const [model, asked] = process.argv.slice(1).map((path) => JSON.parse(readFileSync(path, 'utf8')));\n"
        "const odd = { nan: NaN, inf: Infinity, none: undefined };\n"
        "const real = (told) => Object.fromEntries(Object.entries(told).map(([n, v]) => [n, v in odd ? odd[v] : v]));\n"
        "const p = asked.map(({ features, tier }) => styleProbabilities(model, real(features), tier));\n"
        "console.log(JSON.stringify(p));"
    )
    asked_path = path.with_name("asked.json")
    asked_path.write_text(json.dumps(asked), encoding="utf-8")
    command = ["node", "--input-type=module", "--eval", script, str(path), str(asked_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, float]] = json.loads(done.stdout)
    return answers


@pytest.mark.parametrize(
    ("kind", "form", "clusters"),
    [("logistic", "one", 5), ("logistic", "one", 2), ("mlp", "one", 4), ("mlp", "one", 2), ("logistic", "several", 3)],
)
def test_a_browser_python_and_scikit_learn_agree(tmp_path: Path, kind: Any, form: Any, clusters: int) -> None:
    names = [f"c{number:02d}" for number in range(clusters)]
    made = material(tmp_path, names, taste_of_audio(clusters), tracks=3, picks=40)
    design = make_design(made.logs.judged, names, INPUTS)
    # An input that is missing throughout, and one that never changes.
    x = design.x.copy()
    x[:, 3], x[:, 5], x[::4, 1] = np.nan, 2.5, np.nan
    with one_thread():
        setting = Setting(kind=kind, form=form, c=1.0)
        fitted = fit(design.with_x(x), tier_shares(made.index, names), INPUTS, setting)
        wide = np.random.default_rng(1).normal(0, 30, (40, len(INPUTS)))
        wide[:, -3:] = np.eye(3)[np.arange(40) % 3]
        wide[0, :15], wide[1, :15], wide[2, 4] = 1e12, -1e12, np.nan
        expected = fitted.probabilities(wide)
    told = train_file(tmp_path, made, names, fitted)
    asked = [
        {
            "features": {name: "nan" if math.isnan(v) else v for name, v in zip(INPUTS[:15], row, strict=False)},
            "tier": ENERGIES[number % 3],
        }
        for number, row in enumerate(wide.tolist())
    ]
    model = StyleModel.load(told)
    own = [model.probabilities(dict(zip(INPUTS, row, strict=True))) for row in wide.tolist()]
    browser = in_node(told, asked)
    for number, row in enumerate(expected):
        assert list(browser[number].values()) == pytest.approx(row.tolist(), abs=1e-5)
        assert list(own[number].values()) == pytest.approx(row.tolist(), abs=1e-5)
        if form == "one":
            assert math.fsum(browser[number].values()) == pytest.approx(1)


def train_file(tmp_path: Path, made: Material, names: list[str], fitted: Any) -> Path:
    exported = export(fitted, INPUTS)
    model = AudioStyleModel(
        generated_at="x", pack="pack", index_hash="a" * 64, inputs_sha256="b" * 64, inputs=INPUTS, mean=exported.mean,
        scale=exported.scale, clip=CLIP, layers=exported.layers, output=exported.output, clusters=names, parameters={},
        evidence={"logs": 1, "counted": {}, "left_out": {}},
        evaluation=ModelEvaluation(groups=0, judged=0, folds=0, bootstraps=0), published=False, verdict="x",
        circular=False,
    )  # fmt: skip
    path = tmp_path / "model.json"
    model.save(path)
    return path


def test_what_is_missing_or_no_number_counts_as_average_everywhere(tmp_path: Path) -> None:
    names = ["c00", "c01", "c02"]
    made = material(tmp_path, names, taste_of_audio(3), tracks=3, picks=30)
    with one_thread():
        fitted = fit(make_design(made.logs.judged, names, INPUTS), tier_shares(made.index, names), INPUTS, Setting())
    path = train_file(tmp_path, made, names, fitted)
    model = StyleModel.load(path)
    average = model.probabilities(dict(zip(INPUTS, model.model.mean, strict=True)))
    odd = {"lowMean": math.nan, "loudnessMean": math.inf}
    assert model.probabilities(odd) == pytest.approx(average)
    asked = [{"features": {}}, {"features": {"lowMean": "nan", "loudnessMean": "inf", "highMean": "none"}}]
    for found in in_node(path, asked):
        assert found == pytest.approx(average, abs=1e-6)


def test_tracks_are_held_out_whole_so_that_what_only_a_track_shares_is_not_foretold() -> None:
    """Each track has a sound and a style of its own; two sessions of a track are one group."""
    clusters = [f"c{number:02d}" for number in range(12)]
    rng = np.random.default_rng(0)
    judged = []
    for track in range(12):
        sound = dict(zip(INPUTS[:15], rng.normal(0, 3, 15).tolist(), strict=True))
        judged += [
            Judged(sound, "groove", clusters[track], "p", True, 1.0, f"sha256:{track}", float(n), None, "a" * 64)
            for n in range(10)
        ]
    design = make_design(judged, clusters, INPUTS)
    shares = np.full((3, 12), 1 / 12)
    with one_thread():
        held = hold_out(design, shares, INPUTS, Setting())
        seen = fit(design, shares, INPUTS, Setting(c=0.25)).probabilities(design.x)
    own = np.arange(len(design)), design.cluster
    # Whoever has heard the track knows its style; whoever has not cannot.
    assert np.median(seen[own]) > 0.5
    assert held.model[own].max() < 0.1


def test_scaling_is_learned_from_the_training_tracks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from aivj_assets.show.learn import evaluate

    fitted: list[Design] = []

    def spying(design: Design, *rest: Any) -> Any:
        fitted.append(design)
        return fit(design, *rest)

    monkeypatch.setattr(evaluate, "fit", spying)
    judged = [
        Judged({"lowMean": float(track)}, "groove", f"c0{track % 2}", "p", True, 1.0, f"t{track}", 0.0, None, "x")
        for track in range(6)
        for _ in range(3)
    ]
    design = make_design(judged, ["c00", "c01"], INPUTS)
    with one_thread():
        evaluate.hold_out(design, np.full((3, 2), 0.5), INPUTS, Setting())
    assert fitted
    assert all(len(np.unique(seen.group)) < 6 for seen in fitted)


@pytest.mark.parametrize(
    ("groups", "judged", "baseline", "control", "told"),
    [
        (8, 300, (-0.3, -0.1), (-0.3, -0.1), "The model is published: on 8 tracks"),
        (8, 300, (-0.3, 0.0), (-0.3, -0.1), "not surely better than the frequency of styles in each tier"),
        (8, 300, (-0.3, -0.1), (-0.3, 0.01), "so it is not the audio"),
        (4, 300, (-0.3, -0.1), (-0.3, -0.1), "picks of 4 tracks, and fewer than 5"),
        (8, 29, (-0.3, -0.1), (-0.3, -0.1), "29 picks, and fewer than 30"),
    ],
)
def test_the_gate_lets_through_what_is_surely_better_than_both_and_says_why_not(
    groups: int, judged: int, baseline: tuple[float, float], control: tuple[float, float], told: str
) -> None:
    def compared(interval: tuple[float, float]) -> Comparison:
        return Comparison(difference=-0.1, interval=Interval(low=interval[0], high=interval[1]))

    verdict = MODEL_BEATS_BASELINE.judge(
        ModelEvaluation(
            groups=groups, judged=judged, folds=5, bootstraps=10, against_baseline=compared(baseline),
            against_control=compared(control),
        )
    )  # fmt: skip
    assert told in verdict.sentence
    assert verdict.passed == ("published" in told)


def test_pairs_by_energy_are_circular_and_prove_nothing(tmp_path: Path) -> None:
    clusters = ["c00", "c01"]
    index = index_of(clusters)
    rng = np.random.default_rng(2)
    circular = [
        Judged(
            {"loudnessMean": tier + float(rng.normal(0, 0.1))}, ENERGIES[tier], clusters[tier % 2], "", True, 0.1,
            f"energy:{n % 8}", 0.0, None, "",
        )
        for n in range(200)
        for tier in (0, 1)
    ]  # fmt: skip
    made = prepare_evidence(Material("pack", index, "a" * 64, read_logs([], "pack"), circular=circular))
    model = train(made, Options())
    assert (model.circular, model.published, model.evidence.circular) == (True, False, 400)
    assert "persons judged picks of 0 tracks" in model.verdict
    p = StyleModel(model).probabilities({"loudnessMean": 1.0}, "groove")
    assert p["c01"] > p["c00"]


def test_a_retrieval_finds_presets_like_those_that_were_liked(tmp_path: Path) -> None:
    clusters = ["c00", "c01", "c02", "c03"]
    made = material(tmp_path, clusters, taste_of_audio(4), tracks=4, picks=80, favourites=1, noise=0)
    ids = [entry.preset_id for entry in made.index.entries]
    centres = np.eye(4, 8)
    rng = np.random.default_rng(5)
    rows = np.array([centres[clusters.index(name[:3])] + rng.normal(0, 0.1, 8) for name in ids], dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    made.presets = PresetRows(rows, ids, "test-model")
    trained = train(made, Options())
    score = trained.retrieval.score if trained.retrieval else None
    assert score is not None
    assert score.model_median_rank_fraction < 0.75 * score.baseline_median_rank_fraction
    found = StyleModel(trained).nearest({"lowMean": 0.75, "brightnessMean": 0.1}, "groove", rows, ids, count=3)
    assert {name[:3] for name, _ in found} == {"c02"}
    assert digest(made, Options()) == trained.inputs_sha256 != digest(made, Options(seed=2))
    assert train(made, Options()).model_copy(update={"generated_at": trained.generated_at}) == trained


def test_reactive_presets_go_with_the_sounds_that_they_move_with() -> None:
    scored = {"envelope": "level", "lag_s": 0, "other": 0, "p": 0.01}
    entry = {"energy": "peak", "score": 0.5, "control": 0.1, "other": 0, "p": 0, "q": 0, "difference": 0.1,
             "motion_silence": 0, "motion_audio": 0.1}  # fmt: skip
    audios = [
        {"audio": "pulse", "score": 0.6, "control": 0.1, **scored},
        {"audio": "hiss", "score": 0.0, "control": 0.1, **scored},
    ]
    found = Reactivity.model_validate(
        {
            "generated_at": "x", "pack": "pack", "seed": 1, "requested": 2, "batches": [], "parameters": {},
            "audios": [
                {"name": name, "audio": name, "sha256": "0", "duration_s": 8, "features": {"lowMean": 0.5}}
                for name in ("pulse", "hiss")
            ],
            "method": {"envelopes": [], "lags_s": [], "shifts": 1, "alpha": 0.1, "seed": 1, "min_difference": 0.01},
            "entries": [
                {"preset_id": "a", "cluster": "c00", "audios": audios, "reactive": True, **entry},
                {"preset_id": "b", "cluster": "c01", "audios": audios, "reactive": False, **entry},
            ],
            "clusters": [], "reactive_fraction": 0.5, "duration_s": 1,
        }
    )  # fmt: skip
    pairs = reactivity_pairs(found, ["c00", "c01"])
    assert Counter((pair.cluster, pair.group) for pair in pairs) == {("c00", "reactivity:pulse"): 3}
    assert sum(pair.weight for pair in pairs) == pytest.approx(0.5)


def test_options_that_do_not_go_together_and_nothing_to_learn_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--styles several goes with --model logistic"):
        check_options(Options(kind="mlp", form="several"))
    with pytest.raises(UserError, match="aivj show pack, skip what does not fit"):
        prepare_evidence(Material("pack", index_of(["c00"]), "a" * 64, read_logs([], "pack")))
    only = material(tmp_path, ["c00"], None, tracks=2, picks=10)
    with pytest.raises(UserError, match="has one style"):
        train(only, Options())


def test_inputs_are_read_by_name_and_the_tier_is_one_of_them() -> None:
    row = input_row({"lowMean": 0.25, "mine": 3.0}, "peak", INPUTS)
    told = dict(zip(INPUTS, row.tolist(), strict=True))
    assert (told["lowMean"], told["tier.peak"], told["tier.calm"]) == (0.25, 1.0, 0.0)
    assert math.isnan(told["highMean"])
    assert np.isnan(input_row({}, None, INPUTS)).all()
    assert energy_pairs([], np.full((3, 2), 0.5), ["c00", "c01"], seed=1) == []
