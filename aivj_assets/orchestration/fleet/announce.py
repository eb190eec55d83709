"""A worker says in the shared folder what it is and, every few seconds, that it lives."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from pydantic import Field

from aivj_assets.contracts.base import ContractFile, utc_now
from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot, project_root
from aivj_assets.orchestration.fleet.lease import host_name

BEAT_S = 5.0
ALIVE_S = 30.0
"""An announcement that was not renewed for so long, by the shared folder's own clock, is of a worker that is gone."""
_FORGET_S = 86_400.0
_DISTRIBUTIONS = ("dagster", "dagster-celery", "celery", "torch", "playwright")
_me: Announcement | None = None


class Announcement(ContractFile):
    """A file of `.aivj/fleet/workers`."""

    name: str
    """Celery's name of the worker."""
    host: str
    pid: int
    queues: list[str]
    concurrency: int
    root: str
    """The data root as the worker sees it; it must be the same path everywhere."""
    renderer: str | None = None
    """UNMASKED_RENDERER_WEBGL; None where the worker does not render."""
    renderer_class: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    since: str
    at: str
    """The worker's own clock when it wrote this."""
    at_epoch_s: float
    beat: int = 0


class SeenWorker(ContractFile):
    """An announced worker as it looks from here."""

    worker: Announcement
    alive: bool
    silent_s: float
    """Seconds since its last sign of life, by the shared folder's clock."""
    clock_off_s: float
    """How far its clock is ahead of this machine's, both held against the shared folder's."""


@cache
def code_digest() -> str:
    """Return the first 12 hex digits of a SHA-256 over the package's source files."""
    digest = hashlib.sha256()
    package = project_root() / "aivj_assets"
    for path in sorted(package.rglob("*")):
        if path.suffix in {".py", ".js", ".mjs", ".html", ".json"} and "node_modules" not in path.parts:
            digest.update(path.relative_to(package).as_posix().encode())
            digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()[:12]


def versions() -> dict[str, str]:
    """Return what must be equal on all machines: our code, Python's minor version, the libraries that decide."""
    found = {"code": code_digest(), "python": ".".join(platform.python_version_tuple()[:2])}
    for name in _DISTRIBUTIONS:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def this_worker() -> Announcement | None:
    """Return what this process's worker has announced; None outside a worker."""
    return _me


@contextmanager
def announced(
    root: DataRoot,
    *,
    name: str,
    queues: Sequence[str],
    concurrency: int,
    renderer: tuple[str, str] | None,
) -> Iterator[Announcement]:
    """Announce this process as a worker while the block runs; `renderer` is (string, class)."""
    global _me  # noqa: PLW0603 - one worker a process; its steps' processes inherit it
    now = utc_now()
    me = Announcement(
        name=name, host=host_name(), pid=os.getpid(), queues=list(queues), concurrency=concurrency,
        root=str(root.path), renderer=renderer[0] if renderer else None,
        renderer_class=renderer[1] if renderer else None, versions=versions(), since=now, at=now,
        at_epoch_s=time.time(),
    )  # fmt: skip
    path = workers_dir(root) / f"{name}.json"
    try:
        me.save(path)
    except OSError as error:
        raise UserError(f"The shared folder {root.path} cannot be written: {error.strerror or error}.") from None
    _me = me
    done = threading.Event()

    def beat() -> None:
        number = 0
        while not done.wait(BEAT_S):
            number += 1
            renewed = me.model_copy(update={"beat": number, "at": utc_now(), "at_epoch_s": time.time()})
            with suppress(OSError):
                renewed.save(path)

    thread = threading.Thread(target=beat, name="announcement", daemon=True)
    thread.start()
    try:
        yield me
    finally:
        done.set()
        thread.join(timeout=BEAT_S)
        _me = None
        with suppress(OSError):
            path.unlink(missing_ok=True)


def workers_dir(root: DataRoot) -> Path:
    """Return the folder of the announcements."""
    return root.fleet_dir / "workers"


def seen_workers(root: DataRoot) -> list[SeenWorker]:
    """Return every announced worker and whether it lives; forgets those that are silent for a day.

    The shared folder's clock is read from a file written now, so no machine's clock is trusted.
    """
    folder = workers_dir(root)
    if not folder.is_dir():
        return []
    share_s, own_s = share_clock(folder)
    seen = []
    for path in sorted(folder.glob("*.json")):
        with suppress(UserError, OSError):
            worker = Announcement.load(path)
            with path.open("rb") as file:
                written_s = os.fstat(file.fileno()).st_mtime
            silent_s = max(0.0, share_s - written_s)
            if silent_s > _FORGET_S:
                path.unlink(missing_ok=True)
                continue
            off_s = (worker.at_epoch_s - written_s) - (own_s - share_s)
            seen.append(
                SeenWorker(
                    worker=worker,
                    alive=silent_s < ALIVE_S,
                    silent_s=round(silent_s, 1),
                    clock_off_s=round(off_s, 2),
                )
            )
    return seen


def share_clock(folder: Path) -> tuple[float, float]:
    """Return (time by the clock that stamps files in a folder, this machine's time at that moment), epoch seconds."""
    probe = folder / f".clock-{uuid.uuid4().hex}"
    try:
        own_s = time.time()
        probe.write_text(str(own_s), encoding="ascii")
        return probe.stat().st_mtime, own_s
    finally:
        probe.unlink(missing_ok=True)


def living_workers(root: DataRoot, queue: str) -> list[Announcement]:
    """Return the living workers of a queue."""
    return [seen.worker for seen in seen_workers(root) if seen.alive and queue in seen.worker.queues]


def render_slots(workers: Sequence[Announcement], renderer: str | None) -> int:
    """Return how many browsers the workers of a renderer have together."""
    return sum(worker.concurrency for worker in workers if renderer in {None, worker.renderer})


def differing_versions(theirs: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
    """Return `name theirs in place of ours` for each version that differs."""
    names = sorted({*theirs, *ours})
    return [
        f"{name} {theirs.get(name, 'none')} in place of {ours.get(name, 'none')}"
        for name in names
        if theirs.get(name) != ours.get(name)
    ]
