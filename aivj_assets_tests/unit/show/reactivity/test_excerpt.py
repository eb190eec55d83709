from __future__ import annotations

import numpy as np
import pytest

from aivj_assets.show.reactivity.excerpt import at_page_rate, liveliest_start_s


@pytest.mark.parametrize("rate_hz", [8000, 44_100, 48_000])
def test_a_track_of_any_rate_keeps_its_length_and_its_tone_and_fills_the_scale(rate_hz: int) -> None:
    time_s = np.arange(rate_hz) / rate_hz
    heard = at_page_rate((0.01 * np.sin(2 * np.pi * 1000 * time_s)).astype(np.float32), rate_hz)
    assert len(heard) == pytest.approx(44_100, abs=2)
    assert np.abs(heard).max() == pytest.approx(1.0)
    assert np.argmax(np.abs(np.fft.rfft(heard))) == pytest.approx(1000, abs=1)


def test_silence_stays_silence() -> None:
    assert not at_page_rate(np.zeros(4800, np.float32), 48_000).any()


def test_the_excerpt_is_where_the_track_is_lively() -> None:
    rate_hz = 8000
    rng = np.random.default_rng(1)
    track = np.full(30 * rate_hz, 0.2, np.float32)  # loud but without any rise
    beats = (np.arange(10 * rate_hz) % (rate_hz // 2)) < rate_hz // 10
    track[12 * rate_hz : 22 * rate_hz] = 0.1 * beats * rng.normal(size=10 * rate_hz)
    assert 12 <= liveliest_start_s(track, rate_hz, 8.0) <= 14


def test_a_track_that_is_shorter_is_heard_from_its_begin() -> None:
    assert liveliest_start_s(np.ones(8000, np.float32), 8000, 8.0) == 0
    assert liveliest_start_s(np.zeros(0, np.float32), 8000, 8.0) == 0
