"""The sensor that keeps the page up to date: one report for however many runs, none while one is on its way."""

from typing import Any

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id

from aivj_assets.definitions import build_definitions
from aivj_assets.layout import BatchKey
from aivj_assets.orchestration.gate_sensor import refresh_gate_report
from aivj_assets.orchestration.resources import DataRootResource
from aivj_assets_tests.builders import write_manifest
from aivj_assets_tests.house import House


@pytest.fixture(scope="module")
def repository() -> dg.RepositoryDefinition:
    return build_definitions().get_repository_def()


class Ticks:
    """Ticks the sensor as the daemon does, its cursor kept."""

    def __init__(self, house: House, repository: dg.RepositoryDefinition) -> None:
        self.house, self.repository = house, repository
        self.cursor: str | None = None

    def __call__(self) -> int:
        """Return how many runs are asked for."""
        with dg.build_sensor_context(
            instance=self.house.instance,
            cursor=self.cursor,
            repository_def=self.repository,
            resources={"data_root": DataRootResource(path=str(self.house.root.path))},
        ) as context:
            data: Any = refresh_gate_report.evaluate_tick(context)
        self.cursor = data.cursor
        return len(data.run_requests or [])


@pytest.fixture
def tick(house: House, repository: dg.RepositoryDefinition) -> Ticks:
    return Ticks(house, repository)


def end_run(house: House, job_name: str, status: dg.DagsterRunStatus = dg.DagsterRunStatus.SUCCESS) -> str:
    run = dg.DagsterRun(job_name=job_name, run_id=make_new_run_id(), status=status)
    return house.instance.add_run(run).run_id


def test_nothing_is_asked_for_before_there_is_a_batch(tick: Ticks, house: House) -> None:
    assert tick() == 0
    write_manifest(house.root, "pack", ["a"])
    assert tick() == 1
    assert tick() == 0


def test_many_runs_that_ended_are_one_report(tick: Ticks, house: House) -> None:
    write_manifest(house.root, "pack", ["a"])
    assert tick() == 1
    for status in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED):
        for _ in range(10):
            end_run(house, "batch_job", status)
        assert tick() == 1
        assert tick() == 0


def test_a_report_that_is_under_way_holds_the_next_one_back_and_starts_none_itself(tick: Ticks, house: House) -> None:
    write_manifest(house.root, "pack", ["a"])
    assert tick() == 1
    report = end_run(house, "gate_report_job", dg.DagsterRunStatus.STARTED)
    end_run(house, "batch_job")
    assert tick() == 0
    house.instance.report_run_failed(house.instance.get_run_by_id(report))
    # What ended meanwhile is not lost.
    assert tick() == 1
    end_run(house, "gate_report_job")
    assert tick() == 0


def test_a_verdict_a_manifest_and_a_setting_are_news(tick: Ticks, house: House) -> None:
    batch = BatchKey("pack")
    write_manifest(house.root, "pack", ["a"])
    assert tick() == 1
    record = house.root.batch(batch).run_meta
    record.parent.mkdir(parents=True)
    for path in (record, house.root.pack_dir("pack") / "aivj-pack.json", house.root.manifest(batch)):
        path.write_text("{}", encoding="utf-8")
        assert tick() == 1
        assert tick() == 0
    house.root.manifest(batch).unlink()
    assert tick() == 0
    write_manifest(house.root, "other", ["a"])
    assert tick() == 1


def test_it_runs_from_the_start_with_the_job_of_the_report(repository: dg.RepositoryDefinition) -> None:
    sensor = repository.get_sensor_def("refresh_gate_report")
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    assert sensor.minimum_interval_seconds == 60
    job = repository.get_job("gate_report_job")
    assert set(job.asset_layer.executable_asset_keys) == {dg.AssetKey("gate_report")}
    assert dg.AssetKey("gate_report") not in repository.get_job("batch_job").asset_layer.executable_asset_keys
