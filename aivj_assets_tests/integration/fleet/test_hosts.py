"""A batch on three hosts with names, addresses and a network folder of their own, while one mishap follows another."""

from __future__ import annotations

import json
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from aivj_assets.orchestration.fleet.announce import seen_workers
from aivj_assets_tests.integration.fleet.conftest import Reference, new_fleet, running_servers
from aivj_assets_tests.integration.fleet.fleet import Fleet, WorkerProcess
from aivj_assets_tests.integration.fleet.hosts import Host, opened_network, why_no_hosts
from aivj_assets_tests.integration.fleet.services import until
from aivj_assets_tests.integration.fleet.test_faults import all_faults, finish, require_as_undisturbed

pytestmark = [
    pytest.mark.browser,
    pytest.mark.alone,
    pytest.mark.timeout(5400),
    all_faults,
    pytest.mark.skipif(why_no_hosts() is not None, reason=why_no_hosts() or ""),
]
PLACES = {"north": "render", "south": "render", "east": "embed,default,runs"}
MISHAPS_AT_MOST = int(os.environ.get("AIVJ_FLEET_MISHAPS", "8"))
SEED = int(os.environ.get("AIVJ_FLEET_SEED", "1"))


@dataclass
class Station:
    """A host and the worker that its owner starts there, again whenever it is gone."""

    fleet: Fleet
    host: Host
    queues: str
    worker: WorkerProcess = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        more = {"TMPDIR": str(self.host.disk)}
        self.worker = self.fleet.start_worker(self.queues, more=more, prefix=self.host.prefix)

    def processes(self, wanted: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
        found = []
        for process in self.worker.tree()[1:]:
            try:
                if wanted(process):
                    found.append(process)
            except psutil.Error:
                continue
        return found


def kill_the_worker(station: Station, chance: random.Random) -> None:
    station.worker.kill()
    time.sleep(chance.uniform(0, 10))
    station.start()


def cut_the_power(station: Station, chance: random.Random) -> None:
    station.host.power_cut()
    station.worker.process.wait(20)
    time.sleep(chance.uniform(0, 10))
    station.host.boot()
    station.start()


def pull_the_cable(station: Station, chance: random.Random) -> None:
    station.host.cut_off()
    time.sleep(chance.uniform(20, 70))
    station.host.reconnect()


def kill_a_process(station: Station, chance: random.Random) -> None:
    found = station.processes(lambda process: "python" in process.name())
    if found:
        chance.choice(found).kill()


def kill_a_browser(station: Station, chance: random.Random) -> None:
    found = station.processes(lambda process: "chrom" in process.name())
    if found:
        chance.choice(found).kill()


MISHAPS = (kill_the_worker, cut_the_power, pull_the_cable, kill_a_process, kill_a_browser)


class Trouble(threading.Thread):
    """One mishap after another at random places until it is told to stop; each kind comes before any comes again."""

    def __init__(self, stations: list[Station], seed: int) -> None:
        super().__init__(name="trouble", daemon=True)
        self.stations, self.chance = stations, random.Random(seed)
        self.told: list[str] = []
        self.kinds: set[str] = set()
        self.seen_hosts: set[str] = set()
        self.failure: BaseException | None = None
        self._over = threading.Event()

    def run(self) -> None:
        try:
            self._go_on()
        except BaseException as error:  # noqa: BLE001 - the test raises it
            self.failure = error

    def _go_on(self) -> None:
        waiting: list[Callable[[Station, random.Random], None]] = []
        began = time.monotonic()
        for _ in range(MISHAPS_AT_MOST):
            for station in self.stations:
                if station.worker.process.poll() is not None:
                    self.told.append(f"{time.monotonic() - began:.0f} s: the worker of {station.host.name} had ended")
                    station.start()
            if self._over.wait(self.chance.uniform(3, 20)):
                return
            self.seen_hosts |= rendering_hosts(self.stations[0].fleet)
            if not waiting:
                waiting = self.chance.sample(MISHAPS, len(MISHAPS))
            station, mishap = self.chance.choice(self.stations), waiting.pop()
            self.told.append(f"{time.monotonic() - began:.0f} s: {mishap.__name__} {station.host.name}")
            print(self.told[-1], flush=True)
            mishap(station, self.chance)
            self.kinds.add(mishap.__name__)

    def stop(self) -> None:
        self._over.set()
        self.join(120)
        if self.failure is not None:
            raise self.failure


def rendering_hosts(fleet: Fleet) -> set[str]:
    """Return the names of the hosts that hold a lease of a shard."""
    found = set()
    for path in fleet.root.leases_dir.glob("*/frames_render_shard*.json"):
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if not state["released"]:
            found.add(str(state["host"]))
    return found


@pytest.fixture
def stations(reference: Reference, tmp_path: Path) -> Iterator[list[Station]]:
    """Three hosts whose workers are ready; the folder, the database and the broker are this machine's."""
    with ExitStack() as stack:
        # A browser's profile has to have a short path.
        disks = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aivj-hosts-", ignore_cleanup_errors=True)))
        network = stack.enter_context(opened_network(disks, tmp_path / "root"))
        servers = stack.enter_context(running_servers(network.address))
        fleet = new_fleet(servers, reference.source, tmp_path)
        stack.callback(fleet.close)
        made = [Station(fleet, network.add(name), queues) for name, queues in PLACES.items()]
        for station in made:
            station.worker.wait_ready()
        yield made


def test_hosts_are_known_by_their_names_and_looked_at(stations: list[Station]) -> None:
    fleet = stations[0].fleet
    seen = seen_workers(fleet.root)
    assert all(worker.alive for worker in seen)
    served = {(worker.worker.host, queue) for worker in seen for queue in worker.worker.queues}
    assert served == {(name, queue) for name, queues in PLACES.items() for queue in queues.split(",")}
    told = fleet.aivj("doctor", "--cluster").stdout
    assert all(f"@{name}: alive" in told for name in PLACES)
    # Files of this folder are locked for one machine only; the database's locks hold among all.
    assert told.count("locked for its own machine only") == len(seen)
    stations[0].host.cut_off()
    until(lambda: not next(seen for seen in seen_workers(fleet.root) if seen.worker.host == "north").alive, "death", 60)
    done = fleet.aivj("doctor", "--cluster", check=False)
    assert "no sign of life" in done.stdout
    assert "host north" in done.stdout
    stations[0].host.reconnect()
    until(lambda: all(seen.alive for seen in seen_workers(fleet.root)), "the host is back", 90)


def test_a_batch_ends_as_undisturbed_whatever_happens_to_its_hosts(
    stations: list[Station], reference: Reference
) -> None:
    fleet = stations[0].fleet
    run = fleet.start_run("live")
    until(lambda: fleet.rendered(reference.batch) >= 3, "presets are rendered", 180)
    trouble = Trouble(stations, SEED)
    trouble.start()
    try:
        finish(run, 5000)
    finally:
        trouble.stop()
        (fleet.logs / "mishaps.txt").write_text("\n".join(trouble.told), encoding="utf-8")
    assert trouble.told
    require_as_undisturbed(fleet, reference)
    assert trouble.seen_hosts <= {"north", "south"}
