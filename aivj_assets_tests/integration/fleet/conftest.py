"""PostgreSQL, Redis and a reference batch of the local profile, made once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from aivj_assets.contracts.pack_settings import PACK_SETTINGS_NAME
from aivj_assets.layout import BatchKey, DataRoot, project_root
from aivj_assets.render.chromium import BrowserChoice
from aivj_assets.render.web_engine import WebEngine
from aivj_assets_tests.integration.fleet.fleet import PACK_SETTINGS, Fleet, aivj, artefacts
from aivj_assets_tests.integration.fleet.services import Postgres, Redis, postgres_programs

APT = ("apt-get", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=2")


def _install() -> None:
    """Install what is missing, as root on Debian; without a word where that cannot be done."""
    missing = [
        *(["redis-server"] if shutil.which("redis-server") is None else []),
        *(["postgresql"] if postgres_programs() is None else []),
    ]
    if missing and os.name != "nt" and os.geteuid() == 0 and shutil.which("apt-get"):
        # Debian starts a server that it installs; the tests have their own.
        environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        for command in (("update",), ("install", "-y", "--no-install-recommends", *missing)):
            subprocess.run([*APT, *command], capture_output=True, env=environ, timeout=280, check=False)


@contextmanager
def running_servers(host: str = "127.0.0.1") -> Iterator[tuple[Postgres, Redis]]:
    """Run a PostgreSQL and a Redis of the tests' own on an address of this machine; skips where they cannot be had."""
    for module in ("celery", "dagster_celery", "dagster_postgres", "redis"):
        pytest.importorskip(module, reason="the extra `cluster` is not installed")
    if os.name == "nt":
        pytest.skip("PostgreSQL and Redis are started as on Linux")
    _install()
    if shutil.which("redis-server") is None or postgres_programs() is None:
        pytest.skip("redis-server and postgresql are not installed")
    # Not pytest's own folder, which the user `postgres` may not enter.
    folder = Path(tempfile.mkdtemp(prefix="aivj-fleet-"))
    folder.chmod(0o755)
    (folder / "postgres").mkdir()
    (folder / "redis").mkdir()
    postgres, redis = Postgres(folder / "postgres", host), Redis(folder / "redis", host)
    try:
        postgres.create()
        postgres.start()
        redis.start()
        yield postgres, redis
    finally:
        postgres.stop()
        redis.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def servers() -> Iterator[tuple[Postgres, Redis]]:
    """The servers that most tests share."""
    with running_servers() as started:
        yield started


@dataclass(frozen=True)
class Reference:
    """An undisturbed batch of the local profile: the imported pack before its run, and what the run made."""

    source: Path
    batch: BatchKey
    artefacts: dict[str, str]
    count: int


@pytest.fixture(scope="session")
def reference(
    tmp_path_factory: pytest.TempPathFactory, web_engine: WebEngine, browser_choice: BrowserChoice
) -> Reference:
    del browser_choice
    # One of these 24 cannot be compiled: fewer would not hold the gate.
    count = int(os.environ.get("AIVJ_FLEET_PRESETS", "24"))
    folder = tmp_path_factory.mktemp("reference")
    presets = web_engine.package("butterchurn-presets")
    environ = {**os.environ, "AIVJ_PROFILE": "local"}

    def run(*arguments: str) -> None:
        done = subprocess.run(
            aivj(*arguments), capture_output=True, text=True, encoding="utf-8", check=False, env=environ,
            cwd=project_root(),
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    source = folder / "source"
    run("pack", "import", str(presets), "--pack", "live", "--limit", str(count), "--seed", "5", "--root", str(source))
    settings = DataRoot(source).pack_dir("live") / PACK_SETTINGS_NAME
    settings.write_text(json.dumps(PACK_SETTINGS), encoding="utf-8")
    shutil.copytree(source, folder / "done")
    run("run", "live", "--root", str(folder / "done"))
    key = BatchKey("live")
    return Reference(source, key, artefacts(DataRoot(folder / "done"), key), count)


def new_fleet(servers: tuple[Postgres, Redis], source: Path, folder: Path) -> Fleet:
    """Return a fleet in `folder` over a copy of a data root, with an empty database and an empty broker."""
    import psycopg2
    import redis as redis_client

    postgres, redis = servers
    connection = psycopg2.connect(postgres.url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("drop schema public cascade")
        cursor.execute("create schema public")
    connection.close()
    redis_client.Redis.from_url(redis.url).flushall()
    shutil.copytree(source, folder / "root")
    (folder / "logs").mkdir()
    return Fleet(DataRoot(folder / "root"), postgres, redis, folder / "logs")


@pytest.fixture
def make_fleet(servers: tuple[Postgres, Redis], tmp_path: Path) -> Iterator[Callable[[Path], Fleet]]:
    """A fleet on this machine over a copy of a data root."""
    made: list[Fleet] = []

    def make(source: Path) -> Fleet:
        made.append(new_fleet(servers, source, tmp_path))
        return made[-1]

    yield make
    for fleet in made:
        fleet.close()
