"""Both modes through the real daemon, as `aivj ui` starts it: manifests are dropped, runs happen, files appear."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import dagster as dg
import pytest

from aivj_assets.layout import BatchKey, DataRoot, project_root
from aivj_assets.orchestration.automation import AUTOMATED, AUTOMATION_SENSOR
from aivj_assets.orchestration.budget import STOP_AT_TAG
from aivj_assets.orchestration.commands.ui import own_group, stop_tree
from aivj_assets.orchestration.guard import acceptance_problem
from aivj_assets.orchestration.instance import open_instance
from aivj_assets.orchestration.schedules import NIGHT_SCHEDULE
from aivj_assets_tests.builders import seed_storage, write_manifest

LOCATION = ["-m", "aivj_assets_tests.integration.orchestration.hall_location", "-d", str(project_root())]
FRAMES = ["presets", "frames"]
# Each run starts a process.
pytestmark = pytest.mark.timeout(900)


class Hall:
    """A data root with its daemon."""

    def __init__(self, root: DataRoot, instance: dg.DagsterInstance) -> None:
        self.root = root
        self.instance = instance
        self.environ = {
            **os.environ, "AIVJ_ROOT": str(root.path), "DAGSTER_HOME": str(root.dagster_home),
            # A night begins every minute.
            "AIVJ_NIGHT_CRON": "* * * * *", "AIVJ_TIMEZONE": "UTC",
        }  # fmt: skip

    def dagster(self, *arguments: str) -> None:
        subprocess.run([sys.executable, "-m", "dagster", *arguments, *LOCATION], env=self.environ, check=True)

    def start_daemon(self) -> subprocess.Popen[bytes]:
        with (self.root.path / "daemon.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dagster._daemon", "run", *LOCATION], env=self.environ, stdout=log, stderr=log,
                **own_group(sys.platform),
            )  # fmt: skip

    def drop(self, pack: str, motion: float = 0.4) -> None:
        self.move(pack, motion)
        write_manifest(self.root, pack, [f"{pack}-p{number:03d}" for number in range(20)])

    def move(self, pack: str, motion: float) -> None:
        path = self.root.pack_dir(pack) / "motion.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(motion), encoding="utf-8")

    def accepted(self, pack: str) -> bool:
        return acceptance_problem(self.instance, self.root, BatchKey(pack), "run_record") is None

    def published(self, pack: str) -> bytes | None:
        path = self.root.published_files(pack)[-1]
        return path.read_bytes() if path.exists() else None

    def runs(self, partition: str) -> list[tuple[str | None, list[str]]]:
        """Return (sensor, assets of a batch) of each run of a partition, the first one first."""
        found = self.instance.get_runs(dg.RunsFilter(tags={"dagster/partition": partition}))
        return [
            (
                run.tags.get("dagster/sensor_name"),
                sorted(key.to_user_string() for key in run.asset_selection or ()) or [run.job_name],
            )
            for run in reversed(found)
        ]  # fmt: skip

    def render(self, pack: str, motion: float) -> None:
        """Make frames alone, with their checks, as a person would from the UI."""
        self.move(pack, motion)
        self.dagster("asset", "materialize", "--select", "frames", "--partition", pack)

    def wait_for_ticks(self, sensor: str, count: int = 2) -> None:
        """Wait until the daemon has looked so many times more, with nothing under way in the end."""
        for _ in range(count):
            seen = self._last_tick(sensor)
            wait_for(lambda seen=seen: self._last_tick(sensor) > seen)
        wait_for(lambda: all(run.is_finished for run in self.instance.get_runs()))

    def _last_tick(self, sensor: str) -> float:
        (state,) = [state for state in self.instance.all_instigator_state() if state.instigator_name == sensor]
        ticks = self.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
        return ticks[0].timestamp if ticks else 0.0


def wait_for(condition: Callable[[], bool], timeout_s: float = 400) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    root = DataRoot(tmp_path_factory.mktemp("hall") / "root")
    seed_storage(root, tmp_path_factory)
    with open_instance(root, {}) as instance:
        made = Hall(root, instance)
        daemon = made.start_daemon()
        try:
            yield made
        finally:
            stop_tree(daemon)
            print((root.path / "daemon.log").read_text(errors="replace")[-8000:])


def test_by_default_one_run_makes_a_batch_and_nothing_follows_frames_alone(hall: Hall) -> None:
    hall.drop("plain")
    wait_for(lambda: hall.published("plain") is not None)
    whole = [("new_manifest_batches", ["batch_job"]), ("publish_accepted_batches", ["publish_job"])]
    assert hall.runs("plain") == whole
    hall.render("plain", 0.3)
    hall.wait_for_ticks("new_manifest_batches")
    assert not hall.accepted("plain")
    assert hall.runs("plain") == [*whole, (None, ["frames"])]


def test_with_automation_a_new_manifest_flows_to_its_publication(hall: Hall) -> None:
    hall.dagster("sensor", "start", AUTOMATION_SENSOR)
    hall.drop("flowing")
    wait_for(lambda: hall.published("flowing") is not None)
    hall.wait_for_ticks(AUTOMATION_SENSOR)
    assert hall.accepted("flowing")
    assert hall.runs("flowing") == [
        ("new_manifest_batches", FRAMES[::-1]),
        (AUTOMATION_SENSOR, sorted(AUTOMATED)),
        (AUTOMATION_SENSOR, ["publication"]),
    ]


def test_with_automation_frames_that_were_rendered_again_are_followed_once(hall: Hall) -> None:
    count = len(hall.runs("flowing"))
    hall.render("flowing", 0.3)
    wait_for(lambda: len(hall.runs("flowing")) == count + 3)
    hall.wait_for_ticks(AUTOMATION_SENSOR)
    assert hall.accepted("flowing")
    assert hall.runs("flowing")[count:] == [
        (None, ["frames"]),
        (AUTOMATION_SENSOR, sorted(AUTOMATED)),
        (AUTOMATION_SENSOR, ["publication"]),
    ]


def test_with_automation_nothing_follows_rejected_frames(hall: Hall) -> None:
    before, count = hall.published("flowing"), len(hall.runs("flowing"))
    with pytest.raises(subprocess.CalledProcessError):
        hall.render("flowing", 0.02)
    hall.drop("dull", 0.02)
    wait_for(lambda: len(hall.runs("dull")) == 1)
    hall.wait_for_ticks(AUTOMATION_SENSOR)
    assert hall.runs("dull") == [("new_manifest_batches", FRAMES[::-1])]
    assert hall.runs("flowing")[count:] == [(None, ["frames"])]
    assert hall.published("flowing") == before


def test_a_night_runs_what_nobody_has_run_until_its_end(hall: Hall) -> None:
    hall.dagster("sensor", "stop", "new_manifest_batches")
    hall.drop("nightly")
    hall.dagster("schedule", "start", NIGHT_SCHEDULE)
    wait_for(lambda: hall.published("nightly") is not None)
    hall.dagster("schedule", "stop", NIGHT_SCHEDULE)
    assert hall.runs("nightly") == [(None, ["batch_job"]), (AUTOMATION_SENSOR, ["publication"])]
    runs = hall.instance.get_runs(dg.RunsFilter(tags={"dagster/schedule_name": NIGHT_SCHEDULE}))
    (run,) = [run for run in runs if run.tags["dagster/partition"] == "nightly"]
    started = hall.instance.get_run_stats(run.run_id).start_time
    assert started is not None
    assert 5.9 * 3600 < float(run.tags[STOP_AT_TAG]) - started < 6.1 * 3600
