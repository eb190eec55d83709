"""The sensor on a real instance: what the daemon would add and launch."""

import json
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData

from aivj_assets.definitions import build_definitions
from aivj_assets.layout import BatchKey, DataRoot, sha256_file
from aivj_assets.orchestration import requires, sensors
from aivj_assets.orchestration.instance import HOST_TAG, MANIFEST_TAG, PROCESS_TAG, open_instance, process_tags
from aivj_assets.orchestration.resources import DataRootResource
from aivj_assets.orchestration.sensors import new_manifest_batches, publish_accepted_batches
from aivj_assets_tests.builders import write_manifest


@pytest.fixture
def instance(root: DataRoot) -> Iterator[dg.DagsterInstance]:
    with open_instance(root, {}) as made:
        yield made


class Daemon:
    """Ticks the sensor as the daemon does: partitions first, then runs by their keys, then the cursor."""

    def __init__(self, instance: dg.DagsterInstance, root: DataRoot, repository: dg.RepositoryDefinition) -> None:
        self.instance = instance
        self.root = root
        self.cursor: str | None = None
        self.repository = repository

    def tick(self) -> SensorExecutionData:
        with dg.build_sensor_context(
            # Like the daemon, so that partitions asked for in this tick are known to the runs of this tick.
            instance_ref=self.instance.get_ref(),
            cursor=self.cursor,
            repository_def=self.repository,
            resources={"data_root": DataRootResource(path=str(self.root.path))},
        ) as context:
            data = new_manifest_batches.evaluate_tick(context)
        for request in data.dynamic_partitions_requests or []:
            assert isinstance(request, dg.AddDynamicPartitionsRequest)
            self.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        self.cursor = data.cursor
        return data

    def partitions(self) -> dict[str, set[str]]:
        return {name: set(self.instance.get_dynamic_partitions(name)) for name in ("batches", "packs")}


@pytest.fixture(scope="module")
def repository() -> dg.RepositoryDefinition:
    return build_definitions().get_repository_def()


@pytest.fixture
def daemon(instance: dg.DagsterInstance, root: DataRoot, repository: dg.RepositoryDefinition) -> Daemon:
    return Daemon(instance, root, repository)


def run_keys(data: SensorExecutionData) -> list[str | None]:
    return [request.run_key for request in data.run_requests or []]


def digest(root: DataRoot, key: str) -> str:
    return sha256_file(root.manifest(BatchKey.parse(key)))


def test_each_manifest_becomes_a_partition_and_one_run(daemon: Daemon, root: DataRoot) -> None:
    for key in ("starter", "big/batch-0002", "big/batch-0001"):
        write_manifest(root, key, ["a"])
    data = daemon.tick()
    keys = ["big/batch-0001", "big/batch-0002", "starter"]
    assert run_keys(data) == [f"{key}:{digest(root, key)}" for key in keys]
    for key, request in zip(keys, data.run_requests or [], strict=True):
        assert request.partition_key == key
        assert request.tags[MANIFEST_TAG] == digest(root, key)
        assert request.tags["aivj/pack"] == key.partition("/")[0]
    assert daemon.partitions() == {"batches": set(keys), "packs": {"big", "starter"}}


def test_the_next_tick_asks_for_nothing(daemon: Daemon, root: DataRoot) -> None:
    write_manifest(root, "starter", ["a"])
    daemon.tick()
    data = daemon.tick()
    assert not data.run_requests
    assert not data.dynamic_partitions_requests
    assert data.skip_message == "1 manifests known, none new"


def test_a_changed_manifest_is_a_new_run_of_the_known_partition(daemon: Daemon, root: DataRoot) -> None:
    write_manifest(root, "starter", ["a"])
    write_manifest(root, "other", ["a"])
    first = set(run_keys(daemon.tick()))
    write_manifest(root, "starter", ["a", "b"])
    data = daemon.tick()
    assert run_keys(data) == [f"starter:{digest(root, 'starter')}"]
    assert not set(run_keys(data)) & first
    assert not data.dynamic_partitions_requests


def test_a_manifest_that_was_run_by_hand_is_not_run_again(
    daemon: Daemon, root: DataRoot, instance: dg.DagsterInstance
) -> None:
    write_manifest(root, "starter", ["a"])
    tags = {MANIFEST_TAG: digest(root, "starter"), "dagster/partition": "starter", **process_tags()}
    instance.add_run(dg.DagsterRun(job_name="batch_job", status=dg.DagsterRunStatus.SUCCESS, tags=tags))
    data = daemon.tick()
    assert not data.run_requests
    # It is a batch like any other.
    assert daemon.partitions() == {"batches": {"starter"}, "packs": {"starter"}}
    # Another manifest of the same batch, or the same manifest of another batch, has not been run.
    write_manifest(root, "starter", ["a", "b"])
    assert len(run_keys(daemon.tick())) == 1


def test_a_run_that_died_before_it_started_does_not_count(
    daemon: Daemon, root: DataRoot, instance: dg.DagsterInstance
) -> None:
    write_manifest(root, "starter", ["a"])
    tags = {MANIFEST_TAG: digest(root, "starter"), "dagster/partition": "starter"}
    instance.add_run(dg.DagsterRun(job_name="batch_job", status=dg.DagsterRunStatus.FAILURE, tags=tags))
    assert len(run_keys(daemon.tick())) == 1


def test_a_malformed_manifest_never_stops_the_others(daemon: Daemon, root: DataRoot) -> None:
    write_manifest(root, "good", ["a"])
    for name, content in {
        "torn": b"{", "number": b'{"version": ' + b"1" * 5000 + b"}", "deep": b"[" * 100_000, "nul": b"{}",
    }.items():  # fmt: skip
        path = root.presets_dir / name / "library-manifest.json"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    data = daemon.tick()
    assert run_keys(data) == [f"good:{digest(root, 'good')}"]
    assert daemon.partitions() == {"batches": {"good"}, "packs": {"good"}}
    assert "3 unreadable" in (daemon.tick().skip_message or "")
    write_manifest(root, "torn", ["a"])
    assert run_keys(daemon.tick()) == [f"torn:{digest(root, 'torn')}"]


def test_settings_that_cannot_be_used_hold_back_one_pack_until_they_are_mended(daemon: Daemon, root: DataRoot) -> None:
    for key in ("bad", "good", "torn"):
        write_manifest(root, key, ["a"])
    settings = {name: root.pack_dir(name) / "aivj-pack.json" for name in ("bad", "good", "torn")}
    settings["bad"].write_text(json.dumps({"render": {"captureCount": 0}}), encoding="utf-8")
    settings["torn"].write_text("{", encoding="utf-8")
    settings["good"].write_text(json.dumps({"render": {"warmupFrames": 90}, "clusters": {"k": 5}}), encoding="utf-8")
    data = daemon.tick()
    assert run_keys(data) == [f"good:{digest(root, 'good')}"]
    assert (data.run_requests or [])[0].run_config == {
        "ops": {"frames": {"config": {"warmupFrames": 90}}, "clusters": {"config": {"k": 5}}}
    }
    settings["bad"].write_text("{}", encoding="utf-8")
    assert run_keys(daemon.tick()) == [f"bad:{digest(root, 'bad')}"]


def test_batches_of_a_waiting_pack_get_partitions_and_start_when_what_they_require_is_accepted(
    daemon: Daemon, root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("big/batch-0001", "big/batch-0002", "small"):
        write_manifest(root, key, ["a"])
    (root.pack_dir("big") / "aivj-pack.json").write_text('{"requires": ["small"]}', encoding="utf-8")
    assert run_keys(daemon.tick()) == [f"small:{digest(root, 'small')}"]
    assert daemon.partitions() == {"batches": {"big/batch-0001", "big/batch-0002", "small"}, "packs": {"big", "small"}}
    data = daemon.tick()
    assert not data.run_requests
    assert not data.dynamic_partitions_requests
    assert "pack 'big' waits for pack 'small' (0 of 1 batches accepted; small: " in (data.skip_message or "")
    asked: list[BatchKey] = []

    def accepted(_instance: object, _root: object, batch: BatchKey, _stage: str) -> None:
        asked.append(batch)

    monkeypatch.setattr(requires, "acceptance_problem", accepted)
    assert run_keys(daemon.tick()) == [f"{key}:{digest(root, key)}" for key in ("big/batch-0001", "big/batch-0002")]
    # The guard hashes files: once a pack and tick, and never for packs with nothing to start.
    assert asked == [BatchKey("small")]
    assert not daemon.tick().run_requests
    assert asked == [BatchKey("small")]


def test_with_automation_on_a_new_manifest_starts_presets_and_frames_and_a_batch_is_published_by_automation(
    daemon: Daemon, root: DataRoot, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_manifest(root, "pack", ["a"])
    settings = {"render": {"warmupFrames": 90}, "clusters": {"k": 5}}
    (root.pack_dir("pack") / "aivj-pack.json").write_text(json.dumps(settings), encoding="utf-8")
    monkeypatch.setattr(sensors, "automation_is_on", lambda *_arguments: True)
    (request,) = daemon.tick().run_requests or []
    assert request.asset_selection == [dg.AssetKey("presets"), dg.AssetKey("frames")]
    assert request.run_config == {"ops": {"frames": {"config": {"warmupFrames": 90}}}}
    monkeypatch.setattr(sensors, "acceptance_problem", lambda *_arguments: None)
    answer = asked_of(instance, root, finished_run(instance, "batch_job", **{"dagster/partition": "pack"}))
    assert isinstance(answer, dg.SkipReason)
    assert answer.skip_message == "declarative automation is on: it publishes"


def test_a_run_whose_process_died_is_marked(daemon: Daemon, root: DataRoot, instance: dg.DagsterInstance) -> None:
    tags = {HOST_TAG: process_tags()[HOST_TAG], PROCESS_TAG: f"{2**22}:1.0"}
    run = instance.add_run(dg.DagsterRun(job_name="batch_job", status=dg.DagsterRunStatus.STARTED, tags=tags))
    daemon.tick()
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status == dg.DagsterRunStatus.FAILURE


def test_the_sensors_are_on_by_default() -> None:
    for sensor in (new_manifest_batches, publish_accepted_batches):
        assert sensor.default_status == dg.DefaultSensorStatus.RUNNING


def finished_run(instance: dg.DagsterInstance, job_name: str, **tags: str):
    @dg.op
    def nothing() -> None:
        return

    @dg.job(name=job_name)
    def made() -> None:
        nothing()

    return made.execute_in_process(instance=instance, tags=tags)


def asked_of(instance: dg.DagsterInstance, root: DataRoot, result) -> dg.RunRequest | dg.SensorResult | dg.SkipReason:
    context = dg.build_run_status_sensor_context(
        "publish_accepted_batches",
        result.get_run_success_event(),
        instance,
        result.dagster_run,
        resources={"data_root": DataRootResource(path=str(root.path))},
    )
    answer = publish_accepted_batches(context)
    assert isinstance(answer, dg.RunRequest | dg.SensorResult | dg.SkipReason)
    return answer


@pytest.mark.parametrize("job", ["batch_job", "__ASSET_JOB"])
def test_an_accepted_batch_has_its_pack_published_whatever_button_made_it(
    instance: dg.DagsterInstance, root: DataRoot, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    monkeypatch.setattr(sensors, "acceptance_problem", lambda *_arguments: None)
    result = finished_run(instance, job, **{"dagster/partition": "big/batch-0001"})
    request = asked_of(instance, root, result)
    assert isinstance(request, dg.RunRequest)
    assert (request.partition_key, request.run_key) == ("big", f"big:{result.run_id}")
    # Before the batches that a backfill has queued.
    assert int(request.tags["dagster/priority"]) > 0
    # Another batch that is published is being made again: its own run asks in its turn.
    monkeypatch.setattr(sensors, "unfinished_batches", lambda *_arguments: ["big/batch-0002"])
    waits = asked_of(instance, root, finished_run(instance, job, **{"dagster/partition": "big/batch-0001"}))
    assert isinstance(waits, dg.SkipReason)
    assert "big/batch-0002, which is published, is being made again" in (waits.skip_message or "")


def test_what_is_not_accepted_or_published_by_others_asks_for_nothing(
    instance: dg.DagsterInstance, root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_batch = {"dagster/partition": "big/batch-0001"}
    rejected = asked_of(instance, root, finished_run(instance, "batch_job", **of_batch))
    assert isinstance(rejected, dg.SkipReason)
    assert "not accepted" in (rejected.skip_message or "")
    monkeypatch.setattr(sensors, "acceptance_problem", lambda *_arguments: None)
    for result in (
        finished_run(instance, "batch_job", **of_batch, **process_tags()),
        finished_run(instance, "publish_job", **{"dagster/partition": "big"}),
        finished_run(instance, "k_report_job", **{"dagster/partition": "big"}),
        finished_run(instance, "reactivity_job", **{"dagster/partition": "big"}),
        finished_run(instance, "other"),
    ):
        assert isinstance(asked_of(instance, root, result), dg.SkipReason)


def test_a_manifest_that_comes_back_is_run_again(daemon: Daemon, root: DataRoot, instance: dg.DagsterInstance) -> None:
    def began(request: dg.RunRequest) -> None:
        tags = {**request.tags, "dagster/partition": "starter"}
        instance.add_run(dg.DagsterRun(job_name="batch_job", status=dg.DagsterRunStatus.SUCCESS, tags=tags))

    keys = []
    for ids in (["a"], ["a", "b"], ["a"]):
        write_manifest(root, "starter", ids)
        (request,) = daemon.tick().run_requests or []
        began(request)
        keys.append(request.run_key)
    assert len(set(keys)) == 3
    assert not daemon.tick().run_requests


def test_an_act_on_a_lineage_has_its_packs_published(
    instance: dg.DagsterInstance, root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dg.op(config_schema=dict)
    def lineage_act() -> None:
        return

    @dg.job(name="lineage_job")
    def made() -> None:
        lineage_act()

    def after(config: dict[str, str], **tags: str) -> dg.RunRequest | dg.SensorResult | dg.SkipReason:
        run_config = {"ops": {"lineage_act": {"config": config}}}
        return asked_of(instance, root, made.execute_in_process(instance=instance, run_config=run_config, tags=tags))

    removal = {"act": "remove", "batch": "big/batch-0002", "reason": "taste"}
    # Nothing of the pack is accepted: there is nothing to publish.
    write_manifest(root, "big/batch-0001", ["a"])
    assert isinstance(after(removal), dg.SkipReason)
    monkeypatch.setattr(sensors, "has_accepted_batch", lambda *_arguments: True)
    answer = after(removal)
    assert isinstance(answer, dg.SensorResult)
    assert [request.partition_key for request in answer.run_requests or []] == ["big"]
    assert isinstance(after({**removal, "act": "readmit"}), dg.SkipReason)
    assert isinstance(after(removal, **process_tags()), dg.SkipReason)
