from __future__ import annotations

import numpy as np
import pytest

from aivj_assets.show.reactivity.envelopes import ENVELOPES, Captures, envelopes_at_captures

RATE_HZ = 44_100
CAPTURES = Captures(fps=30, warmup_frames=30, every=2, count=40)
LAG = 3


def tone(hz: float, begin_s: float, end_s: float, length_s: float = 5.0) -> np.ndarray:
    time_s = np.arange(round(length_s * RATE_HZ)) / RATE_HZ
    return (0.5 * np.sin(2 * np.pi * hz * time_s) * ((time_s >= begin_s) & (time_s < end_s))).astype(np.float32)


@pytest.mark.parametrize(("hz", "band"), [(80, "low"), (1000, "mid"), (6000, "high")])
def test_a_tone_is_heard_in_its_band_between_the_captures_it_sounds_in(hz: float, band: str) -> None:
    # Captures come 1/15 s apart, the first after 32 frames: the sixteenth at 62/30 s.
    found = envelopes_at_captures(tone(hz, 2.0, 3.0), RATE_HZ, CAPTURES, LAG)
    assert set(found) == set(ENVELOPES)
    assert {len(series) for series in found.values()} == {LAG + CAPTURES.count}
    ends_s = (30 + 2 * np.arange(1 - LAG, CAPTURES.count + 1)) / 30
    loud = (ends_s > 2.06) & (ends_s < 3.0)
    silent = (ends_s < 2.0) | (ends_s > 3.1)
    assert found["level"][loud] == pytest.approx(0.5 / np.sqrt(2), rel=0.05)
    assert found["level"][silent] == pytest.approx(0, abs=1e-9)
    bands = {name: found[name][loud].mean() for name in ("low", "mid", "high")}
    assert max(bands, key=bands.__getitem__) == band
    assert bands[band] > 10 * sorted(bands.values())[1]
    change = found["levelChange"]
    assert {round(float(second), 2) for second in ends_s[np.argsort(change)[-2:]]} <= {2.0, 2.07, 3.0, 3.07}


def test_before_and_after_the_sound_there_is_silence() -> None:
    whole = Captures(fps=30, warmup_frames=0, every=3, count=30)
    found = envelopes_at_captures(tone(440, 0.0, 9.0, length_s=1.0), RATE_HZ, whole, LAG)
    assert found["level"][:LAG] == pytest.approx(0, abs=1e-9)
    assert found["level"][LAG : LAG + 9] == pytest.approx(0.354, abs=0.08)
    assert found["level"][LAG + 11 :] == pytest.approx(0, abs=1e-9)
