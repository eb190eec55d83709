"""Dagster's instance under a data root: its configuration, its pools, runs whose process died."""

from __future__ import annotations

import errno
import os
import socket
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from sqlalchemy.exc import SQLAlchemyError

from aivj_assets.errors import UserError
from aivj_assets.layout import DISK_FULL_ERRNOS, DataRoot, project_root, write_text_atomic
from aivj_assets.orchestration.batch_lock import ProcessMark, dead_run_of, living_run_of
from aivj_assets.orchestration.file_lock import held_lock
from aivj_assets.orchestration.fleet.instance_config import (
    FLEET_POOL_LIMIT,
    cluster_config,
    postgres_errors,
    require_database,
)
from aivj_assets.orchestration.fleet.settings import FleetSettings, is_cluster

# A disk that is full, or that may not be written.
STORAGE_ERRNOS = DISK_FULL_ERRNOS | {errno.EROFS, errno.EACCES}
BROWSER_POOL = "browser"
EMBEDDER_POOL = "embedder"
CLUSTER_POOL = "clusters"
BROWSERS_VARIABLE = "AIVJ_BROWSERS"
HOST_TAG = "aivj/host"
PROCESS_TAG = "aivj/process"
MANIFEST_TAG = "aivj/manifest_sha256"


def instance_config(template: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Return the project's dagster.yaml with every relative `base_dir` made absolute below `base`."""

    def absolute(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: str(base / inner) if key == "base_dir" and isinstance(inner, str) else absolute(inner)
                for key, inner in value.items()
            }
        return value

    made: dict[str, Any] = absolute(dict(template))
    return made


def prepare_home(root: DataRoot, environ: Mapping[str, str]) -> Path:
    """Write Dagster's `dagster.yaml` from the project's and return its folder, for DAGSTER_HOME.

    It is `<data root>/.dagster`, in the cluster profile `<data root>/.dagster/cluster`: a data root has both histories.
    Raises `UserError` for a profile or a setting that is none.
    """
    template = project_root() / "dagster.yaml"
    cluster = FleetSettings.of(environ) if is_cluster(environ) else None
    home = root.dagster_home if cluster is None else root.dagster_home / "cluster"
    try:
        config = instance_config(yaml.safe_load(template.read_text(encoding="utf-8")), root.path)
        if cluster is not None:
            config = cluster_config(config, cluster)
        text = "# Written by aivj from the project's dagster.yaml; edit that one.\n" + yaml.safe_dump(
            config, sort_keys=False
        )
        target = home / "dagster.yaml"
        if not target.is_file() or target.read_text(encoding="utf-8") != text:
            write_text_atomic(target, text)
    except OSError as error:
        raise UserError(
            f"{root.path} cannot hold Dagster's storage: {error.strerror or error} ({error.filename})."
        ) from None
    return home


def open_instance(root: DataRoot, environ: Mapping[str, str]) -> dg.DagsterInstance:
    """Open the instance of a data root, with its pools' limits set."""
    home = prepare_home(root, environ)
    cluster = is_cluster(environ)
    if cluster:
        require_database(FleetSettings.of(environ))
    # On an empty database two would make the same tables and limits.
    alone = held_lock(root.fleet_dir / "database.lock") if cluster else nullcontext()
    with storage_errors(root), alone:
        instance = dg.DagsterInstance.from_config(str(home))
        set_pool_limits(instance, environ)
    return instance


@contextmanager
def storage_errors(root: DataRoot) -> Iterator[None]:
    """Turn a full or read-only disk, or a PostgreSQL that does not answer, into one line."""
    try:
        with postgres_errors(os.environ):
            yield
    except (sqlite3.Error, SQLAlchemyError, OSError, dg.DagsterError) as error:
        for cause in _causes(error):
            full = isinstance(cause, OSError) and cause.errno in STORAGE_ERRNOS
            if full or isinstance(cause, sqlite3.OperationalError):
                raise UserError(
                    f"Dagster's storage under {root.dagster_home} cannot be used ({cause}): free disk space, or make "
                    "the folder writable, then run again; what is done is kept."
                ) from None
        raise


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def browser_limit(environ: Mapping[str, str], cores: int) -> int:
    """Return how many browsers render at once: `AIVJ_BROWSERS`, else one a core, at most 4.

    Two browsers on two cores render 1.9 times as fast as one; a third adds nothing (2 cores, llvmpipe).
    """
    text = environ.get(BROWSERS_VARIABLE, "").strip()
    if not text:
        return max(1, min(4, cores))
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise UserError(f"{BROWSERS_VARIABLE} is '{text}'; give a number of browsers from 1 to 64.")
    return int(text)


def set_pool_limits(instance: dg.DagsterInstance, environ: Mapping[str, str]) -> None:
    """Give each pool its limit; one that a person has set in the UI or by `dagster instance concurrency` stays."""
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return
    limits = {limit.name: limit for limit in storage.get_pool_limits()}
    wanted = {BROWSER_POOL: browser_limit(environ, os.cpu_count() or 1), EMBEDDER_POOL: 1, CLUSTER_POOL: 1}
    if is_cluster(environ):
        # How many render or embed at once is said by the workers.
        wanted |= {BROWSER_POOL: FLEET_POOL_LIMIT, EMBEDDER_POOL: FLEET_POOL_LIMIT}
    for pool, limit in wanted.items():
        known = limits.get(pool)
        explicit = pool == BROWSER_POOL and environ.get(BROWSERS_VARIABLE, "").strip() and not is_cluster(environ)
        if known is None or known.from_default or (explicit and known.limit != limit):
            storage.set_concurrency_slots(pool, limit)


def process_tags() -> dict[str, str]:
    """Return the tags by which a run of this process is recognised when the process has died."""
    mark = ProcessMark.of(os.getpid())
    return {HOST_TAG: socket.gethostname(), PROCESS_TAG: f"{mark.pid}:{mark.started}" if mark else ""}


def report_dead_runs(instance: dg.DagsterInstance, root: DataRoot, *, daemon_is_gone: bool = False) -> list[str]:
    """Mark runs as failed whose process on this machine no longer lives, and free their pools; returns their ids.

    Dagster's local launcher does not notice when a run dies together with the daemon, nor knows of runs that
    `aivj run` executed itself: they would stay "started" and keep their places in the pools for ever. A run is known
    by its process tag or by the lock of its batch; with `daemon_is_gone` (before the UI starts, after it has ended)
    every other unfinished run that no living process stands for is dead as well.
    """
    unfinished = [
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    ]
    locks = root.find_locks()
    dead_by_lock = {run_id for run_id in map(dead_run_of, locks) if run_id}
    living_by_lock = {run_id for run_id in map(living_run_of, locks) if run_id}
    dead = []
    for run in instance.get_runs(dg.RunsFilter(statuses=unfinished)):
        alive = _process_lives(run)
        gone = run.run_id in dead_by_lock if alive is None else not alive
        if daemon_is_gone and alive is None and run.run_id not in living_by_lock:
            gone = True
        if gone:
            instance.report_run_failed(run, "The process of this run no longer lives; run the batch again to go on.")
            dead.append(run.run_id)
    _free_pools_of_ended_runs(instance)
    return dead


def _free_pools_of_ended_runs(instance: dg.DagsterInstance) -> None:
    """Give back the places that ended runs still hold: Ctrl-C as a step begins leaves its claim behind."""
    storage = instance.event_log_storage
    for run_id in storage.get_concurrency_run_ids():
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            storage.free_concurrency_slots_for_run(run_id)


def _process_lives(run: dg.DagsterRun) -> bool | None:
    """Whether the process that a run's tags name lives; None when they name none of this machine.

    A retry by the daemon inherits its parent's tags, but not its process.
    """
    if run.tags.get(HOST_TAG) != socket.gethostname() or run.parent_run_id is not None:
        return None
    pid, _, started = run.tags.get(PROCESS_TAG, "").partition(":")
    try:
        return ProcessMark(int(pid), float(started)).alive
    except ValueError:
        return None
