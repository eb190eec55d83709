"""What a render page may reach: our own page is served from disk and reaches nothing else.

Presets are untrusted code. Our page has a fictional origin; every request is answered here or aborted, names do not
resolve, what escapes interception meets a proxy that does not exist. With the app's page (`probeUrl`) its own origin is
reachable, nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from aivj_assets.errors import UserError

ORIGIN = "http://aivj.invalid"
OWN_PAGE_URL = f"{ORIGIN}/page/probe.html"
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

# Equations are compiled with `new Function` or to WebAssembly; built-in images and one parser are data: addresses.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval' 'wasm-unsafe-eval'; img-src data:; connect-src data:; "
    "style-src 'none'; worker-src 'none'; frame-src 'none'; object-src 'none'; base-uri 'none'; form-action 'none'"
)
_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), clipboard-read=(), clipboard-write=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".wasm": "application/wasm",
    ".css": "text/css; charset=utf-8",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
}


@dataclass(frozen=True)
class Served:
    """A file to answer a request with."""

    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True)
class PageHost:
    """Decides every request of a render page."""

    page_dir: Path
    node_modules: Path
    probe_url: str | None = None

    def __post_init__(self) -> None:
        if self.probe_url is not None:
            check_probe_url(self.probe_url)

    @property
    def url(self) -> str:
        """The address of the render page."""
        return self.probe_url or OWN_PAGE_URL

    @property
    def is_own(self) -> bool:
        """True for our own page, false for the app's."""
        return self.probe_url is None

    def serve(self, url: str) -> Served | None:
        """Return the file that a request of our own page names, or None: abort it."""
        if not self.is_own or not _same_origin(url, ORIGIN):
            return None
        path = _file_below(unquote(urlsplit(url).path), {"page": self.page_dir, "node_modules": self.node_modules})
        content_type = _CONTENT_TYPES.get(path.suffix.lower()) if path else None
        if path is None or content_type is None:
            return None
        try:
            return Served(path.read_bytes(), {**_HEADERS, "Content-Type": content_type})
        except OSError:
            return None

    def passes(self, url: str) -> bool:
        """Tell whether a request goes out to the network: only to the origin of the app's page."""
        return self.probe_url is not None and _same_origin(url, self.probe_url)

    def network_flags(self) -> list[str]:
        """Return Chromium flags that close the network behind the interception."""
        flags = ["--force-webrtc-ip-handling-policy=disable_non_proxied_udp"]
        if self.probe_url is None:
            return [*flags, "--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=http://127.0.0.1:9"]
        host = urlsplit(self.probe_url).hostname
        return [*flags, f"--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE {host}", "--no-proxy-server"]


def check_probe_url(probe_url: str) -> None:
    """Raise `UserError` unless `probe_url` is an http(s) address with a host."""
    try:
        parts = urlsplit(probe_url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise UserError(f"probeUrl '{probe_url}' is no address; expected e.g. http://127.0.0.1:5174/preset-probe.html.")


def _same_origin(url: str, other: str) -> bool:
    try:
        a, b = urlsplit(url), urlsplit(other)
        secure = {"https", "wss"}
        return (
            a.scheme in _DEFAULT_PORTS
            and (a.scheme in secure) == (b.scheme in secure)
            and a.hostname == b.hostname
            and (a.port or _DEFAULT_PORTS[a.scheme]) == (b.port or _DEFAULT_PORTS.get(b.scheme))
        )
    except ValueError:
        return False


def _file_below(url_path: str, roots: Mapping[str, Path]) -> Path | None:
    """Return the file of a URL path below one of the folders; None when it leaves the folder or is no file."""
    parts = PurePosixPath(url_path).parts
    if len(parts) < 3 or parts[0] != "/" or any(part == ".." or "\\" in part or ":" in part for part in parts):
        return None
    root = roots.get(parts[1])
    if root is None or "\0" in url_path:
        return None
    base = root.resolve()
    path = base.joinpath(*parts[2:]).resolve()
    return path if path.is_relative_to(base) and path.is_file() else None
