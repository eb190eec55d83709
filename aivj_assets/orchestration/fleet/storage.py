"""PostgreSQL as Dagster's storage, patient while it restarts, and as the keeper of locks among machines."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import sqlalchemy
from dagster_postgres import DagsterPostgresStorage
from sqlalchemy import event

logger = logging.getLogger(__name__)
PATIENCE_S = 120.0
# Where packets are lost without a word, a statement ends after half a minute instead of a quarter of an hour.
_PARAMETERS = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "4",
    "tcp_user_timeout": "30000",
}
_PAUSE_S = 1.0


def with_timeouts(url: str) -> str:
    """Return a PostgreSQL address with libpq's timeouts where it names none, for the driver that Dagster uses.

    SQLAlchemy 2.1 would take another one for `postgresql://`.
    """
    parts = urlsplit(url)._replace(scheme="postgresql+psycopg2")
    query = {**_PARAMETERS, **dict(parse_qsl(parts.query))}
    return urlunsplit(parts._replace(query=urlencode(query)))


def be_patient(engine: sqlalchemy.Engine, *, patience_s: float = PATIENCE_S) -> None:
    """Have new connections of an engine wait while PostgreSQL does not answer, at most `patience_s`."""

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, _record: Any, arguments: Any, parameters: Any) -> Any:
        return waiting(lambda: dialect.connect(*arguments, **parameters), dialect.dbapi, patience_s)


def waiting(connect: Callable[[], Any], dbapi: Any, patience_s: float, pause_s: float = _PAUSE_S) -> Any:
    """Return what `connect` returns, tried again while it raises the driver's OperationalError.

    A wrong password or database is not waited for.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return connect()
        except dbapi.OperationalError as error:
            told = " ".join(str(error).split())
            hopeless = "password" in told or "does not exist" in told or "pg_hba.conf" in told
            if hopeless or time.monotonic() > deadline:
                raise
            logger.warning("PostgreSQL does not answer at the moment; trying again.")
            time.sleep(pause_s)


@contextmanager
def database_lock(url: str, name: str, *, timeout_s: float) -> Iterator[None]:
    """Hold a lock of PostgreSQL's among all machines; raises `TimeoutError` when another holds it for so long.

    PostgreSQL frees it when its holder or the connection to it is gone.
    """
    import psycopg2

    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
    address = with_timeouts(url).replace("postgresql+psycopg2", "postgresql", 1)
    connection = waiting(lambda: psycopg2.connect(address), psycopg2, PATIENCE_S)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("select set_config('lock_timeout', %s, false)", [f"{max(1, round(1000 * timeout_s))}ms"])
            try:
                cursor.execute("select pg_advisory_lock(%s)", [key])
            except psycopg2.errors.LockNotAvailable:
                raise TimeoutError(name) from None
        yield
    finally:
        connection.close()


class FleetPostgresStorage(DagsterPostgresStorage):  # type: ignore[misc] # untyped
    """dagster-postgres, with timeouts and patience on each connection."""

    def __init__(self, postgres_url: str, **more: Any) -> None:
        super().__init__(with_timeouts(postgres_url), **more)
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            be_patient(storage._engine)

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> FleetPostgresStorage:
        """Return the storage of a dagster.yaml."""
        return cls(
            config_value["postgres_url"],
            should_autocreate_tables=config_value.get("should_autocreate_tables", True),
            inst_data=inst_data,
        )
