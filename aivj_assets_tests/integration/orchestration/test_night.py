"""What a night takes up: batches that are new, stale or incomplete, in order, all until one moment."""

import datetime as dt
import json

import dagster as dg
import pytest

from aivj_assets.contracts.lineage import RemovedBatches
from aivj_assets.definitions import build_definitions
from aivj_assets.layout import BatchKey, DataRoot, sha256_file
from aivj_assets.orchestration.budget import STOP_AT_TAG
from aivj_assets.orchestration.resources import DataRootResource
from aivj_assets.orchestration.schedules import NIGHT_SCHEDULE
from aivj_assets.orchestration.sensors import MANIFEST_TAG
from aivj_assets_tests.builders import spread, write_frames_meta, write_index, write_manifest
from aivj_assets_tests.house import House


@pytest.fixture(scope="module")
def repository() -> dg.RepositoryDefinition:
    return build_definitions().get_repository_def()


def tick(house: House, repository: dg.RepositoryDefinition, begins: dt.datetime):
    with dg.build_schedule_context(
        instance=house.instance, scheduled_execution_time=begins, repository_def=repository,
        resources={"data_root": DataRootResource(path=str(house.root.path))},
    ) as context:  # fmt: skip
        return repository.get_schedule_def(NIGHT_SCHEDULE).evaluate_tick(context)


def finish(house: House, batch: BatchKey) -> None:
    house.add(batch)
    house.run(batch, "a")
    assert house.accepted(batch)


def test_a_night_takes_up_what_is_not_finished_and_nothing_else(
    house: House, repository: dg.RepositoryDefinition
) -> None:
    root: DataRoot = house.root
    finish(house, BatchKey("a-finished"))
    finish(house, BatchKey("b-stale"))
    write_frames_meta(root, "b-stale", warmup_frames=90)
    rejected = BatchKey("c-rejected")
    ids = house.add(rejected)
    write_index(root, rejected.key, ids, motion=spread(len(ids), 0.01, 0.02))
    write_frames_meta(root, rejected.key)
    house.run(rejected, "a")
    for key in ("d-new", "e-waiting", "f-removed", "g-busy"):
        write_manifest(root, key, ["p0", "p1"])
    (root.pack_dir("e-waiting") / "aivj-pack.json").write_text(json.dumps({"requires": ["d-new"]}), encoding="utf-8")
    gone = {"f-removed": {"reason": "taste", "at": "2026-01-31T12:00:00.000Z"}}
    RemovedBatches.model_validate({"batches": gone}).save(root.lineage("main").removed)
    tags = {"dagster/partition": "g-busy"}
    house.instance.add_run(dg.DagsterRun("batch_job", status=dg.DagsterRunStatus.STARTED, tags=tags))
    torn = root.manifest(BatchKey("h-torn"))
    torn.parent.mkdir()
    torn.write_text("{", encoding="utf-8")

    begins = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    requests = tick(house, repository, begins).run_requests
    assert [request.partition_key for request in requests] == ["b-stale", "d-new"]
    night_ends = (begins + dt.timedelta(hours=6)).timestamp()
    assert [float(request.tags[STOP_AT_TAG]) for request in requests] == pytest.approx([night_ends] * 2, abs=1)
    assert requests[1].tags[MANIFEST_TAG] == sha256_file(root.manifest(BatchKey("d-new")))
    # The sensor may be off: a new batch is a partition all the same.
    assert "d-new" in house.instance.get_dynamic_partitions("batches")
    assert "d-new" in house.instance.get_dynamic_partitions("packs")


def test_a_night_that_is_over_starts_nothing(house: House, repository: dg.RepositoryDefinition) -> None:
    write_manifest(house.root, "new", ["p0"])
    told = tick(house, repository, dt.datetime.now(dt.UTC) - dt.timedelta(hours=7))
    assert not told.run_requests
    assert "is over since" in (told.skip_message or "")


def test_a_night_without_work_says_why(house: House, repository: dg.RepositoryDefinition) -> None:
    write_manifest(house.root, "waits", ["p0"])
    settings = house.root.pack_dir("waits") / "aivj-pack.json"
    settings.write_text(json.dumps({"requires": ["x"]}), encoding="utf-8")
    told = tick(house, repository, dt.datetime.now(dt.UTC))
    assert not told.run_requests
    assert "Batch waits waits for pack 'x', which is not there" in (told.skip_message or "")
