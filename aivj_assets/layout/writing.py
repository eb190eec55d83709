"""How files get to their places whole: a temporary name in the same folder, flushed, renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})

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


def write_json_files(files: Mapping[Path, Any]) -> None:
    """Write several JSON files that belong together: all are written and flushed before the first is renamed.

    A full disk or a kill while they are written leaves the old ones; between the first rename and the last lie
    microseconds, and files are renamed in the order given.
    """
    staged = [(path, path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")) for path in files]
    try:
        for path, temporary in staged:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(_json_text(files[path]).encode("utf-8"))
                file.flush()
                os.fsync(file.fileno())
        for path, temporary in staged:
            replace_file(temporary, path)
    finally:
        for _, temporary in staged:
            temporary.unlink(missing_ok=True)


def _json_text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
