"""Locks among machines whose network folder locks nothing: PostgreSQL's own."""

from __future__ import annotations

import threading
from pathlib import Path

import psycopg2
import pytest

from aivj_assets.errors import UserError
from aivj_assets.orchestration.file_lock import held_lock
from aivj_assets.orchestration.fleet.storage import database_lock
from aivj_assets_tests.integration.fleet.services import PASSWORD, Postgres, Redis

pytestmark = pytest.mark.alone


@pytest.fixture
def in_cluster(servers: tuple[Postgres, Redis], monkeypatch: pytest.MonkeyPatch) -> Postgres:
    postgres, redis = servers
    monkeypatch.setenv("AIVJ_PROFILE", "cluster")
    monkeypatch.setenv("AIVJ_POSTGRES_URL", postgres.url)
    monkeypatch.setenv("AIVJ_REDIS_URL", redis.url)
    return postgres


def test_another_host_waits_although_the_folder_s_lock_is_free(in_cluster: Postgres, tmp_path: Path) -> None:
    lock = tmp_path / "lineage" / "lineage.lock"
    # Another host: it has the database's lock, and no lock of this machine's files.
    with (
        database_lock(in_cluster.url, lock.as_posix(), timeout_s=5),
        pytest.raises(UserError, match="stays locked") as told,
        held_lock(lock, timeout_s=0.3),
    ):
        pytest.fail("two hold one lock")
    assert PASSWORD not in str(told.value)
    with held_lock(lock, timeout_s=0.3), held_lock(tmp_path / "another.lock", timeout_s=0.3):
        pass


def test_a_lock_goes_to_who_waits_once_its_holder_is_gone(in_cluster: Postgres, tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    order: list[str] = []
    held, waiting = threading.Event(), threading.Event()

    def other_host() -> None:
        with database_lock(in_cluster.url, lock.as_posix(), timeout_s=5):
            held.set()
            waiting.wait(5)
            order.append("other")

    thread = threading.Thread(target=other_host)
    thread.start()
    assert held.wait(5)
    threading.Timer(0.5, waiting.set).start()
    with held_lock(lock, timeout_s=10):
        order.append("this")
    thread.join()
    assert order == ["other", "this"]
    # A host that loses its power: PostgreSQL ends its connection and with it the lock.
    with psycopg2.connect(in_cluster.url) as admin, database_lock(in_cluster.url, lock.as_posix(), timeout_s=5):
        admin.autocommit = True
        admin.cursor().execute(
            "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and pid <> pg_backend_pid()"
        )
        with held_lock(lock, timeout_s=5):
            pass
    admin.close()
