"""Who runs a step: a lease in the shared folder that its holder renews while it lives.

A lease is a file a generation, `<step>.<n>.json`, made only where there is none (`O_EXCL`): whoever makes generation
n + 1 has taken the step over. The holder rewrites its own generation again and again. Another process holds it for dead
when its content has not changed for its `expiry_s` by the other's own monotonic clock, so no two clocks are compared.
The holder, by its own, gives up after half of that without a renewal: it has stopped before anybody takes over. It
counts in a thread that touches no file, for a write to a network folder that is cut off may wait for minutes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from aivj_assets.contracts.base import utc_now
from aivj_assets.layout import write_json_atomic
from aivj_assets.orchestration.batch_lock import ProcessMark

RUN_LEASE = "run"
"""Name of the lease of a run's own process."""
_RENEWALS_IN_EXPIRY = 12
_UNREADABLE_S = 120.0
_FORGET_S = 30 * 86_400.0
_NUMBER = re.compile(r"\.(\d+)\.json$")


def host_name() -> str:
    """Return this machine's name, by which people know it."""
    return socket.gethostname()


def host_identity() -> str:
    """Return what tells apart where a pid means something: machine and, on Linux, boot and process namespace."""
    name = socket.gethostname()
    try:
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - no file: a name of the kernel's
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"{name}|{uuid.getnode()}"
    return f"{name}|{namespace}|{boot}"


@dataclass(frozen=True)
class LeaseState:
    """The content of a lease file."""

    token: str
    host: str
    identity: str
    pid: int
    started: float
    since: str
    expiry_s: float
    beat: int = 0
    released: bool = False

    @classmethod
    def of_this_process(cls, expiry_s: float) -> LeaseState:
        """Return the first content of a lease that this process takes."""
        mark = ProcessMark.of(os.getpid())
        started = mark.started if mark else 0.0
        return cls(uuid.uuid4().hex, host_name(), host_identity(), os.getpid(), started, utc_now(), expiry_s)

    @property
    def is_surely_dead(self) -> bool:
        """Whether its process was on this machine and no longer lives; of others nothing is known."""
        return self.identity == host_identity() and not ProcessMark(self.pid, self.started).alive


@dataclass(frozen=True)
class LeasePlace:
    """Where the leases of one step, or of a run's own process, lie."""

    folder: Path
    name: str

    def path(self, generation: int) -> Path:
        """Return the file of a generation."""
        return self.folder / f"{self.name}.{generation:06d}.json"

    def newest(self) -> int:
        """Return the newest generation, 0 where there is none."""
        found = [
            int(match.group(1))
            for path in self.folder.glob(f"{self.name}.*.json")
            if (match := _NUMBER.search(path.name)) and path.name == self.path(int(match.group(1))).name
        ]
        return max(found, default=0)

    def read(self, generation: int) -> LeaseState | None:
        """Return the content of a generation; None while it is being made or when it cannot be read."""
        try:
            return LeaseState(**json.loads(self.path(generation).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None


def leases_of_run(leases_dir: Path, run_id: str) -> Path:
    """Return the folder of a run's leases."""
    return leases_dir / run_id


def lease_place(leases_dir: Path, run_id: str, step_key: str) -> LeasePlace:
    """Return the place of a step's leases."""
    return LeasePlace(leases_of_run(leases_dir, run_id), re.sub(r"[^A-Za-z0-9_-]", "_", step_key))


def forget_run(leases_dir: Path, run_id: str) -> None:
    """Remove the leases of a run that is over, unless a step of it still lives; and those of runs long gone."""
    folder = leases_of_run(leases_dir, run_id)
    if not Watch().living_in(folder):
        shutil.rmtree(folder, ignore_errors=True)
    for other in leases_dir.iterdir() if leases_dir.is_dir() else ():
        with suppress(OSError):
            if time.time() - other.stat().st_mtime > _FORGET_S:
                shutil.rmtree(other, ignore_errors=True)


@dataclass
class Watch:
    """Looks at leases of others and says which are dead, by how long their content has not changed."""

    clock: Callable[[], float] = time.monotonic
    _seen: dict[Path, tuple[LeaseState | None, float]] = field(default_factory=dict)

    def lives(self, place: LeasePlace) -> bool:
        """Whether the newest holder of a place is to be held for alive; asked again and again."""
        generation = place.newest()
        if generation == 0:
            return False
        path, state = place.path(generation), place.read(generation)
        if state is not None and (state.released or state.is_surely_dead):
            return False
        seen = self._seen.get(path)
        if seen is None or seen[0] != state:
            self._seen[path] = (state, self.clock())
            return True
        return self.clock() - seen[1] < (state.expiry_s if state is not None else _UNREADABLE_S)

    def wait_for_life(self, place: LeasePlace, *, poll_s: float = 0.5) -> bool:
        """Look at a place until its holder has renewed its lease (True), has released it or is dead (False)."""
        generation = place.newest()
        first = place.read(generation)
        while self.lives(place):
            newest = place.newest()
            if newest != generation or (first is not None and place.read(newest) not in {None, first}):
                return True
            time.sleep(poll_s)
        return False

    def living_in(self, folder: Path) -> list[str]:
        """Return who still works under a folder of leases, one line a lease."""
        return [f"{name} on {state.host if state else 'an unknown host'}" for name, state in self._living(folder)]

    def _living(self, folder: Path) -> Iterator[tuple[str, LeaseState | None]]:
        names = {path.name.rsplit(".", 2)[0] for path in folder.glob("*.json")} if folder.is_dir() else set()
        for name in sorted(names):
            place = LeasePlace(folder, name)
            if self.lives(place):
                yield name, place.read(place.newest())


class Lease:
    """A lease that this process holds and renews in a thread until it is released or lost."""

    def __init__(self, place: LeasePlace, generation: int, state: LeaseState) -> None:
        self._place, self._generation, self._state = place, generation, state
        self.expiry_s = state.expiry_s
        """After so many seconds of silence others hold this process for dead."""
        self._renewed_s = time.monotonic()
        self._done = threading.Event()
        self._losing = threading.Lock()
        self._thread: threading.Thread | None = None
        self.lost: str | None = None
        """Why this process may not go on, once it may not."""

    @property
    def generation(self) -> int:
        """How many held the step before, plus one."""
        return self._generation

    def keep(self, on_lost: Callable[[str], None], also: Callable[[], str | None] | None = None) -> None:
        """Renew the lease from now on; `on_lost` hears once, in a thread, why it is lost.

        `also` is asked at each renewal and may name another reason to stop, such as that the run is over.
        """

        def lose(reason: str) -> None:
            with self._losing:
                if self.lost is not None or self._done.is_set():
                    return
                self.lost = reason
            on_lost(reason)

        def renew() -> None:
            while not self._wait():
                reason = self.check() or (also() if also is not None else None)
                if reason is not None:
                    lose(reason)
                    return
                self._renew()

        def count() -> None:
            while not self._wait():
                reason = self._silence()
                if reason is not None:
                    lose(reason)
                    return

        self._thread = threading.Thread(target=renew, name="lease", daemon=True)
        self._thread.start()
        threading.Thread(target=count, name="lease-silence", daemon=True).start()

    def _wait(self) -> bool:
        """Wait for the next look; whether the lease is released."""
        return self._done.wait(self.expiry_s / _RENEWALS_IN_EXPIRY)

    def _silence(self) -> str | None:
        """Return that the last renewal is too long ago, or None; touches no file."""
        if time.monotonic() - self._renewed_s > self.expiry_s / 2:
            return f"it could not renew its lease for {self.expiry_s / 2:.0f} s (stopped, or cut off from the folder)"
        return None

    def check(self) -> str | None:
        """Return why this process may not go on, or None."""
        if self.lost is not None:
            return self.lost
        silence = self._silence()
        if silence is not None:
            return silence
        if self._place.newest() > self._generation:
            return "another worker has taken the step over"
        return None

    def _renew(self) -> None:
        self._state = replace(self._state, beat=self._state.beat + 1)
        with suppress(OSError):
            write_json_atomic(self._place.path(self._generation), asdict(self._state))
            self._renewed_s = time.monotonic()

    def release(self) -> None:
        """Stop renewing and say that the step is free."""
        self._done.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)
        if self.lost is None:
            with suppress(OSError):
                write_json_atomic(self._place.path(self._generation), asdict(replace(self._state, released=True)))


def take(place: LeasePlace, *, expiry_s: float) -> Lease | None:
    """Take the lease of a place; None when another holder lives.

    Waits for its holder's next renewal, at most `expiry_s`.
    """
    generation = place.newest()
    if Watch().wait_for_life(place):
        return None
    place.folder.mkdir(parents=True, exist_ok=True)
    state = LeaseState.of_this_process(expiry_s)
    try:
        with place.path(generation + 1).open("x", encoding="utf-8") as file:
            file.write(json.dumps(asdict(state)))
    except FileExistsError:
        return None
    return Lease(place, generation + 1, state)


def living_steps_of(leases_dir: Path) -> Callable[[str], list[str]]:
    """Return what lists the steps of a run that still live, asked again and again: `<step> on <host>`."""
    watch = Watch()
    return lambda run_id: watch.living_in(leases_of_run(leases_dir, run_id))
