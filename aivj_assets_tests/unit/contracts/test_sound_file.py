from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aivj_assets.contracts.sound_file import SOUND_RATE_HZ, Sound, load_sound, save_sound
from aivj_assets.errors import UserError

WAVE = np.sin(np.arange(SOUND_RATE_HZ // 10) / 20).astype(np.float32)


def test_floats_become_bytes_around_128_and_what_is_beyond_is_clipped() -> None:
    sound = Sound.of_floats(np.array([-2, -1, 0, 0.5, 1, 2], np.float32))
    assert sound.samples[:, 0].tolist() == [0, 1, 128, 192, 255, 255]


@pytest.mark.parametrize("channels", [1, 2])
def test_a_sound_is_read_as_it_was_written(tmp_path: Path, channels: int) -> None:
    sound = Sound.of_floats(np.stack([WAVE, -WAVE], axis=1)[:, :channels])
    save_sound(tmp_path / "a.wav", sound)
    again = load_sound(tmp_path / "a.wav", sound.sha256)
    assert (again.samples == sound.samples).all()
    assert (again.channels, again.duration_s) == (channels, pytest.approx(0.1))
    assert np.abs(sound.mono() - (WAVE if channels == 1 else 0)).max() < 0.01
    assert len(again.first(0.05).samples) == SOUND_RATE_HZ // 20


def test_what_is_not_that_sound_is_refused_in_one_line(tmp_path: Path) -> None:
    sound = Sound.of_floats(WAVE)
    save_sound(tmp_path / "a.wav", sound)
    with pytest.raises(UserError, match="not the sound that it was"):
        load_sound(tmp_path / "a.wav", "0" * 64)
    with pytest.raises(UserError, match="There is no sound"):
        load_sound(tmp_path / "b.wav")
    (tmp_path / "c.wav").write_bytes(b"RIFF....WAVE")
    with pytest.raises(UserError, match="cannot be read"):
        load_sound(tmp_path / "c.wav")
