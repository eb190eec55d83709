"""`frames-index.jsonl`: one line a rendering attempt of a preset; the last line of a preset counts."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, TypeAdapter, ValidationError

from aivj_assets.contracts.base import ContractModel, first_problem, utc_now
from aivj_assets.errors import UserError
from aivj_assets.layout import write_bytes_atomic

INDEX_VERSION = "v0"
ReasonCode = Literal[
    "read-failed",
    "empty",
    "binary-nul",
    "preset-load-failed",
    "shader-compile-failed",
    "render-failed",
    "context-lost",
    "probe-timeout",
    "watchdog",
    "wasm-abort",
    "probe-error",
    "quality-filter",
]
FLAGS = ("black", "flat", "static")
BLACK_MAX_LUMA = 3 / 255
"""`black`: the mean gray (0..1) of every frame is below this."""
FLAT_MAX_STD = 4 / 255
"""`flat`: the standard deviation of gray (0..1) within every frame is below this: one colour."""
GRAY_WEIGHTS = (0.2126, 0.7152, 0.0722)
"""Rec. 709 luma weights of red, green and blue, applied to the sRGB values as stored."""
REASON_CODES: tuple[str, ...] = get_args(ReasonCode)
TRANSIENT_REASONS = frozenset({"probe-timeout", "watchdog", "context-lost", "wasm-abort", "probe-error"})
"""Failures that a fresh page or a quieter machine may cure: tried again, within a run and by later runs.

`render-failed`, `preset-load-failed` and `shader-compile-failed` are the preset's own: the same input fails again.
"""


class FrameMetrics(ContractModel):
    """Figures of a preset's captures (CONTRACTS: Metrics). Both lie in 0..1; further figures may follow."""

    avg_luma: float = Field(ge=0, le=1)
    motion: float = Field(ge=0, le=1)
    flags: list[str] | None = None
    """Of `FLAGS`: what a person would want to look at. None where another tool wrote the record."""


class _Record(ContractModel):
    version: Literal["v0"] = "v0"
    at: str = Field(default_factory=utc_now)
    preset_id: str
    rel_path: str
    file_path: str
    preset_sha256: str | None = None
    fingerprint: str | None = None


class OkRecord(_Record):
    """A preset whose frames lie on disk; `frames` are relative to the batch's artifact folder."""

    status: Literal["ok"] = "ok"
    id_hash: str = Field(pattern=r"^[0-9a-f]{16}$")
    frames: list[str] = Field(min_length=1)
    metrics: FrameMetrics
    warnings: list[str] | None = None


class FailedRecord(_Record):
    """A preset without usable frames, and why. Reasons of other tools are kept as they are."""

    status: Literal["failed"] = "failed"
    reasons: list[str] = Field(min_length=1)
    error_text: str | None = None
    metrics: dict[str, float | None] | None = None
    quarantined: bool | None = None
    """True for a preset that ended several browsers: not tried again before it is given more time."""
    timeout_ms: int | None = None
    """The deadline of one preset that was in force, in ms, where another one might have changed the outcome."""


FrameRecord = Annotated[OkRecord | FailedRecord, Field(discriminator="status")]
_ADAPTER: TypeAdapter[OkRecord | FailedRecord] = TypeAdapter(FrameRecord)


def picture_flags(means: Sequence[float], stds: Sequence[float]) -> list[Literal["black", "flat"]]:
    """Return which of `black` and `flat` hold, from mean and standard deviation of gray (0..1) of every capture."""
    found: list[Literal["black", "flat"]] = []
    if max(means) < BLACK_MAX_LUMA:
        found.append("black")
    if max(stds) < FLAT_MAX_STD:
        found.append("flat")
    return found


def count_flags(records: Iterable[OkRecord | FailedRecord]) -> dict[str, int]:
    """Return how many ok presets carry each of `FLAGS`; a preset may carry several."""
    found = Counter(flag for record in records if isinstance(record, OkRecord) for flag in record.metrics.flags or ())
    return {flag: found[flag] for flag in FLAGS}


def id_hash(preset_id: str) -> str:
    """Return the first 16 hex digits of sha1(presetId)."""
    return hashlib.sha1(preset_id.encode("utf-8"), usedforsecurity=False).hexdigest()[:16]


def frame_paths(id_hash_: str, count: int, suffix: str) -> list[str]:
    """Return `frames/ab/cd/<idHash>/frame-000.<suffix>` … for `count` captures."""
    folder = f"frames/{id_hash_[:2]}/{id_hash_[2:4]}/{id_hash_}"
    return [f"{folder}/frame-{number:03d}.{suffix}" for number in range(count)]


def is_whole_image(head: bytes, tail: bytes, size_bytes: int) -> bool:
    """Tell by its first 8 and last 64 bytes whether an image was cut off: by a full disk, a crash, a broken copy.

    A WebP tells its length (RIFF header), a PNG ends with the chunk IEND, a JPEG with the marker EOI. Other bytes are
    taken as they are, unless there are none. Nothing is decoded: that finds what else is damaged.
    """
    if head.startswith(b"RIFF"):
        return len(head) == 8 and size_bytes >= 8 + int.from_bytes(head[4:8], "little")
    if head.startswith(b"\x89PNG"):
        return b"IEND" in tail
    if head.startswith(b"\xff\xd8"):
        return b"\xff\xd9" in tail
    return size_bytes > 0 and not any(magic.startswith(head) for magic in (b"RIFF", b"\x89PNG", b"\xff\xd8"))


def is_whole_file(path: Path) -> bool:
    """Tell whether a stored image is there and, by `is_whole_image`, not cut off."""
    try:
        # Unbuffered, and a WebP's end is not read: a large pack has hundreds of thousands of frames.
        with path.open("rb", buffering=0) as file:
            head = file.read(8)
            size_bytes = os.fstat(file.fileno()).st_size
            if head.startswith(b"RIFF"):
                return is_whole_image(head, b"", size_bytes)
            file.seek(max(0, size_bytes - 64))
            return is_whole_image(head, file.read(64), size_bytes)
    except OSError:
        return False


def encode_record(record: OkRecord | FailedRecord) -> bytes:
    """Return a record as one JSON line, with its line end."""
    text = json.dumps(record.to_json(), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # A page's message may be cut inside a surrogate pair, and no JSON reader takes half of one.
    return text.encode("utf-8", errors="replace") + b"\n"


def whole_length(data: bytes) -> int:
    """Return how many bytes of an index are whole lines: what follows is a line torn by a crash."""
    return data.rfind(b"\n") + 1


def read_records(path: Path) -> dict[str, OkRecord | FailedRecord]:
    """Read an index as {presetId: its last record}, in order of first appearance.

    A missing file is empty. A torn last line is dropped. A broken line elsewhere raises `UserError` with its number.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    records: dict[str, OkRecord | FailedRecord] = {}
    for number, line in enumerate(data[: whole_length(data)].split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            record = _ADAPTER.validate_json(line)
        except ValidationError as error:
            raise UserError(
                f"{path} line {number} is not as agreed: {first_problem(error)}. Remove the line; its preset is then "
                "rendered again."
            ) from None
        records[record.preset_id] = record
    return records


def write_records(path: Path, records: Iterable[OkRecord | FailedRecord]) -> None:
    """Write an index whole, one line a record."""
    write_bytes_atomic(path, b"".join(encode_record(record) for record in records))
