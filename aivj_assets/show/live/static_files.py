"""Plain files of the show page: its own, the render page's modules and the web engine's packages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from aivj_assets.show.live.access import STAGE_HOSTS, own_hosts

WEB_DIR = Path(__file__).parents[1] / "web"
PAGE_FILE, STAGE_FILE = "show.html", "stage.html"
_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".wasm": "application/wasm",
}
_COMMON = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), clipboard-read=(), clipboard-write=(), usb=()",
}


@dataclass(frozen=True)
class Served:
    """A file to answer with."""

    path: Path
    headers: Mapping[str, str]


@dataclass(frozen=True)
class StaticFiles:
    """Which file a path of the address names, and under which policy a browser runs it."""

    page_dir: Path
    """The render page's modules, under `/page/`."""
    node_modules: Path
    """The web engine's packages, under `/node_modules/`."""
    port: int

    def find(self, url_path: str, host: str) -> Served | None:
        """Return the file of an address's path, unquoted; None where there is none or where it leaves its folder.

        `host` is the checked `Host` header of the request.
        """
        if url_path == "/" and host in own_hosts(self.port):
            return Served(WEB_DIR / PAGE_FILE, _headers(".html", self._page_policy()))
        if url_path == f"/{STAGE_FILE}":
            return Served(WEB_DIR / STAGE_FILE, _headers(".html", self._stage_policy(host)))
        roots = {"web": WEB_DIR, "page": self.page_dir, "node_modules": self.node_modules}
        path = _file_below(url_path, roots)
        if path is None or path.suffix.lower() not in _CONTENT_TYPES or path.suffix.lower() == ".html":
            return None
        # A document without an origin may load modules only where everybody may.
        return Served(path, {**_headers(path.suffix.lower()), "Access-Control-Allow-Origin": "*"})

    def _page_policy(self) -> str:
        hosts = (*own_hosts(self.port), f"{STAGE_HOSTS}:{self.port}")
        stages = " ".join(f"http://{host}/{STAGE_FILE}" for host in hosts)
        return (
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src 'self' blob:; "
            f"img-src 'self' data:; frame-src {stages}; "
            "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
        )

    def _stage_policy(self, host: str) -> str:
        """Return the policy of a stage, where presets run: no network, no origin, no way out of its frame.

        Equations are compiled with `new Function` or to WebAssembly; built-in images and a parser are data: addresses.
        """
        scripts = " ".join(f"http://{host}{path}" for path in ("/web/", "/page/", "/node_modules/"))
        pages = " ".join(f"http://{own}" for own in own_hosts(self.port))
        return (
            f"sandbox allow-scripts; default-src 'none'; script-src {scripts} 'unsafe-eval' 'wasm-unsafe-eval'; "
            f"style-src http://{host}/web/; img-src data:; connect-src data:; worker-src 'none'; "
            f"frame-src 'none'; object-src 'none'; frame-ancestors {pages}; base-uri 'none'; "
            "form-action 'none'"
        )


def _headers(suffix: str, policy: str | None = None) -> dict[str, str]:
    found = {**_COMMON, "Content-Type": _CONTENT_TYPES[suffix]}
    return found if policy is None else {**found, "Content-Security-Policy": policy}


def _file_below(url_path: str, roots: Mapping[str, Path]) -> Path | None:
    parts = PurePosixPath(url_path).parts
    if len(parts) < 3 or parts[0] != "/" or "\0" in url_path:
        return None
    root = roots.get(parts[1])
    if root is None or any(part == ".." or "\\" in part or ":" in part for part in parts):
        return None
    base = root.resolve()
    path = base.joinpath(*parts[2:]).resolve()
    return path if path.is_relative_to(base) and path.is_file() else None
