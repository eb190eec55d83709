"""PostgreSQL and Redis as private processes on loopback ports; they can be stopped and started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

PASSWORD = "s3cret-of-the-fleet"
_START_TIMEOUT_S = 40.0


def postgres_programs() -> Path | None:
    """Return the folder of PostgreSQL's server programs, None where there is none."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], bool], what: str, timeout_s: float = _START_TIMEOUT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:.0f} s"
        time.sleep(0.1)


def answers(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


@dataclass
class Server:
    """A server process that keeps its port and its data over a restart."""

    folder: Path
    host: str = "127.0.0.1"
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, cwd=self.folder, start_new_session=True
            )
        until(lambda: answers(self.host, self.port), type(self).__name__)

    def stop(self, number: int = signal.SIGINT) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def restart(self, pause_s: float = 0.0) -> None:
        self.stop()
        time.sleep(pause_s)
        self.start()


@dataclass
class Postgres(Server):
    """A cluster of its own; as root it runs as the user `postgres`, for PostgreSQL refuses root."""

    def create(self) -> None:
        programs = postgres_programs()
        assert programs is not None
        secret = self.folder / "password"
        secret.write_text(PASSWORD, encoding="ascii")
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
            shutil.chown(secret, "postgres", "postgres")
        made = subprocess.run(
            [*self._as_user(), str(programs / "initdb"), "-D", str(self.folder / "data"), "-U", "aivj", "-A",
             "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8", "--no-sync"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert made.returncode == 0, made.stdout + made.stderr
        with (self.folder / "data" / "pg_hba.conf").open("a", encoding="ascii") as rules:
            rules.write("host all all 10.0.0.0/8 scram-sha-256\n")

    def command(self) -> list[str]:
        programs = postgres_programs()
        assert programs is not None
        return [
            *self._as_user(), str(programs / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port),
            "-c", f"listen_addresses={self.host}", "-c", f"unix_socket_directories={self.folder}",
        ]  # fmt: skip

    def start(self) -> None:
        super().start()
        import psycopg2

        def accepts() -> bool:
            try:
                psycopg2.connect(self.url).close()
            except psycopg2.OperationalError:
                return False
            return True

        until(accepts, "PostgreSQL")

    @staticmethod
    def _as_user() -> list[str]:
        if os.geteuid() != 0:
            return []
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]

    @property
    def url(self) -> str:
        return f"postgresql://aivj:{PASSWORD}@{self.host}:{self.port}/postgres"


@dataclass
class Redis(Server):
    """A Redis that keeps what it is told (appendonly), with a password."""

    def command(self) -> list[str]:
        conf = self.folder / "redis.conf"
        # Not among the arguments, which `ps` shows.
        conf.write_text(
            f"bind {self.host}\nport {self.port}\nrequirepass {PASSWORD}\nappendonly yes\ndir {self.folder}\n",
            encoding="ascii",
        )
        return ["redis-server", str(conf)]

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@{self.host}:{self.port}/0"


class Cable:
    """A TCP connection to a server that can be cut: bytes then get nowhere, as in a network that is down."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._through = threading.Event()
        self._through.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._through.clear()

    def mend(self) -> None:
        self._through.set()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        self._through.wait()
        try:
            far = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            near.close()
            return
        for one, other in ((near, far), (far, near)):
            threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                self._through.wait()
                other.sendall(data)
        except OSError:
            pass
        for end in (one, other):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
