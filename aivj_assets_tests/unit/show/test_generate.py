from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from aivj_assets.contracts.style import ENERGIES
from aivj_assets.errors import UserError
from aivj_assets.show.generate import GAIN_DB, STYLES, Style, generate_set


@pytest.mark.parametrize("style", STYLES)
def test_a_set_is_the_same_each_time_and_its_sections_have_no_gaps(style: Style) -> None:
    track = generate_set(45, 7, style=style)
    np.testing.assert_array_equal(generate_set(45, 7, style=style).samples, track.samples)
    assert not np.array_equal(generate_set(45, 8, style=style).samples, track.samples)
    assert track.duration_s == 45
    assert np.abs(track.samples).max() <= 1
    assert track.sections[0].start_s == 0
    assert track.sections[-1].end_s == 45
    for before, after in pairwise(track.sections):
        assert before.end_s == after.start_s
    assert all(GAIN_DB[0] <= section.gain_db <= GAIN_DB[1] for section in track.sections)
    assert all(
        np.abs(track.samples[round(s.start_s * 22_050) : round(s.end_s * 22_050)]).max() > 0.01 for s in track.sections
    )


def test_four_minutes_have_all_tiers_and_bars_begin_sections() -> None:
    track = generate_set(240, 9)
    assert {section.tier for section in track.sections} == set(ENERGIES)
    assert 118 <= track.tempo_bpm <= 140
    for section in track.sections:
        bar_s = 4 * 60 / track.tempo_bpm
        assert section.start_s / bar_s == pytest.approx(round(section.start_s / bar_s), abs=1e-6)
    assert np.diff(track.beats_s) == pytest.approx(60 / track.tempo_bpm)
    second = track.sections[1]
    assert track.tiers_at(np.array([second.start_s - 0.01, second.start_s])) == [track.sections[0].tier, second.tier]


def test_a_gain_is_a_section_s_own() -> None:
    quiet, loud = (generate_set(60, 3, gain_db=(gain, gain)) for gain in (-14.0, 0.0))
    np.testing.assert_allclose(quiet.samples, loud.samples * 10 ** (-14 / 20), atol=1e-6)


def test_a_length_that_cannot_be_is_told() -> None:
    with pytest.raises(UserError, match="between 1 s and 6 hours"):
        generate_set(0, 1)
