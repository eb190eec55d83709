"""The index and the frames of a folder that an earlier tool made: checked, and copied into a batch's folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath

from pydantic import TypeAdapter, ValidationError

from aivj_assets.contracts.adoption import NOT_ADOPTED
from aivj_assets.contracts.base import first_problem
from aivj_assets.contracts.findings import examples
from aivj_assets.contracts.frames_index import (
    FailedRecord,
    FrameRecord,
    OkRecord,
    frame_paths,
    id_hash,
    is_whole_file,
)
from aivj_assets.contracts.manifest import ManifestPreset
from aivj_assets.contracts.presets_report import PresetsReport
from aivj_assets.errors import UserError
from aivj_assets.layout import write_bytes_atomic
from aivj_assets.packs.hygiene import Progress, map_files
from aivj_assets.packs.pack_lock import writing

Record = OkRecord | FailedRecord
_ADAPTER: TypeAdapter[OkRecord | FailedRecord] = TypeAdapter(FrameRecord)
_COPIERS = 8  # flushing a small file waits for the disk
_TRIED_FOR_BASE = 20


@dataclass(frozen=True)
class FrameCopy:
    """A frame's file, and its place relative to the batch's folder."""

    preset_id: str
    name: str
    source: Path
    target: str = ""


def read_index(path: Path, notes: list[str]) -> dict[str, Record]:
    """Return {presetId: its last record} of an index; unknown fields are kept. Raises `UserError` with the line.

    A last line without a line end counts when it is whole; one that a crash has torn is told among the notes.
    """
    lines = read_bytes(path).removeprefix(b"\xef\xbb\xbf").split(b"\n")
    records: dict[str, Record] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = _ADAPTER.validate_json(line)
        except ValidationError as error:
            if number == len(lines):
                notes.append(f"the last line of {path.name} is torn and does not count")
                break
            raise UserError(
                f"{path} line {number} is not as agreed: {first_problem(error)}. Mend or remove the line."
            ) from None
        records[record.preset_id] = record
    if not any(isinstance(record, OkRecord) for record in records.values()):
        raise UserError(f"{path} holds no ok preset: there is nothing to adopt.")
    return records


def read_bytes(path: Path) -> bytes:
    """Return a file's bytes; raises `UserError` when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from None


def check_members(path: Path, records: Mapping[str, Record], presets: Sequence[ManifestPreset], manifest: Path) -> None:
    """Raise `UserError` when the index names presets that the manifest does not."""
    foreign = sorted(records.keys() - {preset.id for preset in presets})
    if foreign:
        raise UserError(
            f"{path} names {len(foreign)} presets that {manifest} does not ({examples(foreign)}): put the manifest "
            "there that the folder was made from, or remove their lines."
        )


def check_contents(path: Path, records: Mapping[str, Record], report: PresetsReport) -> None:
    """Raise `UserError` when a preset's file is not the one that its frames were made of."""
    changed = [
        name
        for name, record in records.items()
        if isinstance(record, OkRecord)
        and record.preset_sha256 is not None
        and report.content_sha256.get(name, record.preset_sha256) != record.preset_sha256
    ]
    if changed:
        raise UserError(
            f"{path}: the files of {len(changed)} presets are others than those that were rendered "
            f"({examples(changed)}: presetSha256 differs); bring these files back, or remove presetSha256 from their "
            "lines when it was counted in another way."
        )


def check_fingerprints(path: Path, records: Mapping[str, Record]) -> str | None:
    """Return the fingerprint that every ok line carries; None when not all carry one.

    Raises `UserError` for two of them: frames of two renderings never lie in one index.
    """
    carried = Counter(record.fingerprint for record in records.values() if isinstance(record, OkRecord))
    known = sorted(name for name in carried if name)
    if len(known) > 1:
        raise UserError(
            f"{path} carries {len(known)} fingerprints ({examples(known)}): frames of two renderings never lie in one "
            "index; keep the lines of one of them."
        )
    return known[0] if known and not carried[None] and not carried[""] else None


def find_frames(folder: Path, index: Path, records: Mapping[str, Record], progress: Progress | None) -> list[FrameCopy]:
    """Return every frame of the ok presets with its file, in order; raises `UserError` when one is not whole.

    Paths in the index are relative to the folder, or to one above or beside it: what lies before the part that is
    found below the folder is left away.
    """
    ok = [record for record in records.values() if isinstance(record, OkRecord)]
    skipped = _parts_to_skip(folder, [record.frames[0] for record in ok[:_TRIED_FOR_BASE]])
    named = [
        FrameCopy(record.preset_id, name, folder.joinpath(*_parts(name)[skipped:]))
        for record in ok
        for name in record.frames
    ]
    suffixes = map_files(_suffix_of, [one.source for one in named], progress)
    bad = [
        f"{one.preset_id}: {one.name} {problem.text}"
        for one, problem in zip(named, suffixes, strict=True)
        if isinstance(problem, _Unusable)
    ]
    if bad:
        raise UserError(
            f"{index} names {len(bad)} frames that cannot be used ({examples(bad, 2)}): put them there, or let the "
            "last line of their presets say failed."
        )
    copies, place = [], 0
    for record in ok:
        for number in range(len(record.frames)):
            target = frame_paths(id_hash(record.preset_id), number + 1, str(suffixes[place]))[number]
            copies.append(FrameCopy(record.preset_id, named[place].name, named[place].source, target))
            place += 1
    return copies


@dataclass(frozen=True)
class _Unusable:
    text: str


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(name.replace("\\", "/")).parts


def _parts_to_skip(folder: Path, names: Sequence[str]) -> int:
    """Return how many leading parts of the index's paths lie outside of the folder; 0 when no frame is found."""
    for name in names:
        parts = _parts(name)
        for skipped in range(len(parts)):
            if folder.joinpath(*parts[skipped:]).is_file():
                return skipped
    return 0


def _suffix_of(path: Path) -> str | _Unusable:
    try:
        with path.open("rb", buffering=0) as file:
            head = file.read(12)
    except OSError as error:
        return _Unusable("is missing" if isinstance(error, FileNotFoundError) else f"({error.strerror or error})")
    suffix = None
    if head.startswith(b"RIFF") and head[8:] == b"WEBP":
        suffix = "webp"
    elif head.startswith(b"\x89PNG"):
        suffix = "png"
    elif head.startswith(b"\xff\xd8"):
        suffix = "jpg"
    if suffix is None:
        return _Unusable("is no WebP, PNG or JPEG")
    return suffix if is_whole_file(path) else _Unusable("is cut off")


def adopted_records(
    presets: Sequence[ManifestPreset],
    records: Mapping[str, Record],
    copies: Sequence[FrameCopy],
    report: PresetsReport,
    fingerprint: str,
) -> dict[str, Record]:
    """Return the index as the batch gets it, in manifest order: paths, content hashes and fingerprint filled in.

    A preset without a line counts as failed, by a line of its own.
    """
    frames: dict[str, list[str]] = {}
    for one in copies:
        frames.setdefault(one.preset_id, []).append(one.target)
    # Not the time of today: the same folder gives the same index.
    latest = max(record.at for record in records.values())
    made: dict[str, Record] = {}
    for preset in presets:
        known = {
            "rel_path": preset.rel_path,
            "fingerprint": fingerprint,
            "preset_sha256": report.content_sha256.get(preset.id),
        }
        record = records.get(preset.id)
        if record is None:
            made[preset.id] = FailedRecord(
                at=latest, preset_id=preset.id, file_path=f"public/presets/{preset.rel_path}", reasons=[NOT_ADOPTED],
                error_text="the adopted index has no line of this preset", **known,
            )  # fmt: skip
            continue
        known["preset_sha256"] = known["preset_sha256"] or record.preset_sha256
        if isinstance(record, OkRecord):
            own = {"id_hash": id_hash(preset.id), "frames": frames[preset.id]}
            made[preset.id] = record.model_copy(update={**known, **own})
        else:
            made[preset.id] = record.model_copy(update=known)
    return made


def copy_frames(copies: Sequence[FrameCopy], target: Path, progress: Progress | None) -> int:
    """Copy frames below `target`, each whole or not at all; returns how many were not there yet with these bytes.

    May be interrupted and repeated. Raises `UserError` for a disk that is full or a frame that went away.
    """
    copied = done = 0
    waiting = iter(copies)
    with writing(target), ThreadPoolExecutor(_COPIERS, thread_name_prefix="copy") as pool:
        # A few at a time: an interruption does not wait for all the others.
        running = {pool.submit(partial(_copy, target), one) for one in islice(waiting, 4 * _COPIERS)}
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                copied += future.result()
                done += 1
            running |= {pool.submit(partial(_copy, target), one) for one in islice(waiting, len(finished))}
            if progress is not None:
                progress(done, len(copies))
    return copied


def _copy(target: Path, one: FrameCopy) -> bool:
    data = read_bytes(one.source)
    path = target / one.target
    try:
        if path.stat().st_size == len(data) and path.read_bytes() == data:
            return False
    except OSError:
        pass
    # What a killed copy left behind; whoever copies holds the batch.
    for left in path.parent.glob(f".{path.name}.*.tmp"):
        left.unlink(missing_ok=True)
    write_bytes_atomic(path, data)
    return True
