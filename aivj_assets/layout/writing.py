"""How files get to their places whole: a temporary name in the same folder, flushed, renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})

LOG_LIMIT_BYTES = 10_000_000

# Windows refuses to replace a file that another process (a virus scanner, a viewer) holds open for a moment.
_REPLACE_ATTEMPTS = 10
_REPLACE_WAIT_S = 0.1


def replace_file(source: Path, target: Path) -> None:
    """Rename `source` over `target`, waiting up to a second for a Windows process that holds `target` open."""
    for attempt in range(_REPLACE_ATTEMPTS):
        try:
            source.replace(target)
        except PermissionError:
            if os.name != "nt" or attempt == _REPLACE_ATTEMPTS - 1:
                raise
            time.sleep(_REPLACE_WAIT_S)
        else:
            return


def replace_folder(source: Path, target: Path) -> None:
    """Rename a folder to `target`; one that lies there is moved aside first and then removed."""
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.old")
    if target.exists():
        replace_file(target, aside)
    replace_file(source, target)
    shutil.rmtree(aside, ignore_errors=True)


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write a file whole: a temporary name in the same folder, flushed, renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        replace_file(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text_atomic(path: Path, text: str) -> None:
    """Write UTF-8 text whole, with LF line ends on every platform."""
    write_bytes_atomic(path, text.encode("utf-8"))


def write_json_atomic(path: Path, value: Any) -> None:
    """Write indented JSON whole. NaN and infinity raise `ValueError`: no browser reads them."""
    write_text_atomic(path, _json_text(value))


def write_json_rows(path: Path, value: Mapping[str, Any], *, unless_only: str | None = None) -> bool:
    """Write a large JSON object whole, a line for each item of its lists and objects; returns whether it was written.

    The text is never in memory as a whole, and a list may be an iterator that makes its items as they are written. With
    `unless_only` a file that differs in nothing but the field of that name is left as it is. NaN and infinity raise
    `ValueError`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        _write_rows(temporary, value)
        if unless_only is not None and _same_lines(path, temporary, _field_start(unless_only)):
            return False
        replace_file(temporary, path)
        return True
    finally:
        temporary.unlink(missing_ok=True)


def write_json_files(files: Mapping[Path, Mapping[str, Any]]) -> None:
    """Write several JSON files that belong together: all are written and flushed before the first is renamed.

    They are written as `write_json_rows` does. A full disk or a kill while they are written leaves the old ones;
    between the first rename and the last lie microseconds, and files are renamed in the order given.
    """
    staged = [(path, path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")) for path in files]
    try:
        for path, temporary in staged:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_rows(temporary, files[path])
        for path, temporary in staged:
            replace_file(temporary, path)
    finally:
        for _, temporary in staged:
            temporary.unlink(missing_ok=True)


def _json_text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _write_rows(path: Path, value: Mapping[str, Any]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(_json_rows(value))
        file.flush()
        os.fsync(file.fileno())


def _json_rows(value: Mapping[str, Any]) -> Iterator[str]:
    """Yield an object's text: its fields indented as everywhere, the items within them one a line."""
    dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
    before = "{\n"
    for name, inner in value.items():
        yield f"{before}{_field_start(name)}"
        if isinstance(inner, Mapping):
            yield from _items((f"{dumps(str(key))}: {dumps(item)}" for key, item in inner.items()), "{", "}")
        elif isinstance(inner, list | Iterator):
            yield from _items(map(dumps, inner), "[", "]")
        else:
            yield dumps(inner)
        before = ",\n"
    yield "\n}\n" if before == ",\n" else "{}\n"


def _field_start(name: str) -> str:
    return f"  {json.dumps(name, ensure_ascii=False)}: "


def _items(rows: Iterable[str], opening: str, closing: str) -> Iterator[str]:
    before = f"{opening}\n    "
    for row in rows:
        yield before + row
        before = ",\n    "
    yield f"\n  {closing}" if before == ",\n    " else opening + closing


def _same_lines(one: Path, other: Path, passed_over: str) -> bool:
    """Whether two text files have the same lines, but for those that begin with `passed_over`."""
    try:
        with one.open(encoding="utf-8") as before, other.open(encoding="utf-8") as after:
            return all(
                old == new
                or (old is not None and new is not None and old.startswith(passed_over) and new.startswith(passed_over))
                for old, new in zip_longest(before, after)
            )
    except (OSError, ValueError):
        return False


def start_new_log(path: Path, limit_bytes: int = LOG_LIMIT_BYTES) -> None:
    """Move a log that has grown beyond the limit aside, to `<name>.1` in place of an older one.

    One that another process holds open on Windows grows on until the next time.
    """
    with contextlib.suppress(OSError):
        if path.stat().st_size > limit_bytes:
            path.replace(path.with_name(f"{path.name}.1"))


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
