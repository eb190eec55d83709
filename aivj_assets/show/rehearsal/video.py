"""A preview video made of the captured frames at the picks' times, where ffmpeg is installed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import wave
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from aivj_assets.show.audio.source import Track
from aivj_assets.show.rehearsal.heard import Shown
from aivj_assets.show.rehearsal.judge import spans
from aivj_assets.show.rehearsal.pictures import read_frame

VIDEO_NAME = "preview.mp4"
VIDEO_SIZE_PX = (640, 360)
FRAME_S = 0.5
"""Captures of a preset take turns on screen, so long each."""
_FRAMES_A_SECOND = 10
_ERROR_CHARACTERS = 300
_JPEG_QUALITY = 90

Progress = Callable[[int, int], None]


def find_ffmpeg() -> str | None:
    """Return the path of ffmpeg on PATH; None where there is none."""
    return shutil.which("ffmpeg")


def write_video(
    ffmpeg: str,
    target: Path,
    shown: Sequence[Shown],
    end_s: float,
    *,
    frames: Mapping[str, Sequence[Path]],
    track: Track,
    progress: Progress | None = None,
) -> str | None:
    """Write the preview with the track's sound; returns None, or one line that says why there is no video.

    `frames` are the captures of each preset. Presets without a readable one are black.
    """
    with tempfile.TemporaryDirectory(prefix="aivj-preview-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        stills = _stills(folder, shown, frames, progress)
        listed = folder / "pictures.txt"
        listed.write_text("".join(concat_lines(shown, end_s, stills)), encoding="utf-8")
        sound = folder / "sound.wav"
        _write_wav(sound, track)
        command = [
            ffmpeg, "-y", "-nostdin", "-loglevel", "error", "-f", "concat", "-safe", "0", "-i", str(listed),
            "-i", str(sound), "-r", str(_FRAMES_A_SECOND), "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "128k",
            "-t", f"{end_s:.3f}", "-movflags", "+faststart", str(target),
        ]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
        except OSError as error:
            return f"ffmpeg cannot be started: {error.strerror or error}."
        if done.returncode == 0:
            return None
        target.unlink(missing_ok=True)
        told = " ".join(done.stderr.decode("utf-8", errors="replace").split())[-_ERROR_CHARACTERS:]
        return f"ffmpeg made no video (status {done.returncode}): {told}"


def concat_lines(shown: Sequence[Shown], end_s: float, stills: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the lines of ffmpeg's concat list: each preset's stills in turn for as long as it was on screen.

    The last still is named twice: ffmpeg leaves the last duration out.
    """
    last = None
    begins_s = 0.0
    for one, leaves_s in spans(shown, end_s):
        # The clock of a film begins at 0 also where the first pick came a row later.
        left_s, number = leaves_s - begins_s, 0
        begins_s = leaves_s
        while left_s > 1e-6:
            last = stills[one.preset_id][number % len(stills[one.preset_id])]
            yield f"file '{last}'\nduration {min(FRAME_S, left_s):.3f}\n"
            left_s, number = left_s - FRAME_S, number + 1
    if last is not None:
        yield f"file '{last}'\n"


def _stills(
    folder: Path, shown: Sequence[Shown], frames: Mapping[str, Sequence[Path]], progress: Progress | None
) -> dict[str, list[str]]:
    """Write each capture once as a JPEG under a name that needs no quoting; return the names by preset."""
    from PIL import Image

    Image.new("RGB", VIDEO_SIZE_PX).save(folder / "black.jpg")
    names: dict[str, list[str]] = {}
    presets = list(dict.fromkeys(one.preset_id for one in shown))
    for number, preset_id in enumerate(presets):
        names[preset_id] = []
        for capture, path in enumerate(frames.get(preset_id, ())):
            picture = read_frame(path, VIDEO_SIZE_PX)
            if picture is not None:
                names[preset_id].append(f"{number:05d}-{capture:02d}.jpg")
                picture.save(folder / names[preset_id][-1], quality=_JPEG_QUALITY)
                picture.close()
        names[preset_id] = names[preset_id] or ["black.jpg"]
        if progress is not None:
            progress(number + 1, len(presets))
    return names


def _write_wav(path: Path, track: Track) -> None:
    """Write the track as 16-bit samples of one channel, no louder than full scale."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(track.sample_rate_hz)
        for block in track.blocks():
            file.writeframes((np.clip(block, -1, 1) * 32767).astype("<i2").tobytes())
