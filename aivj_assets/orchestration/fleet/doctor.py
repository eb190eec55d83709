"""`aivj doctor --cluster`: broker, database, shared folder and every announced worker, as seen from here."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal

from filelock import FileLock, Timeout
from pydantic import Field
from rich.console import Console
from rich.table import Table

from aivj_assets.contracts.base import ContractModel
from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot, write_text_atomic
from aivj_assets.orchestration.fleet.announce import SeenWorker, differing_versions, seen_workers, versions
from aivj_assets.orchestration.fleet.broker import celery_settings, require_broker
from aivj_assets.orchestration.fleet.settings import (
    PROFILE_VARIABLE,
    QUEUES,
    RENDER_QUEUE,
    FleetSettings,
    is_cluster,
    where,
)
from aivj_assets.orchestration.instance import open_instance

_ANSWER_TIMEOUT_S = 4.0
_LOCKS_OF_ITS_OWN = "its files are locked for its own machine only: use no AIVJ_PROFILE but cluster on this folder"
_CLOCK_LIMIT_S = 5.0
# Kombu keeps a list a priority.
_PRIORITY_SUFFIXES = ("", "\x06\x163", "\x06\x166", "\x06\x169")
Status = Literal["ok", "warning", "failed"]


class Looked(ContractModel):
    """One thing that was looked at."""

    name: str
    status: Status
    detail: str


class FleetReport(ContractModel):
    """What `aivj doctor --cluster --json` prints."""

    looked: list[Looked]
    workers: list[SeenWorker] = Field(default_factory=list)
    queues: dict[str, int] = Field(default_factory=dict)
    """Steps and runs that wait, by queue."""

    @property
    def healthy(self) -> bool:
        """Whether nothing failed."""
        return all(each.status != "failed" for each in self.looked)


def fleet_doctor_and_report(console: Console, root: DataRoot, *, as_json: bool) -> int:
    """Look at the cluster and print what was found; returns 1 when something is in the way, else 0."""
    if not is_cluster(os.environ):
        raise UserError(f"aivj doctor --cluster is for the cluster profile: set {PROFILE_VARIABLE}=cluster.")
    report = examine_fleet(root, FleetSettings.of(os.environ))
    if as_json:
        text = json.dumps({**report.to_json(), "healthy": report.healthy}, indent=2, ensure_ascii=False)
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    else:
        _print(console, report)
    return 0 if report.healthy else 1


def examine_fleet(root: DataRoot, settings: FleetSettings) -> FleetReport:
    """Return what was found of broker, database, shared folder and workers."""
    looked = [_database(root, settings)]
    broker, waiting = _broker(settings)
    looked.append(broker)
    with _doctors_lock(root) as (token, folder):
        looked.append(folder)
        answers = _ask_workers(settings) if broker.status != "failed" else {}
    try:
        workers = seen_workers(root)
    except OSError as error:
        workers = []
        looked.append(Looked(name="workers", status="failed", detail=f"their announcements cannot be read: {error}"))
    looked += [_worker(seen, root, answers.get(seen.worker.name), token) for seen in workers]
    looked += _queues(workers)
    looked += _renderers(root, workers)
    return FleetReport(looked=looked, workers=workers, queues=waiting)


def _database(root: DataRoot, settings: FleetSettings) -> Looked:
    place = where(settings.postgres_url)
    try:
        started = time.perf_counter()
        with open_instance(root, os.environ) as instance:
            instance.get_runs(limit=1)
        took_ms = 1000 * (time.perf_counter() - started)
    except UserError as error:
        return Looked(name="database", status="failed", detail=str(error))
    return Looked(name="database", status="ok", detail=f"PostgreSQL at {place}, opened and read in {took_ms:.0f} ms")


def _broker(settings: FleetSettings) -> tuple[Looked, dict[str, int]]:
    import redis

    try:
        require_broker(settings)
        client = redis.Redis.from_url(settings.redis_url, decode_responses=True, socket_timeout=10)
        info = client.info()
        waiting = {name: sum(client.llen(name + suffix) for suffix in _PRIORITY_SUFFIXES) for name in QUEUES}
        client.close()
    except (UserError, redis.RedisError) as error:
        return Looked(name="broker", status="failed", detail=str(error)), {}
    text = f"Redis {info['redis_version']} at {where(settings.redis_url)}"
    if not info.get("aof_enabled"):
        lost = "it keeps nothing over a crash (set appendonly yes); steps that waited are then lost with it"
        return Looked(name="broker", status="warning", detail=f"{text}; {lost}"), waiting
    return Looked(name="broker", status="ok", detail=f"{text}, appendonly"), waiting


@contextmanager
def _doctors_lock(root: DataRoot) -> Iterator[tuple[str, Looked]]:
    """Write, rename and lock in the shared folder; the lock is held while the block runs."""
    from aivj_assets.orchestration.fleet.look import LOCK_NAME, TOKEN_NAME

    token, folder = uuid.uuid4().hex, root.fleet_dir
    lock = FileLock(folder / LOCK_NAME, timeout=0)
    try:
        write_text_atomic(folder / TOKEN_NAME, token)
        lock.acquire()
        second = FileLock(folder / LOCK_NAME, timeout=0)
        try:
            second.acquire()
            second.release()
            found = Looked(name="shared folder", status="failed", detail=f"locks in {folder} do not hold")
        except Timeout:
            found = Looked(name="shared folder", status="ok", detail=f"{root.path}: written, renamed, locked")
    except OSError as error:
        text = f"{error.filename or folder} cannot be written: {error.strerror or error}"
        found = Looked(name="shared folder", status="failed", detail=text)
    except Timeout:
        found = Looked(name="shared folder", status="warning", detail="another aivj doctor --cluster looks just now")
    try:
        yield token, found
    finally:
        with suppress(OSError):
            lock.release()
            (folder / TOKEN_NAME).unlink(missing_ok=True)


def _ask_workers(settings: FleetSettings) -> dict[str, Mapping[str, Any]]:
    from celery import Celery

    app = Celery("aivj-doctor", broker=settings.redis_url, backend=settings.redis_url)
    app.conf.update(celery_settings(settings))
    try:
        told = app.control.broadcast("aivj_look", reply=True, timeout=_ANSWER_TIMEOUT_S)
    finally:
        app.close()
    return {name: answer for each in told or [] for name, answer in each.items()}


def _worker(seen: SeenWorker, root: DataRoot, answer: Mapping[str, Any] | None, token: str) -> Looked:
    worker = seen.worker
    name = f"worker {worker.name}"
    if not seen.alive:
        text = f"no sign of life for {seen.silent_s:.0f} s (host {worker.host}, pid {worker.pid})"
        return Looked(name=name, status="warning", detail=text)
    problems = [f"other versions: {', '.join(differing)}"] if (
        differing := differing_versions(worker.versions, versions())
    ) else []  # fmt: skip
    if abs(seen.clock_off_s) > _CLOCK_LIMIT_S:
        problems.append(f"its clock is {seen.clock_off_s:+.1f} s off")
    if worker.root != str(root.path):
        problems.append(f"its data root is {worker.root}, not {root.path}: mount it at one path everywhere")
    if answer is None:
        problems.append("it does not answer over the broker")
    elif "token" not in answer:
        problems.append("it does not know the question: its code is older")
    elif answer["token"] != token:
        problems.append("it does not see what is written in the shared folder here")
    if problems:
        return Looked(name=name, status="failed", detail="; ".join(problems))
    text = f"alive, same versions, clock {seen.clock_off_s:+.1f} s, sees the folder"
    if worker.renderer:
        text += f"; renders with {worker.renderer_class}: {worker.renderer}"
    if answer is not None and not answer.get("locked"):
        # Workers lock in the database as well; a command of the local profile knows nothing of that.
        return Looked(name=name, status="warning", detail=f"{text}; {_LOCKS_OF_ITS_OWN}")
    return Looked(name=name, status="ok", detail=text)


def _queues(workers: Sequence[SeenWorker]) -> list[Looked]:
    served = {queue for seen in workers if seen.alive for queue in seen.worker.queues}
    return [
        Looked(name=f"queue {queue}", status="failed", detail="no living worker: what goes there waits")
        for queue in QUEUES
        if queue not in served
    ]


def _renderers(root: DataRoot, workers: Sequence[SeenWorker]) -> list[Looked]:
    """Return a line for each pack whose renderer no living worker has."""
    alive = {seen.worker.renderer for seen in workers if seen.alive and RENDER_QUEUE in seen.worker.queues}
    found = []
    for path in sorted((root.fleet_dir / "renderers").glob("*.json")):
        with suppress(OSError, ValueError, KeyError):
            renderer = json.loads(path.read_text(encoding="utf-8"))["renderer"]
            if renderer not in alive:
                text = f"is rendered with '{renderer}', which no living worker has"
                found.append(Looked(name=f"pack {path.stem}", status="warning", detail=text))
    return found


def _print(console: Console, report: FleetReport) -> None:
    for each in report.looked:
        console.print(f"{each.status:8}{each.name}: {each.detail}", highlight=False, markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for title in ("worker", "queues", "at once", "alive", "clock", "renderer", "code"):
        table.add_column(title, no_wrap=True)
    for seen in report.workers:
        worker = seen.worker
        table.add_row(
            worker.name, ", ".join(worker.queues), str(worker.concurrency),
            "yes" if seen.alive else f"no ({seen.silent_s:.0f} s)", f"{seen.clock_off_s:+.1f} s",
            worker.renderer_class or "-", worker.versions.get("code", ""),
        )  # fmt: skip
    if report.workers:
        console.print(table)
    if report.queues:
        waiting = ", ".join(f"{name} {count}" for name, count in report.queues.items())
        console.print(f"Waiting: {waiting}", highlight=False, soft_wrap=True)
