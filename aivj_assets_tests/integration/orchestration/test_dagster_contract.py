"""What the guard relies on in Dagster, parts of which are a preview or not public: a new version must still do it."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from aivj_assets.orchestration.guard import latest_materialization, latest_verdict

BATCHES = dg.DynamicPartitionsDefinition(name="contract_batches")
VERDICTS: dict[str, bool] = {}


@dg.asset(partitions_def=BATCHES)
def gated() -> dg.MaterializeResult[None]:
    if VERDICTS.pop("broken", False):
        raise dg.Failure(description="before the checks", allow_retries=False)
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


def verdict(instance: dg.DagsterInstance, partition: str) -> tuple[bool, int] | None:
    return latest_verdict(instance, "gated", "gate", partition)


def latest_id(instance: dg.DagsterInstance, partition: str) -> int:
    found = latest_materialization(instance, "gated", partition)
    assert found is not None
    return found[0]


def materialised(instance: dg.DagsterInstance, asset: str) -> set[str]:
    return set(instance.get_materialized_partitions(dg.AssetKey(asset)))


def test_a_failed_blocking_check_stops_its_own_partition_and_no_other(instance: dg.DagsterInstance) -> None:
    everything = dg.AssetSelection.all()
    assert run(instance, "good", everything).success
    assert not run(instance, "bad", everything).success
    assert materialised(instance, "gated") == {"good", "bad"}
    assert materialised(instance, "consumer") == {"good"}


def test_a_verdict_is_of_its_partition_and_names_the_materialisation_it_judged(instance: dg.DagsterInstance) -> None:
    run(instance, "good", dg.AssetSelection.all())
    run(instance, "bad", dg.AssetSelection.all())
    assert verdict(instance, "good") == (True, latest_id(instance, "good"))
    assert verdict(instance, "bad") == (False, latest_id(instance, "bad"))


def test_a_new_materialisation_leaves_the_old_verdict_behind(instance: dg.DagsterInstance) -> None:
    run(instance, "good", dg.AssetSelection.all())
    run(instance, "good", dg.AssetSelection.assets("gated").without_checks())
    judged = verdict(instance, "good")
    assert judged is not None
    assert judged[1] < latest_id(instance, "good")


def test_a_check_that_never_ran_has_no_verdict(instance: dg.DagsterInstance) -> None:
    run(instance, "good", dg.AssetSelection.assets("gated").without_checks())
    assert verdict(instance, "good") is None


def test_a_run_that_fails_before_its_checks_takes_no_verdict_away(instance: dg.DagsterInstance) -> None:
    run(instance, "good", dg.AssetSelection.all())
    before = verdict(instance, "good")
    VERDICTS["broken"] = True
    assert not run(instance, "good", dg.AssetSelection.all()).success
    assert verdict(instance, "good") == before == (True, latest_id(instance, "good"))


def test_a_materialisation_carries_its_data_version_as_a_tag(instance: dg.DagsterInstance) -> None:
    run(instance, "good", dg.AssetSelection.all())
    event = instance.get_latest_materialization_event(dg.AssetKey("gated"))
    assert event is not None
    assert event.asset_materialization is not None
    assert (event.asset_materialization.tags or {})["dagster/data_version"] == "v1"
