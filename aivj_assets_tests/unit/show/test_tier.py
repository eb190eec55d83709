from __future__ import annotations

import itertools

import numpy as np
import pytest

from aivj_assets.show.audio.source import track_of_samples
from aivj_assets.show.generate import GeneratedTrack, generate_set
from aivj_assets.show.tier import MIN_HOLD_S, WEIGHTS, TierTracker
from aivj_assets.show.timeline import analyse
from aivj_assets_tests.unit.show.audio.sounds import noise

RATE = 22_050


def test_a_set_is_told_apart_and_its_volume_does_not_matter() -> None:
    track = generate_set(80, 1003)
    loud = analyse(track.track())
    soft = analyse(track_of_samples(track.samples * np.float32(10 ** (-14 / 20)), RATE, "soft"))
    assert right(loud.tiers, track) > 0.7
    same = np.mean([one == other for one, other in zip(loud.tiers, soft.tiers, strict=True)])
    assert same > 0.99


def test_a_tier_lasts_its_minimum() -> None:
    timeline = analyse(generate_set(80, 1004, style="breakbeat").track())
    runs = [len(list(rows)) for _, rows in itertools.groupby(timeline.tiers)]
    assert len(runs) > 2
    # The calm of the first second is no decision yet; the last run is cut by the track's end.
    assert min(runs[1:-1]) >= MIN_HOLD_S * 20


def test_rows_that_jump_to_and_fro_do_not_flicker() -> None:
    tracker = TierTracker()
    calm = dict.fromkeys(
        ("flux", "onset", "onsetRate", "tempoConfidence", "brightness", "high", "flatness", "low", "section"), 0.0
    ) | {"loudness": 0.2, "crest": 2.5}
    peak = calm | {
        "flux": 0.05, "onset": 0.5, "onsetRate": 7.0, "tempoConfidence": 1.0, "brightness": 0.6, "high": 0.05,
        "flatness": 0.6, "low": 0.8, "loudness": 0.95, "crest": 2.0,
    }  # fmt: skip
    # As between kicks at 120 a minute.
    tiers = [tracker.push(peak if row % 10 < 5 else calm) for row in range(1200)]
    assert sum(a != b for a, b in itertools.pairwise(tiers[200:])) <= 2
    steady = TierTracker()
    assert [steady.push(peak) for _ in range(200)][-1] == "peak"
    assert [steady.push(calm) for _ in range(200)][-1] == "calm"


def test_silence_is_calm() -> None:
    samples = generate_set(30, 1, style="house").samples.copy()
    samples[16 * RATE :] = 0
    assert set(analyse(track_of_samples(samples, RATE, "a")).tiers[20 * 20 :]) == {"calm"}
    assert set(analyse(track_of_samples(np.zeros(20 * RATE), RATE, "a")).tiers) == {"calm"}


@pytest.mark.parametrize("duration_s", [0.06, 5.0])
def test_a_short_track_has_tiers(duration_s: float) -> None:
    timeline = analyse(track_of_samples(noise(duration_s, 8_000), 8_000, "a"))
    assert timeline.rows == int(duration_s * 20)
    assert len(timeline.tiers) == timeline.rows


def right(tiers: list[str], track: GeneratedTrack) -> float:
    truth = track.tiers_at((np.arange(len(tiers)) + 0.5) / 20)
    return float(np.mean([told == true for told, true in zip(tiers, truth, strict=True)]))


def test_steady_noise_does_not_flicker() -> None:
    steady = analyse(track_of_samples(noise(40, RATE), RATE, "a")).tiers
    assert sum(a != b for a, b in itertools.pairwise(steady)) <= 3


def test_eight_bits_tell_nearly_what_sixteen_tell() -> None:
    track = generate_set(90, 1007, gain_db=(-3.0, 0.0))
    coarse = (np.round(track.samples * 127).astype(np.int16) + 128).astype(np.uint8)
    fine, eight_bits = (
        right(analyse(one).tiers, track) for one in (track.track(), track_of_samples(coarse, RATE, "a"))
    )
    assert fine > 0.8
    assert eight_bits > fine - 0.15


def test_the_signs_of_the_weights_are_kept() -> None:
    from aivj_assets.show.tier import MORE_THAN_CALM, PEAK

    for names, weights in ((MORE_THAN_CALM, WEIGHTS.more_than_calm), (PEAK, WEIGHTS.peak)):
        assert all(sign * weight >= 0 for sign, weight in zip(names.values(), weights, strict=True))
        assert any(weights)
