"""What the cluster profile changes in dagster.yaml, and what a database that does not answer is called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from aivj_assets.errors import UserError
from aivj_assets.orchestration.fleet.settings import POSTGRES_VARIABLE, FleetSettings, is_cluster, where

FLEET_POOL_LIMIT = 500
"""Of the pools `browser` and `embedder`: no limit in fact, each worker takes as many steps as its concurrency."""
_ROOM = "aivj_assets.orchestration.fleet"
_CONNECT_TIMEOUT_S = 10
_DRIVERS_ERRORS = {"OperationalError", "DagsterPostgresException"}


def cluster_config(config: Mapping[str, Any], settings: FleetSettings) -> dict[str, Any]:
    """Return dagster.yaml's content with PostgreSQL, and runs on workers; addresses stay in the environment."""
    changed = {
        "storage": {
            "custom": {
                "module": f"{_ROOM}.storage",
                "class": "FleetPostgresStorage",
                "config": {"postgres_url": {"env": POSTGRES_VARIABLE}},
            }
        },
        "run_launcher": {"module": f"{_ROOM}.launcher", "class": "FleetRunLauncher"},
    }
    concurrency = config.get("concurrency", {})
    runs = {**concurrency.get("runs", {}), "max_concurrent_runs": settings.runs}
    # A run that nothing but a lost machine has ended is tried again more than once.
    retries = {**config.get("run_retries", {}), "max_retries": 3}
    return {**config, **changed, "concurrency": {**concurrency, "runs": runs}, "run_retries": retries}


@contextmanager
def postgres_errors(environ: Mapping[str, str]) -> Iterator[None]:
    """Turn a PostgreSQL that cannot be used into one line, in the cluster profile."""
    if not is_cluster(environ):
        yield
        return
    try:
        yield
    except Exception as error:
        cause = _driver_error(error)
        if cause is None:
            raise
        raise _cannot_be_used(FleetSettings.of(environ), getattr(cause, "orig", None) or cause) from None


def require_database(settings: FleetSettings) -> None:
    """Raise `UserError` when PostgreSQL does not let us in; asked once, before Dagster asks six times."""
    import psycopg2

    try:
        psycopg2.connect(settings.postgres_url, connect_timeout=_CONNECT_TIMEOUT_S).close()
    except psycopg2.Error as error:
        raise _cannot_be_used(settings, error) from None


def _cannot_be_used(settings: FleetSettings, error: BaseException) -> UserError:
    told = " ".join(str(error).split())[:300].rstrip(".")
    return UserError(f"PostgreSQL at {where(settings.postgres_url)} ({POSTGRES_VARIABLE}) cannot be used: {told}.")


def _driver_error(error: BaseException | None) -> BaseException | None:
    found = None
    while error is not None:
        if type(error).__name__ in _DRIVERS_ERRORS or isinstance(error, SQLAlchemyError):
            found = error
        error = error.__cause__ or error.__context__
    return found
