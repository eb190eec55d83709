"""Sound from files (wav, flac, ogg, mp3, … by libsndfile) or from samples: one channel, as it was sampled."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aivj_assets.contracts.audio_timeline import ROW_S, TrackFacts
from aivj_assets.errors import UserError

Samples = NDArray[np.float32]

MIN_RATE_HZ, MAX_RATE_HZ = 4_000, 384_000
BLOCK_S = 4.0
# Above it (25 minutes at 44.1 kHz) a track is decoded again when it is heard, in place of being kept.
KEPT_SAMPLES = 1 << 26
_CUT_WAV = re.compile(r"^\s*data\s*:\s*\d+ \(should be \d+\)", re.MULTILINE)


@dataclass(frozen=True)
class Track:
    """A track: what is known of it, and its samples, float32 [n], one channel, full scale 1."""

    facts: TrackFacts
    sample_rate_hz: int
    sample_count: int
    path: Path | None = None
    _kept: Samples | None = field(default=None, repr=False)

    @property
    def duration_s(self) -> float:
        """Length, s."""
        return self.sample_count / self.sample_rate_hz

    @property
    def samples(self) -> Samples:
        """All samples, float32 [n]; a long file is decoded into memory here (4 bytes a sample)."""
        if self._kept is not None:
            return self._kept
        whole = np.zeros(self.sample_count, np.float32)
        place = 0
        for block in self.blocks():
            whole[place : place + len(block)] = block
            place += len(block)
        return whole

    def blocks(self, block_s: float = BLOCK_S) -> Iterator[Samples]:
        """Yield the samples in order, float32 blocks of at most `block_s` seconds; needs no more memory than one."""
        size = max(1, round(block_s * self.sample_rate_hz))
        if self._kept is not None:
            for start in range(0, self.sample_count, size):
                yield self._kept[start : start + size]
        elif self.path is not None:
            left = self.sample_count
            # Decoded in the same pieces as on reading: where the file is broken, the same samples are left.
            for decoded, _ in _decode(self.path, round(BLOCK_S * self.sample_rate_hz)):
                block = decoded[:left]
                for start in range(0, len(block), size):
                    yield block[start : start + size]
                left -= len(block)
                if left <= 0:
                    return


def track_of_samples(samples: NDArray[Any], sample_rate_hz: int, name: str) -> Track:
    """Return a track of samples: float [n] or [n, channels] of full scale 1, or integers of their type's full scale.

    Samples that are no numbers become 0, which the facts tell. Raises `UserError` when there is less than one row
    (50 ms), or the rate is not 4,000 to 384,000 Hz.
    """
    array = np.asarray(samples)
    if array.ndim not in {1, 2}:
        raise UserError(f"{name}: samples of shape {array.shape} are no sound: give [n] or [n, channels].")
    channels = 1 if array.ndim == 1 else array.shape[1]
    mono, bad = _to_mono(_as_float(array))
    facts = _facts(name, len(mono), sample_rate_hz, channels, _mended(bad))
    return Track(facts, sample_rate_hz, len(mono), None, mono)


@dataclass(frozen=True)
class SoundHead:
    """What a sound file says of itself: rate in Hz, channels, samples a channel, whether it says that it was cut."""

    rate: int
    channels: int
    expected: int
    cut: bool


def require_sound(path: Path) -> SoundHead:
    """Open a sound file without decoding it; raises `UserError` for what is no file, no sound or of no usable rate."""
    import soundfile

    _check_is_file(path)
    try:
        with soundfile.SoundFile(str(path)) as file:
            cut = bool(_CUT_WAV.search(file.extra_info or ""))
            head = SoundHead(int(file.samplerate), int(file.channels), max(0, int(file.frames)), cut)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise UserError(
            f"{path} is no sound that can be read ({_reason(error)}): give a wav, flac, ogg or mp3 file."
        ) from None
    _check_rate(str(path), head.rate)
    return head


def read_track(path: Path, *, progress: Callable[[int, int], None] | None = None) -> Track:
    """Read a sound file of any rate, depth and number of channels; channels are averaged.

    The whole file is decoded once, so that what is wrong with it is known: samples that are no numbers become 0 and a
    file that is cut short is heard as far as it goes, both told in `facts.warnings`. Up to `KEPT_SAMPLES` samples stay
    in memory. `progress` gets (samples done, samples in all). Raises `UserError` for a file that holds no sound.
    """
    head = require_sound(path)
    rate, cut = head.rate, head.cut
    kept: list[Samples] = []
    count = bad = 0
    try:
        for block, odd in _decode(path, round(BLOCK_S * rate)):
            count += len(block)
            bad += odd
            if count <= KEPT_SAMPLES:
                kept.append(block)
            else:
                kept.clear()
            if progress is not None:
                progress(count, max(count, head.expected))
    except _CutShortError:
        cut = True
    warnings = _mended(bad)
    # An mp3's length is an estimate until it is decoded.
    if cut or (count < head.expected and path.suffix.lower() != ".mp3"):
        warnings.append(f"The file is cut short: {count / rate:.1f} s of it can be heard.")
    mono = np.concatenate(kept) if kept else np.zeros(0, np.float32) if count == 0 else None
    facts = _facts(path.name, count, rate, head.channels, warnings)
    return Track(facts.model_copy(update={"sha256": _sha256(path)}), rate, count, path, mono)


class _CutShortError(Exception):
    """Decoding stopped in the middle of the file."""


def _decode(path: Path, size: int) -> Iterator[tuple[Samples, int]]:
    """Yield (mono block, samples that were no numbers); raises `_CutShortError` where decoding fails."""
    import soundfile

    with soundfile.SoundFile(str(path)) as file:
        while True:
            try:
                block = file.read(size, dtype="float32", always_2d=True)
            except (soundfile.LibsndfileError, RuntimeError):
                raise _CutShortError from None
            if len(block) == 0:
                return
            yield _to_mono(block)


def _facts(name: str, count: int, rate: int, channels: int, warnings: list[str]) -> TrackFacts:
    _check_rate(name, rate)
    if count < ROW_S * rate:
        raise UserError(f"{name} holds {count} samples, less than {ROW_S * 1000:.0f} ms: give a longer sound.")
    return TrackFacts(name=name, duration_s=count / rate, sample_rate_hz=rate, channels=channels, warnings=warnings)


def _to_mono(block: NDArray[np.float32]) -> tuple[Samples, int]:
    good = np.isfinite(block)
    bad = int(block.size - np.count_nonzero(good))
    if bad:
        block = np.where(good, block, np.float32(0))
    mono = block if block.ndim == 1 else block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
    # Floats may be far above full scale; their squares must stay finite.
    return np.clip(np.ascontiguousarray(mono, dtype=np.float32), -1e6, 1e6), bad


def _as_float(array: NDArray[Any]) -> NDArray[np.float32]:
    if array.dtype == np.uint8:
        return (array.astype(np.float32) - np.float32(128)) / np.float32(128)
    if np.issubdtype(array.dtype, np.integer):
        return (array / float(np.iinfo(array.dtype).max + 1)).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(np.float32)


def _mended(bad: int) -> list[str]:
    return [f"{bad:,} samples were no numbers and count as silence."] if bad else []


def _check_rate(name: str, rate: int) -> None:
    if not MIN_RATE_HZ <= rate <= MAX_RATE_HZ:
        raise UserError(
            f"{name} has {rate} samples a second: convert it to a rate between {MIN_RATE_HZ:,} and {MAX_RATE_HZ:,} Hz."
        )


def _check_is_file(path: Path) -> None:
    if not path.exists():
        raise UserError(f"{path} does not exist: give a wav, flac, ogg or mp3 file.")
    if not path.is_file():
        raise UserError(f"{path} is no file: give a wav, flac, ogg or mp3 file.")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty: give a wav, flac, ogg or mp3 file.")


def _reason(error: Exception) -> str:
    text = str(getattr(error, "error_string", "") or error)
    # What libsndfile says of an mp3 without a single frame.
    return "no frame of sound in it" if "does not exist" in text else text.rstrip(".").replace("\n", " ")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
