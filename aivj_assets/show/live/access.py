"""Who may ask the show's server: this machine's browser, from the page that the server itself handed out.

A foreign page can have its own name lead to 127.0.0.1 (DNS rebinding): it then asks under that name, which is refused.
A foreign page can send forms and requests to 127.0.0.1 without reading answers: they tell their origin, which is
refused. A preset's code runs in a document without an origin and gets no further than files that hold nothing secret.

Stages have host names of their own, `stage-1.localhost`, which browsers lead to this machine themselves: each then runs
in a process of its own, and one that hangs stops neither the page nor the other stage. Under these names there are
plain files only.
"""

from __future__ import annotations

import re
from typing import Protocol

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")
STAGE_HOSTS = "*.localhost"
_STAGE_NAME = re.compile(r"stage-[0-9]{1,6}\.localhost")


class Headers(Protocol):
    """A request's headers."""

    def get(self, name: str, /) -> str | None:
        """Return a header, None where there is none."""


def own_hosts(port: int) -> tuple[str, ...]:
    """Return what the `Host` header of the page's own requests says."""
    return tuple(f"{name}:{port}" for name in NAMES)


def is_known_host(host: str, port: int) -> bool:
    """Whether `host`, of a `Host` header, is the server itself or one of its stages."""
    name, _, told = host.rpartition(":")
    return host in own_hosts(port) or (told == str(port) and _STAGE_NAME.fullmatch(name) is not None)


def api_refusal(headers: Headers, port: int, *, changes: bool) -> str | None:
    """Return why a request for anything but plain files is refused: only the show's own page may ask.

    `changes`: a POST, which browsers always send with its origin.
    """
    if headers.get("Host") not in own_hosts(port):
        return f"This server answers as {own_hosts(port)[0]} only."
    site = headers.get("Sec-Fetch-Site")
    origin = headers.get("Origin")
    foreign = site not in {None, "same-origin", "none"} or (
        origin is not None and origin not in {f"http://{host}" for host in own_hosts(port)}
    )
    if foreign:
        return "Only the show's own page may ask this."
    if changes and origin is None:
        return "A request that changes something must tell its origin."
    return None
