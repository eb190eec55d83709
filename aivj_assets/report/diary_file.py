"""The diary's two files: entries of batches between marks, and a person's own text around them, kept byte for byte."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aivj_assets.errors import UserError
from aivj_assets.layout import write_bytes_atomic

STATUS_HEAD = ("# Execution status", "", "What stands between two marks is written by aivj; write around them.")
TODO_HEAD = ("# To do", "", "Lines that end in a mark are written by aivj; write around them.")
_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\n|\r")
_MARK = re.compile(rb"<!-- (/?)aivj:batch ([^\s<>]+) -->")
_TASK = re.compile(rb"[-*+] \[[ xX]\] ")


@dataclass(frozen=True)
class _Place:
    """Where an entry lies in a file, from its first byte to behind its last; its line end is not part of it."""

    start: int
    end: int


def merge_section(data: bytes, key: str, lines: Sequence[str]) -> bytes:
    """Return a file with the section of a batch: in place of the one that is there, else at the end.

    Text around the marks stays as it is; a second section of the same batch goes. Written with the file's own line
    ends. Raises `UserError` for a file that is not UTF-8 or another text of single bytes.
    """
    block = (f"<!-- aivj:batch {key} -->", *lines, f"<!-- /aivj:batch {key} -->")
    return _merge(data, block, list(_sections(data, key)), head=STATUS_HEAD, gap=True)


def merge_todo(data: bytes, key: str, line: str) -> bytes:
    """Return a file with the line of a batch, as `merge_section` does; what stands behind its mark stays."""
    return _merge(data, (f"{line} <!-- aivj:batch {key} -->",), list(_todos(data, key)), head=TODO_HEAD, gap=False)


def update_file(path: Path, data: bytes | None, merged: bytes) -> bool:
    """Write a file unless it says the same; returns whether it was written. Raises `UserError` when it cannot be."""
    if merged == data:
        return False
    try:
        write_bytes_atomic(path, merged)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}; close or free it, or move it.") from None
    return True


def read_file(path: Path) -> bytes | None:
    """Return a file's bytes, None when there is none. Raises `UserError` when it cannot be read."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}; free it, or move it away.") from None
    if b"\0" in data:
        raise UserError(f"{path} is no UTF-8 text (Windows calls another one 'Unicode'): save it as UTF-8.")
    return data


def _merge(data: bytes, block: Sequence[str], places: Sequence[_Place], *, head: Sequence[str], gap: bool) -> bytes:
    found = _LINE_END.search(data)
    line_end = found[0] if found else b"\n"
    entry = line_end.join(line.encode("utf-8") for line in block)
    if places:
        first, *copies = places
        pieces = [data[: first.start], entry]
        rest = first.end
        for copy in copies:
            pieces.append(data[rest : copy.start])
            rest = copy.end
            behind = _LINE_END.match(data, rest)
            rest = behind.end() if behind else rest
        return b"".join([*pieces, data[rest:]])
    if not data.strip(_BOM + b" \t\r\n"):
        top = line_end.join(line.encode("utf-8") for line in head)
        data += top + line_end
    elif not data.endswith((b"\n", b"\r")):
        data += line_end
    last = re.split(rb"\r\n|\n|\r", data)[-2]
    # A paragraph right above a list or a comment would take it in.
    apart = bool(last.strip()) and (gap or not _MARK.search(last))
    return data + (line_end if apart else b"") + entry + line_end


def _sections(data: bytes, key: str) -> Iterator[_Place]:
    """Find the sections of a batch: a mark that opens and, next after it, the one that closes it.

    A lone mark, of which a person removed the other, is text: what would lie between it and a later one is not ours.
    """
    name = key.encode()
    opened: re.Match[bytes] | None = None
    for mark in _MARK.finditer(data):
        if not _begins_line(data, mark.start()):
            continue
        if not mark[1]:
            opened = mark
        elif opened is not None and opened[2] == mark[2]:
            if mark[2] == name:
                yield _Place(opened.start(), mark.end())
            opened = None
        else:
            opened = None


def _todos(data: bytes, key: str) -> Iterator[_Place]:
    """Find the tasks of a batch, from their first letter to their mark; other text that holds a mark is not ours."""
    after = 0
    for mark in _MARK.finditer(data):
        if mark[1] or mark[2] != key.encode():
            continue
        start = max(data.rfind(b"\n", 0, mark.start()), data.rfind(b"\r", 0, mark.start())) + 1
        if data.startswith(_BOM, start):
            start += len(_BOM)
        line = data[start : mark.start()]
        start += len(line) - len(line.lstrip(b" \t"))
        if start >= after and _TASK.match(data, start):
            after = mark.end()
            yield _Place(start, after)


def _begins_line(data: bytes, at: int) -> bool:
    return at == 0 or data[at - 1 : at] in {b"\n", b"\r"} or data[:at] == _BOM
