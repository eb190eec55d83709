"""The log of a show as it comes in: each line is checked, then appended and flushed at once.

A crash leaves a torn last line at most. The page numbers its lines, so that a line that was sent twice (the page closed
while it was under way) is stored once and none goes missing unseen.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from aivj_assets.contracts.base import ContractModel
from aivj_assets.contracts.show_log import PickLine, SessionLine, parse_show_line, selection_log_line, show_lines
from aivj_assets.errors import UserError
from aivj_assets.show.live.pack import PresetFigures

MAX_LINES_BYTES = 4 << 20


@dataclass
class _OpenShow:
    path: Path
    session: SessionLine
    stored: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class ShowLogs:
    """The logs that one server writes, in `folder`; thread-safe."""

    def __init__(self, folder: Path, pack: str, figures: Callable[[str], PresetFigures]) -> None:
        self._folder = folder
        self._pack = pack
        self._figures = figures
        self._shows: dict[str, _OpenShow] = {}
        self._lock = threading.Lock()

    def start(self, body: bytes) -> str:
        """Begin a log with its session line; returns the show's name. Raises `UserError` for a line not as agreed."""
        lines = _parsed(body)
        if len(lines) != 1 or not isinstance(lines[0], SessionLine):
            raise UserError("A show begins with one session line.")
        session = lines[0]
        if session.pack != self._pack or session.source != "show":
            raise UserError(f"The session line is not of a show of pack '{self._pack}'.")
        with self._lock:
            path = self._new_file()
            show = self._shows[path.stem] = _OpenShow(path, session)
        self._append(show, lines)
        return path.stem

    def append(self, name: str, first: int, body: bytes) -> int:
        """Append lines, the first of which is number `first` (the session line is 0); returns how many are stored.

        Raises `KeyError` for a show that this server did not begin, `UserError` for lines that are not as agreed or
        leave a gap. Lines that are stored already are passed over.
        """
        show = self._shows[name]
        lines = _parsed(body)
        if any(isinstance(line, SessionLine) for line in lines):
            raise UserError("A show has one session line.")
        with show.lock:
            if first > show.stored:
                raise UserError(f"Line {show.stored} of the show is missing before line {first}.")
            self._write(show, lines[show.stored - first :])
            return show.stored

    def _append(self, show: _OpenShow, lines: list[ContractModel]) -> None:
        with show.lock:
            self._write(show, lines)

    def _write(self, show: _OpenShow, lines: list[ContractModel]) -> None:
        if not lines:
            return
        _append_text(show.path, show_lines(lines))
        show.stored += len(lines)
        picks = [self._selection_line(line) for line in lines if isinstance(line, PickLine)]
        if picks:
            _append_text(show.path.with_suffix(".log"), "".join(f"{pick}\n" for pick in picks))

    def _selection_line(self, pick: PickLine) -> str:
        figures = self._figures(pick.preset_id)
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = selection_log_line(pick.preset_id, motion=figures.motion, quality_tier=figures.quality_tier)
        return f"{at} {line}"

    def _new_file(self) -> Path:
        """Make the file of a new show: `20260131T120000Z-1.jsonl`, the number telling shows of one second apart."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for number in range(1, 1000):
                path = self._folder / f"{stamp}-{number}.jsonl"
                try:
                    path.open("x").close()
                except FileExistsError:
                    continue
                return path
        except OSError as error:
            raise UserError(f"The show's log cannot be written to {self._folder}: {error.strerror or error}.") from None
        raise UserError(f"A thousand shows began in one second in {self._folder}.")


def _append_text(path: Path, text: str) -> None:
    """Append to a file and flush; what a full disk took only in part is cut off again."""
    try:
        with path.open("ab") as file:
            before = file.tell()
            try:
                file.write(text.encode("utf-8"))
                file.flush()
            except OSError:
                file.truncate(before)
                raise
    except OSError as error:
        raise UserError(f"The show's log {path} cannot be written: {error.strerror or error}.") from None


def _parsed(body: bytes) -> list[ContractModel]:
    try:
        values = [json.loads(line) for line in body.decode("utf-8").splitlines() if line.strip()]
    except (ValueError, RecursionError):
        raise UserError("The lines are not JSON, one object a line.") from None
    return [parse_show_line(value) for value in values]
