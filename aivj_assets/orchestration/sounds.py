"""Sounds of files for the renderer: decoded here, kept in the data root under the digest of their samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aivj_assets.contracts.render_parameters import FILE_PREFIX, GIVEN_PREFIX, given_sound
from aivj_assets.contracts.sound_file import SOUND_RATE_HZ, Sound, load_sound, save_sound
from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot
from aivj_assets.show.audio.source import read_track
from aivj_assets.show.reactivity.excerpt import at_page_rate, liveliest_start_s


@dataclass(frozen=True)
class FileSound:
    """A sound that came from a file."""

    sound: Sound
    file_sha256: str | None
    start_s: float

    @property
    def audio(self) -> str:
        """The rendering parameter `audio` that names it."""
        return f"{GIVEN_PREFIX}{self.sound.sha256}"


def decode_file(path: Path, excerpt_s: float | None = None) -> FileSound:
    """Return a file as presets hear it, whole or the liveliest excerpt; raises `UserError` where it holds no sound."""
    track = read_track(path.expanduser())
    samples = track.samples
    start_s = 0.0
    if excerpt_s is not None:
        start_s = liveliest_start_s(samples, track.sample_rate_hz, excerpt_s)
        first = round(start_s * track.sample_rate_hz)
        samples = samples[first : first + round(excerpt_s * track.sample_rate_hz) + 1]
    heard = at_page_rate(samples, track.sample_rate_hz)
    if excerpt_s is not None:
        heard = heard[: round(excerpt_s * SOUND_RATE_HZ)]
    return FileSound(Sound.of_floats(heard), track.facts.sha256, start_s)


def keep_sound(root: DataRoot, sound: Sound) -> None:
    """Keep a sound in the data root, where rendering looks for it."""
    path = root.sound(sound.sha256)
    if not path.is_file():
        save_sound(path, sound)


def with_kept_sound(root: DataRoot, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return rendering parameters whose `audio` names no file: one is decoded, kept, and named by its digest.

    Raises `UserError` for a file that holds no sound and for a digest that the data root does not know.
    """
    audio = config.get("audio")
    if not isinstance(audio, str):
        return dict(config)
    digest = given_sound(audio)
    if digest is not None and not root.sound(digest).is_file():
        raise UserError(
            f"The sound {audio} is not kept in {root.sound(digest).parent}: name the file that it came from "
            "(audio=file:<path>), or another sound (audio=synthetic)."
        )
    if digest is not None:
        load_sound(root.sound(digest), digest)
    if not audio.startswith(FILE_PREFIX):
        return dict(config)
    heard = decode_file(Path(audio.removeprefix(FILE_PREFIX)))
    keep_sound(root, heard.sound)
    return {**config, "audio": heard.audio}
