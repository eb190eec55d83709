from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from aivj_assets.cli.app import app
from aivj_assets.show import tier_bench
from aivj_assets.show.generate import Section, generate_set
from aivj_assets.show.tier_bench import Truth, bench_tiers, bootstrap, f_measure, row_rms, tier_score
from aivj_assets.show.timeline import analyse


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tier_bench.tune_baselines, "__defaults__", (range(2), 1.0))
    monkeypatch.setattr(tier_bench.measure_speed, "__defaults__", (0.2, 44_100))


def test_figures_of_a_confusion_counted_by_hand() -> None:
    # Shorter than the second for which a tier must be told: then its whole length.
    sections = [Section("a", "calm", 0, 0.2, 0), Section("b", "peak", 0.2, 0.5, 0)]
    truth = Truth(np.array([0, 0, 0, 0, 2, 2, 2, 2, 2, 2]), sections)
    score = tier_score(np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2]), truth)
    assert score.accuracy == pytest.approx(0.7)
    assert score.recall == {"calm": 0.75, "peak": pytest.approx(4 / 6)}
    assert score.balanced == pytest.approx((0.75 + 4 / 6) / 2)
    assert score.confusion == [[3, 1, 0], [0, 0, 0], [0, 2, 4]]
    assert score.delay_s == pytest.approx(0.3)


def test_a_delay_lasts_until_the_tier_is_told_for_a_second() -> None:
    sections = [Section("a", "calm", 0, 2, 0), Section("b", "peak", 2, 6, 0)]
    truth = Truth(np.repeat([0, 2], [40, 80]), sections)
    told = np.repeat([0, 2, 0, 2], [40, 10, 10, 60])
    assert tier_score(told, truth).delay_s == pytest.approx(1.0)


def test_a_beat_pairs_once_within_the_window() -> None:
    true = np.array([6.0, 7.0, 8.0, 9.0])
    assert f_measure(true + 0.069, true) == 1
    assert f_measure(true + 0.071, true) == 0
    assert f_measure(np.array([5.95, 6.05, 7.0]), true) == pytest.approx(2 * 2 / 7)
    # What lies before 5 s does not count.
    assert f_measure(np.array([1.0, 6.0]), np.array([2.0, 6.0])) == 1


def test_the_level_of_a_row_is_that_of_the_features() -> None:
    track = generate_set(20, 2)
    np.testing.assert_allclose(row_rms(track), analyse(track.track()).columns["rms"], rtol=1e-5)


def test_the_interval_holds_the_mean() -> None:
    mean, low, high = bootstrap([0.5, 0.7, 0.9])
    assert low < mean < high
    assert bootstrap([0.5, 0.5]) == (0.5, 0.5, 0.5)


def test_the_best_thresholds_are_found() -> None:
    values = np.concatenate([np.linspace(0, 1, 100), np.linspace(2, 3, 100), np.linspace(4, 5, 100)])
    accuracy, (low, high) = tier_bench._best_cuts(values, np.repeat([0, 1, 2], 100))
    assert accuracy > 0.97
    assert 0.9 < low < 2.1
    assert 2.9 < high < 4.1


def test_ours_is_right_more_often_than_the_level_on_held_out_sets(little: None) -> None:
    bench = bench_tiers(2, 3, styles=["house"])
    assert [track.name for track in bench.tracks] == ["generated-house-2000", "generated-house-2001"]
    ours, absolute = (bench.interval("house", method)[0] for method in ("ours", "absoluteRms"))
    assert ours > absolute + 0.1
    assert all(track.beats and track.beats.tempo_right > 0.9 for track in bench.tracks)


def test_the_command_measures_a_labelled_track(little: None, tmp_path: Path) -> None:
    track = generate_set(45, 1002)
    soundfile.write(tmp_path / "a.flac", track.samples, track.sample_rate_hz)
    lines = [f"{section.start_s}\t{section.end_s}\t{section.tier}" for section in track.sections]
    (tmp_path / "labels.txt").write_text("\n".join(lines), encoding="utf-8")
    files = [str(tmp_path / name) for name in ("a.flac", "labels.txt")]
    done = CliRunner().invoke(app, ["bench", "tiers", *files, "--json", str(tmp_path / "a.json")])
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert figures["styles"]["labelled"]["ours"][0] > 0.5
    assert figures["tracks"][0]["name"] == "a.flac"
