"""Sounds of files: decoded, kept under their digest, named by it; never by a path."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.contracts.sound_file import SOUND_RATE_HZ, load_sound
from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot
from aivj_assets.orchestration.parameters import effective_parameters
from aivj_assets.orchestration.reactivity_render import choose_sounds
from aivj_assets.orchestration.sounds import decode_file, with_kept_sound
from aivj_assets.render.probe import sound_fields

RATE_HZ = 16_000


def write_track(path: Path, seconds: float = 2.0, gain: float = 0.1) -> Path:
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    left = gain * np.sin(2 * np.pi * 440 * time_s) * (np.floor(time_s * 4) % 2)
    # Whole numbers: formats round fractions differently.
    soundfile.write(path, np.round(32767 * np.stack([left, left], axis=1)).astype(np.int16), RATE_HZ)
    return path


def test_a_file_is_decoded_once_and_named_by_what_is_heard(tmp_path: Path) -> None:
    root = DataRoot(tmp_path / "root")
    wav = write_track(tmp_path / "a.wav")
    copy = write_track(tmp_path / "again.flac", gain=0.1)
    first, second = (effective_parameters(root, "pack", {"audio": f"file:{path}"}) for path in (wav, copy))
    assert first.audio.startswith("sha256:")
    digest = first.audio.removeprefix("sha256:")
    heard = load_sound(root.sound(digest), digest)
    assert heard.duration_s == pytest.approx(2.0, abs=0.001)
    assert np.abs(heard.mono()).max() == pytest.approx(1.0, abs=0.01)
    assert str(tmp_path) not in first.model_dump_json()
    # Both formats hold the same samples.
    assert second.audio == first.audio
    # Later batches find it by its digest, without the file.
    wav.unlink()
    assert effective_parameters(root, "pack", {"audio": first.audio}).audio == first.audio
    fields = sound_fields(root, RenderParameters(audio=first.audio, warmup_frames=0, capture_count=3, capture_every=10))
    assert len(fields["audioSamples"]) == pytest.approx(SOUND_RATE_HZ * 4 / 3, abs=8)
    assert fields["audioChannels"] == 1


@pytest.mark.parametrize("audio", ["synthetic", "silence", "synthetic:sweep"])
def test_other_sounds_need_nothing_to_be_kept(tmp_path: Path, audio: str) -> None:
    root = DataRoot(tmp_path / "root")
    assert effective_parameters(root, "pack", {"audio": audio}).audio == audio
    assert dict(sound_fields(root, RenderParameters(audio=audio))) == {}
    assert not root.own_dir.exists()


def test_what_cannot_be_heard_is_one_line(tmp_path: Path) -> None:
    root = DataRoot(tmp_path / "root")
    (tmp_path / "notes.txt").write_text("no sound", encoding="utf-8")
    with pytest.raises(UserError, match=r"notes\.txt is no sound"):
        with_kept_sound(root, {"audio": f"file:{tmp_path / 'notes.txt'}"})
    with pytest.raises(UserError, match=r"gone\.wav"):
        with_kept_sound(root, {"audio": f"file:{tmp_path / 'gone.wav'}"})
    unknown = f"sha256:{'0' * 64}"
    with pytest.raises(UserError, match=r"is not kept in .*sounds: name the file that it came from"):
        with_kept_sound(root, {"audio": unknown})
    with pytest.raises(UserError, match="There is no sound"):
        sound_fields(root, RenderParameters(audio=unknown))


def test_an_excerpt_has_its_length_and_comes_from_where_the_track_is_lively(tmp_path: Path) -> None:
    quiet = np.full(20 * RATE_HZ, 0.01)
    beats = write_track(tmp_path / "beats.wav", 10.0)
    track = np.concatenate([quiet, soundfile.read(beats)[0][:, 0], quiet])
    soundfile.write(tmp_path / "track.wav", track, RATE_HZ)
    heard = decode_file(tmp_path / "track.wav", 8.0)
    assert heard.sound.duration_s == pytest.approx(8.0, abs=0.001)
    assert 20 <= heard.start_s <= 22
    assert heard.file_sha256 is not None
    assert heard.audio == f"sha256:{heard.sound.sha256}"


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ([], ["synthetic:pulse", "synthetic:bursts", "synthetic:sweep"]),
        (["synthetic"], ["synthetic", "synthetic:pulse", "synthetic:bursts"]),
        (["a.wav"], ["file:a.wav", "synthetic:pulse", "synthetic:bursts"]),
        (["synthetic:pulse", "synthetic:pulse"], ["synthetic:pulse", "synthetic:bursts", "synthetic:sweep"]),
        (["a.wav", "b.wav", "file:c.wav", "a.wav"], ["file:a.wav", "file:b.wav", "file:c.wav"]),
    ],
)
def test_there_are_always_three_sounds(asked: list[str], chosen: list[str]) -> None:
    assert choose_sounds(asked) == chosen
