"""Pages that the UI links to, asked for over HTTP."""

from __future__ import annotations

import http.client
import sys
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.page_server import PAGES_URL_VARIABLE, page_url, served_pages


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    made = DataRoot(tmp_path / "root")
    page = made.batch(BatchKey("p")).qa_dir / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text("<!doctype html>ours", encoding="utf-8")
    (made.path / "secret.txt").write_text("secret", encoding="utf-8")
    return made


def ask(address: str, path: str, *, method: str = "GET", host: str | None = None) -> tuple[int, bytes]:
    """Send a path as it is: a client that tidies it first would hide what the server does with it."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=20)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or parts.netloc)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def test_a_page_is_where_its_link_leads(root: DataRoot) -> None:
    page = root.batch(BatchKey("p")).qa_dir / "index.html"
    with served_pages(root, 0) as address:
        assert address is not None
        link = page_url(root, page, {PAGES_URL_VARIABLE: address})
        assert ask(address, urlsplit(link).path) == (200, page.read_bytes())
    assert page_url(root, page, {}) == "http://127.0.0.1:3001/p/qa-samples/index.html"


@pytest.mark.parametrize(
    "path",
    ["/", "/p/", "/p/qa-samples", "/../../secret.txt", "/%2e%2e/%2e%2e/secret.txt", "/p/..%5c..%5csecret.txt", "/none"],
)
def test_nothing_else_is_handed_out(root: DataRoot, path: str) -> None:
    with served_pages(root, 0) as address:
        assert address is not None
        status, body = ask(address, path)
    assert status == 404
    assert b"secret" not in body


def test_types_do_not_depend_on_the_machine(root: DataRoot) -> None:
    names = {"a.webp": "image/webp", "a.js": "text/javascript; charset=utf-8", "a.html": "text/html; charset=utf-8"}
    with served_pages(root, 0) as address:
        for name, wanted in names.items():
            (root.artifacts_dir / name).write_bytes(b"x")
            with urllib.request.urlopen(f"{address}/{name}") as answer:
                assert answer.headers["Content-Type"] == wanted


def test_other_names_and_methods_are_refused(root: DataRoot) -> None:
    with served_pages(root, 0) as address:
        assert address is not None
        assert ask(address, "/p/qa-samples/index.html", host="evil.example:80")[0] == 403
        assert ask(address, "/p/qa-samples/index.html", method="PUT")[0] == 501


@pytest.mark.skipif(sys.platform == "win32", reason="making a link needs a privilege there")
def test_a_link_that_leads_out_is_not_followed(root: DataRoot) -> None:
    (root.artifacts_dir / "out.txt").symlink_to(root.path / "secret.txt")
    with served_pages(root, 0) as address:
        assert address is not None
        assert ask(address, "/out.txt")[0] == 404


def test_a_port_that_is_taken_is_told(root: DataRoot) -> None:
    with served_pages(root, 0) as address:
        assert address is not None
        with served_pages(root, int(address.rpartition(":")[2])) as second:
            assert second is None
