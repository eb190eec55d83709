"""What the guard relies on in Dagster, parts of which are a preview or not public: a new version must still do it."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

BATCHES = dg.DynamicPartitionsDefinition(name="contract_batches")
VERDICTS: dict[str, bool] = {}


@dg.asset(partitions_def=BATCHES)
def gated() -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(data_version=dg.DataVersion("v1"))


@dg.multi_asset_check(specs=[dg.AssetCheckSpec("gate", asset=gated, blocking=True, partitions_def=BATCHES)])
def gates(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
    yield dg.AssetCheckResult(asset_key="gated", check_name="gate", passed=VERDICTS[context.partition_key])


@dg.asset(partitions_def=BATCHES, deps=[gated])
def consumer() -> None:
    """Stands below the gate."""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as made:
        made.add_dynamic_partitions("contract_batches", ["good", "bad"])
        VERDICTS.update(good=True, bad=False)
        yield made


def run(instance: dg.DagsterInstance, partition: str, selection: list) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [gated, gates, consumer], selection=selection, partition_key=partition, instance=instance, raise_on_error=False
    )


def info(instance: dg.DagsterInstance, partition: str):
    key = dg.AssetCheckKey(dg.AssetKey("gated"), "gate")
    return instance.event_log_storage.get_asset_check_partition_info([key], partition_keys=[partition])


def materialised(instance: dg.DagsterInstance, asset: str) -> set[str]:
    return set(instance.get_materialized_partitions(dg.AssetKey(asset)))


def test_a_failed_blocking_check_stops_its_own_partition_and_no_other(instance: dg.DagsterInstance) -> None:
    everything = dg.AssetSelection.all()
    assert run(instance, "good", everything).success
    assert not run(instance, "bad", everything).success
    assert materialised(instance, "gated") == {"good", "bad"}
    assert materialised(instance, "consumer") == {"good"}


def test_the_partition_info_is_one_row_with_verdict_and_target(instance: dg.DagsterInstance) -> None:
    run(instance, "good", dg.AssetSelection.all())
    run(instance, "bad", dg.AssetSelection.all())
    (good,), (bad,) = info(instance, "good"), info(instance, "bad")
    assert (good.partition_key, good.latest_execution_status.value, good.is_current) == ("good", "SUCCEEDED", True)
    assert (bad.partition_key, bad.latest_execution_status.value, bad.is_current) == ("bad", "FAILED", True)
    assert good.latest_target_materialization_storage_id == good.latest_materialization_storage_id


def test_a_new_materialisation_makes_the_old_verdict_out_of_date(instance: dg.DagsterInstance) -> None:
    run(instance, "good", dg.AssetSelection.all())
    run(instance, "good", dg.AssetSelection.assets("gated").without_checks())
    (row,) = info(instance, "good")
    assert not row.is_current


def test_a_check_that_never_ran_has_no_row(instance: dg.DagsterInstance) -> None:
    run(instance, "good", dg.AssetSelection.assets("gated").without_checks())
    assert list(info(instance, "good")) == []


def test_a_materialisation_carries_its_data_version_as_a_tag(instance: dg.DagsterInstance) -> None:
    run(instance, "good", dg.AssetSelection.all())
    event = instance.get_latest_materialization_event(dg.AssetKey("gated"))
    assert event is not None
    assert event.asset_materialization is not None
    assert (event.asset_materialization.tags or {})["dagster/data_version"] == "v1"
