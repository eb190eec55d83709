"""Sounds as presets hear them: WAV files of 8 bits unsigned at 44100 samples/s, one or two channels."""

from __future__ import annotations

import hashlib
import io
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aivj_assets.errors import UserError
from aivj_assets.layout import write_bytes_atomic

SOUND_RATE_HZ = 44_100


@dataclass(frozen=True)
class Sound:
    """Samples uint8 [n, channels], 128 is zero."""

    samples: npt.NDArray[np.uint8]

    @property
    def channels(self) -> int:
        """1 or 2."""
        return int(self.samples.shape[1])

    @property
    def duration_s(self) -> float:
        """How long it is."""
        return len(self.samples) / SOUND_RATE_HZ

    @property
    def sha256(self) -> str:
        """Of the samples with alternating channels, hex."""
        return hashlib.sha256(self.samples.tobytes()).hexdigest()

    def first(self, seconds: float) -> Sound:
        """Return its beginning, what lies between two samples counts as a whole one."""
        return Sound(self.samples[: int(np.ceil(seconds * SOUND_RATE_HZ))])

    def mono(self) -> npt.NDArray[np.float32]:
        """Return the mean of the channels, float32 [n] in -1..1."""
        centred: npt.NDArray[np.float32] = (self.samples.mean(axis=1, dtype=np.float32) - 128) / 127
        return centred

    @classmethod
    def of_bytes(cls, data: bytes, channels: int) -> Sound:
        """Return the sound of samples with alternating channels."""
        return cls(np.frombuffer(data, dtype=np.uint8).reshape(-1, channels))

    @classmethod
    def of_floats(cls, samples: npt.NDArray[np.float32]) -> Sound:
        """Return the sound of float samples [n] or [n, channels] at 44100/s; -1 is 1, 1 is 255, beyond is clipped."""
        columns = samples.reshape(len(samples), -1).astype(np.float64)
        steps = np.clip(np.floor(128 + 127 * columns + 0.5), 0, 255)
        return cls(steps.astype(np.uint8))


def save_sound(path: Path, sound: Sound) -> None:
    """Write a sound as a WAV file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(sound.channels)
        file.setsampwidth(1)
        file.setframerate(SOUND_RATE_HZ)
        file.writeframes(sound.samples.tobytes())
    write_bytes_atomic(path, buffer.getvalue())


def load_sound(path: Path, sha256: str | None = None) -> Sound:
    """Read a sound; raises `UserError` when it is missing, not as agreed, or not the one of that digest."""
    try:
        with wave.open(str(path), "rb") as file:
            form = (file.getsampwidth(), file.getframerate())
            channels = file.getnchannels()
            data = file.readframes(file.getnframes())
    except FileNotFoundError:
        raise UserError(f"There is no sound {path}: name the file that it came from again (audio=file:…).") from None
    except (OSError, EOFError, wave.Error) as error:
        raise UserError(
            f"{path} cannot be read ({error}): delete it and name the file that it came from again."
        ) from None
    whole = len(data) % channels == 0 and channels in (1, 2) and form == (1, SOUND_RATE_HZ)
    sound = Sound.of_bytes(data, channels) if whole else None
    if sound is None or (sha256 is not None and sound.sha256 != sha256):
        raise UserError(f"{path} is not the sound that it was: delete it and name the file that it came from again.")
    return sound
