"""A batch on two workers, each time with another mishap: it ends with the artefacts of an undisturbed local run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import dagster as dg
import pytest

from aivj_assets.orchestration.fleet.announce import ALIVE_S, seen_workers
from aivj_assets.orchestration.fleet.renderers import decide_renderer
from aivj_assets.orchestration.guard import acceptance_problem
from aivj_assets.orchestration.instance import open_instance
from aivj_assets.render.chromium import BrowserChoice
from aivj_assets_tests.integration.fleet.conftest import Reference
from aivj_assets_tests.integration.fleet.fleet import Fleet, aivj, artefacts, index_ids
from aivj_assets_tests.integration.fleet.services import PASSWORD, Cable, free_port, until

pytestmark = [pytest.mark.browser, pytest.mark.alone, pytest.mark.timeout(600)]
MakeFleet = Callable[[Path], Fleet]
all_faults = pytest.mark.skipif(
    not os.environ.get("AIVJ_FLEET_FAULTS"), reason="minutes each: set AIVJ_FLEET_FAULTS=1 to run all faults"
)


@contextmanager
def on_fleet(fleet: Fleet) -> Iterator[dg.DagsterInstance]:
    with patch.dict(os.environ, fleet.environment()), open_instance(fleet.root, os.environ) as instance:
        yield instance


def two_workers(fleet: Fleet) -> None:
    for queues in ("render,embed", "render,default"):
        fleet.start_worker(queues)
    for worker in fleet.workers:
        worker.wait_ready()


def finish(run: subprocess.Popen[str], timeout_s: float = 400) -> str:
    output, _ = run.communicate(timeout=timeout_s)
    assert run.returncode == 0, output
    return output


def require_as_undisturbed(fleet: Fleet, reference: Reference) -> None:
    found = artefacts(fleet.root, reference.batch)
    assert {
        name for name in {*found, *reference.artefacts} if found.get(name) != reference.artefacts.get(name)
    } == set()
    ids = index_ids(fleet.root, reference.batch)
    assert len(ids) == len(set(ids)) == reference.count
    with on_fleet(fleet) as instance:
        assert acceptance_problem(instance, fleet.root, reference.batch, "run_record") is None


def require_no_secret(fleet: Fleet) -> None:
    """Nothing that is kept holds the password: no file of the data root, no log, no row of Dagster's database."""
    import psycopg2

    secret = PASSWORD.encode()
    files = [path for folder in (fleet.root.path, fleet.logs) for path in folder.rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if secret in path.read_bytes()] == []
    connection = psycopg2.connect(fleet.postgres.url)
    with connection, connection.cursor() as cursor:
        cursor.execute("select table_name from information_schema.tables where table_schema = 'public'")
        tables = [name for (name,) in cursor.fetchall()]
        assert "event_logs" in tables
        for table in tables:
            cursor.execute(f'select count(*) from "{table}" as kept where kept::text like %s', [f"%{PASSWORD}%"])
            assert cursor.fetchone() == (0,), table
    connection.close()


def wait_for_shard(fleet: Fleet, reference: Reference, least: int = 3) -> int:
    """Wait until a shard is being rendered; returns the pid of a worker at it."""
    until(lambda: fleet.rendered(reference.batch) >= least, "presets are rendered", 180)
    pids = list(fleet.rendering_workers())
    assert pids, "no worker renders any more"
    return pids[0]


def test_a_worker_that_is_killed_in_mid_shard(make_fleet: MakeFleet, reference: Reference) -> None:
    fleet = make_fleet(reference.source)
    two_workers(fleet)
    run = fleet.start_run("live")
    fleet.worker_of(wait_for_shard(fleet, reference)).kill()
    fleet.start_worker("render,embed,default")
    finish(run)
    require_as_undisturbed(fleet, reference)
    require_no_secret(fleet)


@all_faults
def test_an_undisturbed_batch(make_fleet: MakeFleet, reference: Reference) -> None:
    fleet = make_fleet(reference.source)
    two_workers(fleet)
    finish(fleet.start_run("live"))
    require_as_undisturbed(fleet, reference)


@all_faults
def test_a_worker_that_is_stopped_for_a_minute(make_fleet: MakeFleet, reference: Reference) -> None:
    fleet = make_fleet(reference.source)
    two_workers(fleet)
    run = fleet.start_run("live")
    worker = fleet.worker_of(wait_for_shard(fleet, reference))
    frozen = worker.freeze()
    time.sleep(60)
    worker.thaw(frozen)
    finish(run)
    require_as_undisturbed(fleet, reference)


@all_faults
def test_redis_is_restarted(make_fleet: MakeFleet, reference: Reference) -> None:
    fleet = make_fleet(reference.source)
    two_workers(fleet)
    run = fleet.start_run("live")
    wait_for_shard(fleet, reference)
    fleet.redis.restart(pause_s=5)
    finish(run)
    require_as_undisturbed(fleet, reference)


@all_faults
def test_postgres_is_restarted(make_fleet: MakeFleet, reference: Reference) -> None:
    fleet = make_fleet(reference.source)
    two_workers(fleet)
    run = fleet.start_run("live")
    wait_for_shard(fleet, reference)
    fleet.postgres.restart(pause_s=10)
    finish(run)
    require_as_undisturbed(fleet, reference)


@all_faults
def test_a_worker_that_is_cut_off_from_the_network_for_a_minute(make_fleet: MakeFleet, reference: Reference) -> None:
    fleet = make_fleet(reference.source)
    cables = {name: Cable(server.port) for name, server in (("db", fleet.postgres), ("broker", fleet.redis))}
    behind = {
        "AIVJ_POSTGRES_URL": fleet.postgres.url.replace(f":{fleet.postgres.port}/", f":{cables['db'].port}/"),
        "AIVJ_REDIS_URL": fleet.redis.url.replace(f":{fleet.redis.port}/", f":{cables['broker'].port}/"),
    }
    cut_off = fleet.start_worker("render,embed", more=behind)
    fleet.start_worker("render,embed,default")
    for worker in fleet.workers:
        worker.wait_ready()
    run = fleet.start_run("live")
    until(lambda: fleet.rendered(reference.batch) >= 3, "presets are rendered", 180)
    assert {process.pid for process in cut_off.tree()} & set(fleet.rendering_workers())
    for cable in cables.values():
        cable.cut()
    time.sleep(60)
    for cable in cables.values():
        cable.mend()
    finish(run)
    require_as_undisturbed(fleet, reference)


class Ui:
    """`aivj ui` of the fleet: the daemon that launches runs."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet, self.log = fleet, fleet.logs / "ui.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.log.write_text("", encoding="utf-8")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                aivj("ui", "--port", str(free_port())), stdout=log, stderr=log, env=self.fleet.environment(),
                start_new_session=True,
            )  # fmt: skip
        until(lambda: "Ready:" in self.log.read_text(encoding="utf-8"), "the UI", 240)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(90)


@pytest.fixture
def ui_of() -> Iterator[Callable[[Fleet], Ui]]:
    made: list[Ui] = []

    def of(fleet: Fleet) -> Ui:
        made.append(Ui(fleet))
        return made[-1]

    yield of
    for ui in made:
        ui.stop()


def backfill(fleet: Fleet) -> subprocess.Popen[str]:
    environ = {**fleet.environment(), "DAGSTER_HOME": str(fleet.root.dagster_home / "cluster")}
    command = ["job", "backfill", "-m", "aivj_assets.definitions", "-j", "batch_job", "--partitions", "live"]
    return subprocess.Popen(
        [sys.executable, "-m", "dagster", *command, "--noprompt"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, env=environ,
    )  # fmt: skip


def wait_for_runs(fleet: Fleet, reference: Reference, count: int) -> list[dg.DagsterRun]:
    def batch_runs() -> list[dg.DagsterRun]:
        with on_fleet(fleet) as instance:
            return [run for run in instance.get_runs() if run.job_name == "batch_job"]

    def ended() -> bool:
        time.sleep(2)
        found = batch_runs()
        return len(found) >= count and all(run.is_finished for run in found)

    until(ended, f"{count} runs", 500)
    return batch_runs()


@all_faults
def test_two_backfills_at_once_while_the_daemon_is_restarted(
    make_fleet: MakeFleet, reference: Reference, ui_of: Callable[[Fleet], Ui]
) -> None:
    fleet = make_fleet(reference.source)
    fleet.start_worker("render,embed")
    fleet.start_worker("render,default,runs")
    for worker in fleet.workers:
        worker.wait_ready()
    with on_fleet(fleet) as instance:
        instance.add_dynamic_partitions("batches", ["live"])
        instance.add_dynamic_partitions("packs", ["live"])
    ui = ui_of(fleet)
    ui.start()
    for started in [backfill(fleet), backfill(fleet)]:
        output, _ = started.communicate(timeout=200)
        assert started.returncode == 0, output
    wait_for_shard(fleet, reference)
    ui.stop()
    ui.start()
    # The sensor has found the manifest as well.
    runs = wait_for_runs(fleet, reference, 3)
    assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
    fleet.aivj("publish", "live")
    require_as_undisturbed(fleet, reference)


@all_faults
def test_the_worker_that_leads_a_run_is_killed(
    make_fleet: MakeFleet, reference: Reference, ui_of: Callable[[Fleet], Ui]
) -> None:
    fleet = make_fleet(reference.source)
    two_workers(fleet)
    leading = fleet.start_worker("runs")
    leading.wait_ready()
    ui_of(fleet).start()
    wait_for_shard(fleet, reference)
    leading.kill()
    fleet.start_worker("runs").wait_ready()
    runs = wait_for_runs(fleet, reference, 2)
    # The daemon sees that nobody leads it any more, and a new run goes on from there.
    assert [run.status for run in runs] == [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
    assert runs[0].parent_run_id == runs[1].run_id
    fleet.aivj("publish", "live")
    require_as_undisturbed(fleet, reference)


@all_faults
@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_worker_whose_own_disk_fills_up(make_fleet: MakeFleet, reference: Reference, tmp_path: Path) -> None:
    fleet = make_fleet(reference.source)
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700m", "tmpfs", str(disk)], check=True)
    try:
        full = fleet.start_worker("render,embed", more={"TMPDIR": str(disk)})
        fleet.start_worker("render,default,embed")
        for worker in fleet.workers:
            worker.wait_ready()
        run = fleet.start_run("live")
        until(lambda: fleet.rendered(reference.batch) >= 3, "presets are rendered", 180)
        assert {process.pid for process in full.tree()} & set(fleet.rendering_workers())
        with (disk / "ballast").open("wb") as ballast:
            left = shutil.disk_usage(disk).free
            ballast.write(bytes(left))
        finish(run)
        require_as_undisturbed(fleet, reference)
    finally:
        fleet.close()
        subprocess.run(["umount", "-l", str(disk)], check=True)


@all_faults
def test_ctrl_c_twice_gives_the_step_back_to_another_worker(make_fleet: MakeFleet, reference: Reference) -> None:
    fleet = make_fleet(reference.source)
    leaving = fleet.start_worker("render,embed,default")
    leaving.wait_ready()
    run = fleet.start_run("live")
    wait_for_shard(fleet, reference)
    began = time.monotonic()
    for _ in range(2):
        leaving.process.send_signal(signal.SIGINT)
        time.sleep(2)
    assert leaving.process.wait(40) == 0
    left_s = time.monotonic() - began
    assert fleet.rendered(reference.batch) < reference.count
    fleet.start_worker("render,embed,default")
    finish(run)
    require_as_undisturbed(fleet, reference)
    assert left_s < 40


@pytest.fixture
def another_renderer(browser_choice: BrowserChoice, tmp_path: Path) -> dict[str, str]:
    """A Chromium that renders with SwiftShader whatever it is told, as another machine's might."""
    script = tmp_path / "chromium"
    script.write_text(f'#!/bin/sh\nexec "{browser_choice.executable}" "$@" --use-angle=swiftshader\n', encoding="ascii")
    script.chmod(0o755)
    return {"AIVJ_CHROMIUM": str(script)}


@all_faults
def test_shards_go_to_the_workers_of_the_pack_s_renderer(
    make_fleet: MakeFleet, reference: Reference, another_renderer: dict[str, str]
) -> None:
    fleet = make_fleet(reference.source)
    other = fleet.start_worker("render,default", more=another_renderer)
    right = fleet.start_worker("render,embed")
    for worker in fleet.workers:
        worker.wait_ready()
    renderers = {seen.worker.renderer for seen in seen_workers(fleet.root)}
    assert len(renderers) == 2
    renderer = next(name for name in renderers if name and "llvmpipe" in name)
    decide_renderer(fleet.root, "live", renderer, "here")
    finish(fleet.start_run("live"))
    require_as_undisturbed(fleet, reference)
    # Of the right renderer none is left: a new batch is not started, and the line says what to do.
    right.kill()
    time.sleep(ALIVE_S + 2)
    manifest = fleet.root.manifest(reference.batch)
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(text.replace('"generatedAt"', '"note": "changed", "generatedAt"', 1), encoding="utf-8")
    done = fleet.aivj("run", "live", check=False)
    assert done.returncode != 0
    assert "no living worker of the queue render has that renderer" in " ".join(done.stdout.split())
    assert other.process.poll() is None
