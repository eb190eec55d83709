from __future__ import annotations

import numpy as np
import pytest

from aivj_assets.contracts.audio_timeline import EVENTS, ROW_FEATURES, WINDOW_FEATURES
from aivj_assets.show.audio.features import FeatureExtractor, Row
from aivj_assets.show.generate import generate_set
from aivj_assets.show.tier_bench import f_measure
from aivj_assets_tests.unit.show.audio.sounds import clicks, noise

RATE = 22_050


def rows_of(samples: np.ndarray, rate: int, block: int | None = None) -> list[Row]:
    extractor = FeatureExtractor(rate)
    size = block or len(samples)
    return [row for start in range(0, len(samples), size) for row in extractor.push(samples[start : start + size])]


def column(rows: list[Row], name: str) -> np.ndarray:
    return np.array([row[name] for row in rows])


@pytest.fixture(scope="module")
def music() -> np.ndarray:
    return generate_set(40, 3, style="house").samples


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 192_000])
def test_nothing_that_comes_later_changes_a_row(rate: int) -> None:
    samples, _ = clicks(7, 126, rate)
    samples += noise(7, rate, level=0.01)
    whole = rows_of(samples, rate)
    assert len(whole) == 140
    for cut_s in (0.05, 3.3333, 6.017):
        cut = samples[: round(cut_s * rate)]
        rows = rows_of(cut, rate)
        assert len(rows) == max(row for row in range(141) if row * rate // 20 <= len(cut))
        assert rows == whole[: len(rows)]


def test_another_continuation_leaves_the_rows_before_it_alone(music: np.ndarray) -> None:
    cut = 25 * RATE
    other = np.concatenate([music[:cut], noise(15, RATE, level=0.9)])
    assert rows_of(other, RATE)[:500] == rows_of(music, RATE)[:500]


def test_a_stream_gives_the_bits_of_the_whole(music: np.ndarray) -> None:
    whole = rows_of(music, RATE)
    for block in (997, 4_410, 5 * RATE):
        assert rows_of(music, RATE, block) == whole
    assert rows_of(music[: 2 * RATE], RATE, 1) == whole[:40]


def test_a_stream_may_use_its_buffer_again(music: np.ndarray) -> None:
    extractor, buffer, rows = FeatureExtractor(RATE), np.zeros(1000, np.float32), []
    for start in range(0, 50_000, 1000):
        buffer[:] = music[start : start + 1000]
        rows += extractor.push(buffer)
    assert rows == rows_of(music[:50_000], RATE)


@pytest.mark.parametrize(("tempo", "rate"), [(96, 44_100), (124, 44_100), (128, 11_025), (140, 22_050)])
def test_tempo_and_beats_of_a_click_track_are_found(tempo: float, rate: int) -> None:
    samples, beats = clicks(40, tempo, rate)
    rows = rows_of(samples, rate)
    heard = column(rows, "timeS") > 8
    assert np.abs(column(rows, "tempoBpm")[heard] / tempo - 1).max() < 0.01
    assert column(rows, "tempoConfidence")[heard].min() > 0.8
    told = column(rows, "timeS")[column(rows, "beat") > 0]
    assert f_measure(told, beats) > 0.98
    # Every fourth beat begins a bar, every fourth bar a phrase.
    late = [row for row in rows if row["timeS"] > 8 and row["beat"]]
    bars = [index for index, row in enumerate(late) if row["bar"]]
    assert set(np.diff(bars)) == {4}
    phrases = [index for index, row in enumerate(late) if row["phrase"]]
    assert set(np.diff(phrases)) <= {16}
    assert set(phrases) <= set(bars)


def test_beats_go_on_through_a_short_break() -> None:
    samples, beats = clicks(40, 125, RATE)
    samples[20 * RATE : 24 * RATE] = 0
    rows = rows_of(samples, RATE)
    told = column(rows, "timeS")[column(rows, "beat") > 0]
    within = (told > 20) & (told < 24)
    assert 7 <= within.sum() <= 9
    assert f_measure(told, beats) > 0.95


@pytest.mark.parametrize("seed", [1, 2])
def test_noise_has_no_beat_to_wait_for(seed: int) -> None:
    rows = rows_of(noise(40, RATE, seed=seed), RATE)
    assert column(rows, "tempoConfidence").max() < 0.3
    assert column(rows, "section").sum() == 0


def test_silence_is_silent() -> None:
    for samples in (np.zeros(10 * RATE, np.float32), np.full(10 * RATE, 0.25, np.float32)):
        rows = rows_of(samples, RATE)[2:]
        for name in ("loudness", "onset", "onsetRate", "low", "mid", "high", "brightness", "tempoBpm", *EVENTS):
            assert column(rows, name).max() == 0, name


@pytest.mark.parametrize(("hz", "band"), [(80, "low"), (1_000, "mid"), (7_000, "high")])
def test_a_tone_lies_in_its_band(hz: float, band: str) -> None:
    samples = (0.3 * np.sin(2 * np.pi * hz * np.arange(3 * RATE) / RATE)).astype(np.float32)
    last = rows_of(samples, RATE)[-1]
    assert last[band] > 0.98
    assert last["low"] + last["mid"] + last["high"] == pytest.approx(1)
    assert last["rms"] == pytest.approx(0.3 / np.sqrt(2), rel=0.01)
    assert last["brightness"] == pytest.approx(np.log(hz / 50) / np.log(240), abs=0.1)


def test_a_quiet_track_has_its_loud_moments_too() -> None:
    samples = noise(30, RATE, level=0.002)
    samples[: 20 * RATE] *= 0.25
    rows = rows_of(samples, RATE)
    loudness = column(rows, "loudness")
    assert loudness[420:].min() > 0.6
    assert 0.3 < loudness[200:400].mean() < 0.7


def test_the_volume_changes_nothing_but_rms(music: np.ndarray) -> None:
    loud, soft = rows_of(music, RATE), rows_of(music * np.float32(0.25), RATE)
    np.testing.assert_allclose(column(soft, "rms"), column(loud, "rms") * 0.25, rtol=1e-6)
    for name in ("beat", "bar", "section"):
        np.testing.assert_array_equal(column(soft, name), column(loud, name))
    for name in ("loudness", "low", "brightness", "tempoBpm", "onsetRate"):
        np.testing.assert_allclose(column(soft, name), column(loud, name), rtol=1e-3, atol=1e-3, err_msg=name)


def test_a_new_section_is_noticed_within_two_seconds() -> None:
    rng = np.random.default_rng(8)
    pad = 0.05 * np.sin(2 * np.pi * 220 * np.arange(40 * RATE) / RATE)
    samples = (pad + 0.002 * rng.standard_normal(len(pad))).astype(np.float32)
    drums, _ = clicks(20, 126, RATE, first_s=0.0)
    samples[20 * RATE :] += drums
    rows = rows_of(samples, RATE)
    sections = column(rows, "timeS")[column(rows, "section") > 0]
    assert len(sections) == 1
    assert 20 < sections[0] < 22


def test_onsets_are_counted() -> None:
    samples, _ = clicks(20, 120, RATE)
    rows = rows_of(samples, RATE)
    # A kick and a hat a beat, two beats a second.
    assert column(rows, "onsetRate")[200:].mean() == pytest.approx(4, abs=0.5)
    assert column(rows, "onset")[200:].max() == pytest.approx(1, abs=0.5)


def test_window_features_are_of_the_last_eight_seconds(music: np.ndarray) -> None:
    rows = rows_of(music, RATE)
    for index in (3, 300, 700):
        past = rows[max(0, index - 159) : index + 1]
        low = column(past, "low")
        assert rows[index]["lowMean"] == pytest.approx(low.mean())
        assert rows[index]["lowStd"] == pytest.approx(low.std())
        times = column(past, "timeS")
        slope = np.polyfit(times, column(past, "loudness"), 1)[0]
        assert rows[index]["loudnessSlope"] == pytest.approx(slope, abs=1e-9)
    assert {*ROW_FEATURES, *EVENTS, *WINDOW_FEATURES} <= rows[0].keys()
