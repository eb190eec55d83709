"""The show page's server, on 127.0.0.1 only: page, published pack, presets, music to be heard, the show's log."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import parse_qs, unquote, urlsplit

from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot
from aivj_assets.show.audio.source import require_sound
from aivj_assets.show.live.access import HOST, api_refusal, is_known_host
from aivj_assets.show.live.hear import heard
from aivj_assets.show.live.logs import MAX_LINES_BYTES, ShowLogs
from aivj_assets.show.live.pack import ShowPack
from aivj_assets.show.live.static_files import StaticFiles
from aivj_assets.show.live.tracks import MAX_AUDIO_BYTES, byte_range, received, shown_name

_BLOCK_BYTES = 1 << 18
Answer = tuple[HTTPStatus, Any]


@dataclass(frozen=True)
class ShowOptions:
    """What `aivj show` was asked for."""

    root: DataRoot
    pack: str
    page_dir: Path
    """The render page's modules."""
    node_modules: Path
    """The web engine's npm packages."""
    audio: Path | None = None
    """A track that the page offers at once."""
    seed: int | None = None
    """Seed of the picks; None: another for each show."""


class ShowServer(ThreadingHTTPServer):
    """The server; `server_port` is the port that it got."""

    daemon_threads = True
    # Windows would let two servers have one port.
    allow_reuse_address = os.name != "nt"

    def __init__(self, options: ShowOptions, port: int) -> None:
        """Check pack and audio file and open the port. Raises `UserError`: not published, no sound, port taken."""
        self.options = options
        self.pack = ShowPack(options.root, options.pack)
        self.pack.published()
        if options.audio is not None:
            require_sound(options.audio)
        self.logs = ShowLogs(options.root.shows_dir(options.pack), options.pack, self.pack.figures)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise UserError(
                f"Port {port} on {HOST} cannot be had ({error.strerror or error}): end the program that has it, or "
                "choose another with --port."
            ) from None
        self.files = StaticFiles(options.page_dir, options.node_modules, self.server_port)

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://{HOST}:{self.server_port}/"

    def handle_error(self, *_: object) -> None:
        """Pass over browsers that go away while they are answered."""


class _Handler(BaseHTTPRequestHandler):
    server_version = "aivj-show"
    sys_version = ""

    @property
    def show(self) -> ShowServer:
        return cast("ShowServer", self.server)

    def log_message(self, *_: object) -> None:
        """Say nothing: the terminal has the address only."""

    def do_GET(self) -> None:
        """Answer with a file or with what the page asks."""
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), parse_qs(parts.query)
        asks: Mapping[str, Callable[[], None]] = {
            "/api/pack": self._send_pack,
            "/api/preset": lambda: self._send_preset(_one(query, "id")),
            "/audio/given": self._send_audio,
        }
        refusal = api_refusal(self.headers, self.show.server_port, changes=False) if path in asks else None
        if refusal is not None:
            self._json(HTTPStatus.FORBIDDEN, {"error": refusal})
        elif path in asks:
            self._guarded(asks[path])
        else:
            self._send_static(path)

    def do_POST(self) -> None:
        """Take music or lines of the log, from the show's page only."""
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), parse_qs(parts.query)
        refusal = api_refusal(self.headers, self.show.server_port, changes=True)
        if refusal is not None:
            self._json(HTTPStatus.FORBIDDEN, {"error": refusal})
        elif path == "/api/track":
            self._guarded(lambda: self._hear(shown_name(_one(query, "name")), given=False))
        elif path == "/api/track/given" and self.show.options.audio is not None:
            name = self.show.options.audio.name
            self._guarded(lambda: self._hear(name, given=True))
        elif path == "/api/shows":
            self._guarded(lambda: self._json(HTTPStatus.CREATED, {"show": self.show.logs.start(self._lines())}))
        elif path.startswith("/api/shows/"):
            self._guarded(lambda: self._append(path.removeprefix("/api/shows/"), _one(query, "from")))
        else:
            self._json(HTTPStatus.NOT_FOUND, {"error": "There is nothing here."})

    def _guarded(self, answer: Callable[[], None]) -> None:
        """Answer; what the person can mend is told as one line."""
        try:
            answer()
        except UserError as error:
            self._json(HTTPStatus.BAD_REQUEST, {"error": str(error)})

    def _send_static(self, path: str) -> None:
        host = self.headers.get("Host", "")
        if not is_known_host(host, self.show.server_port):
            self._json(HTTPStatus.FORBIDDEN, {"error": f"This server answers at {self.show.url} only."})
            return
        found = self.show.files.find(path, host)
        if found is None:
            self._json(HTTPStatus.NOT_FOUND, {"error": "There is nothing here."})
            return
        data = found.path.read_bytes()
        self._head(HTTPStatus.OK, {**found.headers, "Content-Length": str(len(data))})
        self.wfile.write(data)

    def _send_pack(self) -> None:
        options = self.show.options
        given = {"name": options.audio.name, "url": "/audio/given"} if options.audio else None
        more = {"seed": options.seed, "given": given, "maxAudioBytes": MAX_AUDIO_BYTES}
        self._json(HTTPStatus.OK, {**self.show.pack.published(), **more})

    def _send_preset(self, preset_id: str) -> None:
        self._json(HTTPStatus.OK, self.show.pack.preset(preset_id))

    def _send_audio(self) -> None:
        """Send the file of `--audio`, or the part that the player asks for."""
        audio = self.show.options.audio
        if audio is None:
            self._json(HTTPStatus.NOT_FOUND, {"error": "No track was given with --audio."})
            return
        try:
            file = audio.open("rb")
        except OSError as error:
            raise UserError(f"{audio} cannot be read: {error.strerror or error}.") from None
        with file:
            size = os.fstat(file.fileno()).st_size
            headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", **_API_HEADERS}
            try:
                part = byte_range(self.headers.get("Range"), size)
            except ValueError:
                self._head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, {**headers, "Content-Range": f"bytes */{size}"})
                return
            first, last = part or (0, size - 1)
            if part is not None:
                headers["Content-Range"] = f"bytes {first}-{last}/{size}"
            status = HTTPStatus.OK if part is None else HTTPStatus.PARTIAL_CONTENT
            self._head(status, {**headers, "Content-Length": str(last - first + 1)})
            _copy(file, self.wfile, first, last)

    def _hear(self, name: str, *, given: bool) -> None:
        """Answer with the track's facts and its rows as NDJSON, while they are being made."""
        audio = self.show.options.audio
        source = (
            nullcontext(audio)
            if given and audio is not None
            else received(cast("BinaryIO", self.rfile), self._length(), name)
        )
        with source as path:
            parts = heard(path, name)
            first = next(parts)  # raises before anything is sent when the file holds no sound
            self._head(HTTPStatus.OK, {"Content-Type": "application/x-ndjson", **_API_HEADERS})
            self._send_line(first)
            try:
                for part in parts:
                    self._send_line(part)
            except UserError as error:
                self._send_line({"error": str(error)})

    def _send_line(self, value: Any) -> None:
        self.wfile.write(json.dumps(value, allow_nan=False, separators=(",", ":")).encode("utf-8") + b"\n")

    def _append(self, show: str, first: str) -> None:
        if not (first.isascii() and first.isdigit() and len(first) < 10):
            raise UserError("The first line's number is missing.")
        try:
            stored = self.show.logs.append(show, int(first), self._lines())
        except KeyError:
            self._json(HTTPStatus.NOT_FOUND, {"error": "The show is not one of this server: load the page anew."})
            return
        self._json(HTTPStatus.OK, {"stored": stored})

    def _length(self) -> int:
        text = self.headers.get("Content-Length", "")
        if not (text.isascii() and text.isdigit() and len(text) < 16):
            raise UserError("The request does not tell its length.")
        return int(text)

    def _lines(self) -> bytes:
        length = self._length()
        if length > MAX_LINES_BYTES:
            raise UserError(f"More than {MAX_LINES_BYTES >> 20} MiB of lines at once.")
        return self.rfile.read(length)

    def _json(self, status: HTTPStatus, value: Any) -> None:
        data = json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
        headers = {"Content-Type": "application/json; charset=utf-8", "Content-Length": str(len(data)), **_API_HEADERS}
        self._head(status, headers)
        self.wfile.write(data)

    def _head(self, status: HTTPStatus, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


_API_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    # Opened as a document, which nothing does, it may do nothing.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
}


def _one(query: Mapping[str, list[str]], name: str) -> str:
    return query.get(name, [""])[0]


def _copy(file: BinaryIO, target: Any, first: int, last: int) -> None:
    file.seek(first)
    left = last - first + 1
    while left > 0:
        block = file.read(min(_BLOCK_BYTES, left))
        if not block:
            return
        target.write(block)
        left -= len(block)
