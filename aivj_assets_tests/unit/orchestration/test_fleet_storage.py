"""Patience with a PostgreSQL that restarts."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("dagster_postgres", reason="the extra `cluster` is not installed")

from aivj_assets.orchestration.fleet.steps import is_storage_error
from aivj_assets.orchestration.fleet.storage import waiting, with_timeouts


class Driver:
    class OperationalError(Exception):
        pass


def test_a_connection_is_tried_until_postgres_is_back() -> None:
    refusals = iter([Driver.OperationalError("connection refused"), Driver.OperationalError("is starting up"), None])

    def connect() -> Any:
        problem = next(refusals)
        if problem is not None:
            raise problem
        return "connection"

    assert waiting(connect, Driver, 5.0, pause_s=0.01) == "connection"


def test_a_wrong_password_is_not_waited_for() -> None:
    tries = []

    def connect() -> Any:
        tries.append(1)
        raise Driver.OperationalError('password authentication failed for user "aivj"')

    with pytest.raises(Driver.OperationalError):
        waiting(connect, Driver, 5.0, pause_s=0.01)
    assert len(tries) == 1


def test_patience_has_an_end() -> None:
    def connect() -> Any:
        raise Driver.OperationalError("connection refused")

    with pytest.raises(Driver.OperationalError):
        waiting(connect, Driver, 0.05, pause_s=0.01)


def test_timeouts_are_added_and_those_of_the_user_stay() -> None:
    url = with_timeouts("postgresql://u:p@h:1/d?connect_timeout=3&sslmode=require")
    assert url.startswith("postgresql+psycopg2://u:p@h:1/d?")
    assert "connect_timeout=3" in url
    assert "sslmode=require" in url
    assert "tcp_user_timeout=30000" in url


def test_an_error_of_the_database_is_told_from_others_also_behind_another() -> None:
    behind = RuntimeError("an event could not be stored")
    behind.__cause__ = Driver.OperationalError("server closed the connection")
    assert is_storage_error(behind)
    assert not is_storage_error(ValueError("a bug"))
