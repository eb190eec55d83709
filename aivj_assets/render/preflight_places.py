"""Before a batch is rendered: whether its folders can be written, hold it, and the clock is right."""

from __future__ import annotations

import errno
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aivj_assets.contracts.findings import Finding
from aivj_assets.contracts.frames_index import FailedRecord, OkRecord
from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.layout import BatchDir, replace_file
from aivj_assets.render.shard_log import storage_error

WRITE, FILE_CLOCK, CLOCK, DISK = "write access", "clock of the disk", "clock", "disk"

TYPICAL_BYTES_PER_PRESET = 40_000
"""3 WebP frames of 224 x 224 at quality 0.92 take 9 kB each (200 presets measured), blocks and folder filled up."""

# Of real frames (24 presets, 72 frames of 224 x 224 as the browser encodes them): WebP 11.2 kB, JPEG 13.6 kB, lossless
# WebP (quality 1) 53.7 kB, PNG 77.7 kB. At 448 x 448 they take 3.3 to 3.6 times as much, at 112 x 112 0.39 times.
_TIMES_WEBP = {"webp": 1.0, "jpeg": 1.2, "png": 7.0}
_TIMES_LOSSLESS = 4.8
_BLOCK_BYTES = 4096
_SAMPLED = 40

_CLOCK_TOLERANCE = timedelta(minutes=5)
_DISK_CLOCK_TOLERANCE_S = 120.0
_YEARS = range(2025, 2100)

Record = OkRecord | FailedRecord


# ---------------------------------------------------------------------- writing


def write_findings(places: Sequence[Path]) -> list[Finding]:
    """Write, flush, rename and remove a small file in each folder, or in the nearest one above that exists.

    Returns the finding on writing and, where a file was written, the one on its time stamp: it warns when that is more
    than two minutes off this machine's clock. Nothing stays.
    """
    problems: list[str] = []
    skews: dict[Path, float] = {}
    tried: set[Path] = set()
    for place in places:
        folder = place
        try:
            folder = _nearest_folder(place)
            if folder not in tried:
                tried.add(folder)
                skews[folder] = _write_once(folder)
        except OSError as error:
            problems.append(str(storage_error(error, folder)))
    if problems:
        written = Finding(WRITE, passed=False, detail=" ".join(problems))
    else:
        written = Finding(WRITE, passed=True, detail=f"{', '.join(map(str, skews))} can be written")
    return [written, *([_disk_clock_finding(skews)] if skews else [])]


def _write_once(folder: Path) -> float:
    """Return how many seconds the file's time stamp is ahead of this machine's clock."""
    first = folder / f".aivj-preflight-{uuid.uuid4().hex[:8]}.tmp"
    second = first.with_suffix(".renamed")
    try:
        before_s = time.time()
        with first.open("xb") as file:
            file.write(b"preflight\n")
            file.flush()
            os.fsync(file.fileno())
        after_s = time.time()
        replace_file(first, second)
        stamp_s = second.stat().st_mtime
        second.unlink()
    finally:
        first.unlink(missing_ok=True)
        second.unlink(missing_ok=True)
    return min(stamp_s - before_s, 0.0) + max(stamp_s - after_s, 0.0)


def _nearest_folder(path: Path) -> Path:
    """Return the nearest folder that exists; raises `OSError` when something else lies in the way."""
    for place in (path, *path.parents):
        if place.is_dir():
            return place
        if os.path.lexists(place):
            raise NotADirectoryError(errno.ENOTDIR, f"{place.name} is a file where a folder should be", str(place))
    raise FileNotFoundError(errno.ENOENT, "no folder above it exists", str(path))


def _disk_clock_finding(skews: Mapping[Path, float]) -> Finding:
    place = max(skews, key=lambda key: abs(skews[key]))
    skew_s = skews[place]
    if abs(skew_s) <= _DISK_CLOCK_TOLERANCE_S:
        return Finding(FILE_CLOCK, passed=True, detail=f"agrees with this machine's to {abs(skew_s):.0f} s")
    way = "ahead of" if skew_s > 0 else "behind"
    detail = (
        f"files at {place} are stamped {abs(skew_s) / 60:.0f} minutes {way} this machine's clock: set the clock of the "
        "server that holds them, or this machine's"
    )
    return Finding(FILE_CLOCK, passed=False, detail=detail, severity="warning")


# ---------------------------------------------------------------------- the clock


def newest_time(texts: Iterable[str]) -> datetime | None:
    """Return the latest of ISO-8601 times; those that are none are passed over, those without a zone are UTC."""
    newest: datetime | None = None
    for text in texts:
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            continue
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        newest = at if newest is None or at > newest else newest
    return newest


def clock_finding(now: datetime, known: Mapping[str, datetime | None], *, resume: bool = True) -> Finding:
    """Return whether the year can be right and nothing that is `known` by name lies more than 5 minutes ahead.

    "The last record counts" and the order of runs lie under a clock that was set back. With `resume` off earlier
    records do not count, and it only warns.
    """
    if now.year not in _YEARS:
        return Finding(CLOCK, passed=False, detail=f"this machine takes the year for {now.year}: set its clock")
    times = {what: at for what, at in known.items() if at is not None}
    what = max(times, key=lambda name: times[name], default=None)
    if what is None or times[what] - now <= _CLOCK_TOLERANCE:
        return Finding(CLOCK, passed=True, detail=f"{_text(now)}{'' if what is None else f', after {what}'}")
    detail = (
        f"this machine's clock says {_text(now)}, and {what} is of {_text(times[what])}: set the clock; if it is right "
        "and was ahead then, resume=false renders the batch anew"
    )
    return Finding(CLOCK, passed=False, detail=detail, severity="error" if resume else "warning")


def _text(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


# ---------------------------------------------------------------------- room on the disk


@dataclass(frozen=True)
class Need:
    """What is still to be stored below a folder."""

    what: str
    place: Path
    size_bytes: int


def bytes_per_preset(parameters: RenderParameters) -> int:
    """Return what a preset's frames take on the disk: estimated from the format, the picture's side and the captures.

    `webpQuality` below 0.92 takes less; it is not counted on.
    """
    lossless = parameters.format == "webp" and parameters.webp_quality >= 1
    times = _TIMES_LOSSLESS if lossless else _TIMES_WEBP[parameters.format]
    frame = TYPICAL_BYTES_PER_PRESET / 3 * times * (parameters.out_size / 224) ** 2
    return int(parameters.capture_count * max(_BLOCK_BYTES, frame))


def frames_bytes(folder: BatchDir, left: int, replaced: Sequence[OkRecord], parameters: RenderParameters) -> int:
    """Return by how many bytes the frames of `left` presets let the batch grow.

    `replaced` are the records, among those presets', whose frames lie there already and give way.
    """
    return max(0, left * bytes_per_preset(parameters) - _stored_bytes(folder, replaced))


def _stored_bytes(folder: BatchDir, records: Sequence[OkRecord]) -> int:
    """Return what the frames of records take, told from a sample."""
    sample = records[:: max(1, len(records) // _SAMPLED)]
    total = 0
    for frame in (folder.path / frame for record in sample for frame in record.frames):
        if frame.is_file():
            total += -(-frame.stat().st_size // _BLOCK_BYTES) * _BLOCK_BYTES
    return total * len(records) // max(1, len(sample))


def disk_finding(needs: Sequence[Need], usage: Callable[[Path], Any] = shutil.disk_usage) -> Finding:
    """Return whether what is still to be stored fits: fails where it does not, warns where twice as much would not.

    Folders may lie on different disks: those on one disk share what is free there.
    """
    by_disk: dict[int, list[Need]] = {}
    for need in needs:
        if need.size_bytes > 0:
            by_disk.setdefault(_nearest_folder(need.place).stat().st_dev, []).append(need)
    if not by_disk:
        return Finding(DISK, passed=True, detail="nothing is left to be stored")
    told: list[tuple[float, str]] = []
    for there in by_disk.values():
        needed = sum(need.size_bytes for need in there)
        free = int(usage(_nearest_folder(there[0].place)).free)
        what = ", ".join(f"{need.what} {size_text(need.size_bytes)}" for need in there)
        text = f"{size_text(needed)} are needed ({what}) and {size_text(free)} free at {there[0].place}"
        told.append((free / needed, text))
    text = "; ".join(text for _, text in sorted(told))
    least = min(share for share, _ in told)
    if least >= 2:
        return Finding(DISK, passed=True, detail=text)
    advice = "make room, or name a data root on another disk by AIVJ_ROOT"
    return Finding(DISK, passed=False, detail=f"{text}: {advice}", severity="error" if least < 1 else "warning")


def size_text(size_bytes: int) -> str:
    """Return a size as text, e.g. `12.3 GB`, or `480 MB` below one."""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"
