"""The pages under `artifacts/aivj`, served beside the UI: a browser follows no link from a served page to a file."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from aivj_assets.layout import DataRoot

HOST = "127.0.0.1"
PAGES_URL_VARIABLE = "AIVJ_PAGES_URL"
"""Set by `aivj ui` for the runs that it starts: where it serves the pages."""
DEFAULT_PAGES_PORT = 3001


def page_url(root: DataRoot, page: Path, environ: Mapping[str, str]) -> str:
    """Return the address of a page under `artifacts/aivj` while `aivj ui` runs, by default on its default port."""
    base = environ.get(PAGES_URL_VARIABLE, "").strip() or f"http://{HOST}:{DEFAULT_PAGES_PORT}"
    return f"{base.rstrip('/')}/{quote(page.relative_to(root.artifacts_dir).as_posix())}"


class _Handler(SimpleHTTPRequestHandler):
    """Hands out files below its directory to this machine's browsers; lists no folder, follows no link out of it."""

    # Python learns types from the machine, and Windows' registry may say anything.
    extensions_map = {  # noqa: RUF012
        "": "application/octet-stream", ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8",
        ".json": "application/json", ".webp": "image/webp", ".png": "image/png", ".jpg": "image/jpeg",
    }  # fmt: skip

    def send_head(self) -> BinaryIO | None:
        """Answer with a file, or with an error where it is not one of ours."""
        # A foreign page that has its own name point here asks under that name.
        if self.headers.get("Host", "").rpartition(":")[0] not in {HOST, "localhost"}:
            self.send_error(HTTPStatus.FORBIDDEN)
            return None
        target = Path(self.translate_path(self.path)).resolve()
        if not target.is_relative_to(Path(self.directory).resolve()) or not target.is_file():
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def end_headers(self) -> None:
        """Let the browser ask each time: a page is made anew under the same name."""
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing: the terminal is the UI's."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Windows would let two servers have one port.
    allow_reuse_address = os.name != "nt"

    def handle_error(self, *_: object) -> None:
        """Pass over browsers that go away while they are answered."""


@contextmanager
def served_pages(root: DataRoot, port: int) -> Iterator[str | None]:
    """Serve `artifacts/aivj` on 127.0.0.1 until the block ends; yields the address, None where the port is taken."""
    handler = functools.partial(_Handler, directory=os.fspath(root.artifacts_dir))
    try:
        server = _Server((HOST, port), handler)
    except OSError:
        yield None
        return
    thread = threading.Thread(target=server.serve_forever, name="pages", daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
