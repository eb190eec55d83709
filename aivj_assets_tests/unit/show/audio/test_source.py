from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from aivj_assets.errors import UserError
from aivj_assets.show.audio import source
from aivj_assets.show.audio.source import read_track, track_of_samples
from aivj_assets.show.timeline import analyse

RATE = 22_050


@pytest.fixture
def sine() -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * 330 * np.arange(6 * RATE) / RATE)).astype(np.float32)


@pytest.mark.parametrize(
    ("suffix", "subtype", "tolerance"),
    [
        ("wav", "PCM_16", 1e-4),
        ("wav", "PCM_U8", 1e-2),
        ("wav", "FLOAT", 0),
        ("flac", "PCM_24", 1e-6),
        ("ogg", "VORBIS", 0.05),
    ],
)
def test_a_file_is_heard_as_it_was_written(
    tmp_path: Path, sine: np.ndarray, suffix: str, subtype: str, tolerance: float
) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, sine, RATE, subtype=subtype)
    track = read_track(path)
    assert (track.facts.name, track.facts.sample_rate_hz, track.facts.channels) == (path.name, RATE, 1)
    assert track.facts.warnings == []
    assert track.facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert track.facts.duration_s == pytest.approx(6, abs=0.01)
    assert np.max(np.abs(track.samples - sine)) <= tolerance


def test_an_mp3_is_heard(tmp_path: Path, sine: np.ndarray) -> None:
    path = tmp_path / "a.mp3"
    soundfile.write(path, sine, RATE)
    track = read_track(path)
    assert track.duration_s == pytest.approx(6, abs=0.2)
    assert track.facts.warnings == []
    assert np.sqrt(np.mean(track.samples**2)) == pytest.approx(0.4 / np.sqrt(2), rel=0.05)


def test_channels_are_averaged(tmp_path: Path, sine: np.ndarray) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([sine, np.zeros_like(sine), sine], axis=1), RATE, subtype="FLOAT")
    track = read_track(path)
    assert track.facts.channels == 3
    np.testing.assert_allclose(track.samples, sine * 2 / 3, atol=1e-6)


def test_samples_that_are_no_numbers_are_silence_and_told(tmp_path: Path, sine: np.ndarray) -> None:
    sine[1000:1100] = np.nan
    sine[2000] = np.inf
    path = tmp_path / "a.wav"
    soundfile.write(path, sine, RATE, subtype="FLOAT")
    track = read_track(path)
    assert track.facts.warnings == ["101 samples were no numbers and count as silence."]
    assert np.all(track.samples[1000:1100] == 0)
    assert np.isfinite(track.samples).all()
    assert analyse(track).rows == 120


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_a_file_that_is_cut_short_is_heard_as_far_as_it_goes(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    sound = np.random.default_rng(3).uniform(-0.5, 0.5, 12 * RATE).astype(np.float32)
    soundfile.write(path, sound, RATE, subtype="PCM_16")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    track = read_track(path)
    assert 3 < track.duration_s < 6.5
    assert any("cut short" in warning for warning in track.facts.warnings)
    np.testing.assert_allclose(track.samples, sound[: track.sample_count], atol=1e-4)


def test_a_long_file_is_decoded_again_and_not_kept(
    tmp_path: Path, sine: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, sine, RATE)
    kept = read_track(path)
    monkeypatch.setattr(source, "KEPT_SAMPLES", RATE)
    again = read_track(path)
    assert again._kept is None
    np.testing.assert_array_equal(np.concatenate(list(again.blocks(0.7))), kept.samples)
    np.testing.assert_array_equal(again.samples, kept.samples)
    assert analyse(again) == analyse(kept)


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "is empty"), (b"this is no sound at all, " * 50, "no sound that can be read"), (b"RIFF", "no sound")],
)
def test_a_file_that_is_no_sound_is_one_clear_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(UserError, match=says) as told:
        read_track(path)
    assert "\n" not in str(told.value)
    assert "a.wav" in str(told.value)


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_track(tmp_path / "none.wav")
    with pytest.raises(UserError, match="is no file"):
        read_track(tmp_path)


def test_a_file_without_samples_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(0, np.float32), RATE)
    with pytest.raises(UserError, match="0 samples, less than 50 ms"):
        read_track(path)


def test_a_rate_that_nobody_uses_is_told() -> None:
    with pytest.raises(UserError, match="100 samples a second"):
        track_of_samples(np.zeros(1000, np.float32), 100, "a")


@pytest.mark.parametrize(("dtype", "value"), [(np.int16, 16384), (np.int32, 2**30), (np.uint8, 192)])
def test_integers_are_taken_at_their_full_scale(dtype: type, value: int) -> None:
    track = track_of_samples(np.full(4000, value, dtype), 8000, "a")
    assert track.samples[0] == pytest.approx(0.5, abs=0.01)
