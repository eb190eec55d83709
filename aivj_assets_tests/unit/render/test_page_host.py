"""What a render page may reach."""

from __future__ import annotations

from pathlib import Path

import pytest

from aivj_assets.errors import UserError
from aivj_assets.render.page_host import ORIGIN, OWN_PAGE_URL, PageHost


@pytest.fixture
def host(tmp_path: Path) -> PageHost:
    for name in ("page", "node_modules/pkg", "outside"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "page" / "probe.html").write_text("<html>", encoding="utf-8")
    (tmp_path / "page" / "notes.txt").write_text("x", encoding="utf-8")
    (tmp_path / "node_modules" / "pkg" / "a b.js").write_text("1", encoding="utf-8")
    (tmp_path / "outside" / "secret.js").write_text("secret", encoding="utf-8")
    return PageHost(tmp_path / "page", tmp_path / "node_modules")


def test_the_own_page_is_served_with_a_policy(host: PageHost) -> None:
    served = host.serve(OWN_PAGE_URL)
    assert served is not None
    assert served.body == b"<html>"
    assert served.headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in served.headers["Content-Security-Policy"]
    assert "http" not in served.headers["Content-Security-Policy"]


def test_packages_are_served_as_scripts(host: PageHost) -> None:
    served = host.serve(f"{ORIGIN}/node_modules/pkg/a%20b.js?v=1")
    assert served is not None
    assert served.headers["Content-Type"] == "text/javascript; charset=utf-8"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/page/probe.html",
        "https://aivj.invalid/page/probe.html",
        "http://aivj.invalid:81/page/probe.html",
        "http://aivj.invalid/",
        "http://aivj.invalid/page",
        "http://aivj.invalid/page/",
        "http://aivj.invalid/page/none.js",
        "http://aivj.invalid/page/notes.txt",
        "http://aivj.invalid/page/../outside/secret.js",
        "http://aivj.invalid/page/%2e%2e/outside/secret.js",
        "http://aivj.invalid/page/..%5coutside/secret.js",
        "http://aivj.invalid/page/C:/secret.js",
        "http://aivj.invalid/page//etc/passwd",
        "http://aivj.invalid/page/a%00.js",
        "http://aivj.invalid/outside/secret.js",
        "file:///etc/passwd",
        "http://[broken/page/probe.html",
        "data:text/html,x",
    ],
)
def test_everything_else_is_refused(host: PageHost, url: str) -> None:
    assert host.serve(url) is None
    assert not host.passes(url)


def test_a_link_out_of_the_folder_is_refused(host: PageHost, tmp_path: Path) -> None:
    link = tmp_path / "page" / "link.js"
    try:
        link.symlink_to(tmp_path / "outside" / "secret.js")
    except OSError:
        pytest.skip("this machine makes no links")
    assert host.serve(f"{ORIGIN}/page/link.js") is None


def test_with_the_apps_page_only_its_origin_passes(tmp_path: Path) -> None:
    host = PageHost(tmp_path, tmp_path, "http://127.0.0.1:5174/preset-probe.html")
    assert host.passes("http://127.0.0.1:5174/src/x.ts")
    assert host.passes("ws://127.0.0.1:5174/hmr")
    assert not host.passes("http://127.0.0.1:5175/")
    assert not host.passes("http://localhost:5174/")
    assert not host.passes("https://127.0.0.1:5174/")
    assert not host.passes("http://example.com/")
    assert host.serve(OWN_PAGE_URL) is None
    assert any("EXCLUDE 127.0.0.1" in flag for flag in host.network_flags())


def test_default_ports_are_the_same_origin(tmp_path: Path) -> None:
    host = PageHost(tmp_path, tmp_path, "https://app.test/probe.html")
    assert host.passes("https://app.test:443/x.js")
    assert not host.passes("http://app.test/x.js")


def test_our_page_has_no_way_to_the_network(host: PageHost) -> None:
    flags = host.network_flags()
    assert "--host-resolver-rules=MAP * ~NOTFOUND" in flags
    assert any(flag.startswith("--proxy-server=") for flag in flags)


@pytest.mark.parametrize("url", ["preset-probe.html", "file:///x.html", "http://", "http://host:port/", "javascript:1"])
def test_a_probe_url_that_is_no_address(url: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="probeUrl"):
        PageHost(tmp_path, tmp_path, url)
