"""Old runs go, but none of which something is the latest; what the gates rest on stays."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg
import pytest
import yaml

from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot, project_root
from aivj_assets.orchestration import retention
from aivj_assets.orchestration.instance import open_instance
from aivj_assets.orchestration.remedies import REMEDY_TAG
from aivj_assets.orchestration.retention import forget_superseded, kept_days
from aivj_assets.orchestration.retention_sensor import forget_superseded_runs

PARTS = dg.StaticPartitionsDefinition(["a", "b"])


@dg.asset(partitions_def=PARTS, config_schema={"fails": dg.Field(bool, default_value=False)})
def pictures(context: dg.AssetExecutionContext) -> None:
    print("drawn")
    if context.op_execution_context.op_config["fails"]:
        raise dg.Failure("on purpose")


@dg.asset(partitions_def=PARTS)
def words() -> None: ...


@dg.asset_check(asset=pictures, partitions_def=PARTS)
def bright() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


class Runs:
    """A data root's instance, and runs of two assets and a check on it."""

    def __init__(self, root: DataRoot, instance: dg.DagsterInstance) -> None:
        self.root = root
        self.instance = instance

    def make(
        self, partition: str, names: Sequence[str] = ("pictures",), *, check: bool = False, fails: bool = False,
        tags: dict[str, str] | None = None,
    ) -> str:  # fmt: skip
        selection = dg.AssetSelection.assets(*names)
        made = dg.materialize(
            [pictures, words, bright], selection=selection if check else selection.without_checks(),
            partition_key=partition, instance=self.instance, raise_on_error=False, tags=tags,
            run_config={"ops": {"pictures": {"config": {"fails": fails}}}} if "pictures" in names else None,
        )  # fmt: skip
        return made.run_id

    def forget(self, **options: float) -> set[str]:
        deleted, after = forget_superseded(self.instance, **{"older_than_days": 0, **options})
        assert after is None
        return set(deleted)

    def left(self) -> set[str]:
        return {run.run_id for run in self.instance.get_runs()}

    def files(self, run_id: str) -> list[Path]:
        return [path for path in self.root.dagster_home.rglob("*") if run_id in str(path) and path.is_file()]


@pytest.fixture
def runs(root: DataRoot) -> Iterator[Runs]:
    with open_instance(root, {}) as instance:
        yield Runs(root, instance)


def test_only_the_last_run_of_a_partition_stays_and_nothing_of_the_others(runs: Runs) -> None:
    first, second, last, other = (runs.make(partition) for partition in ("a", "a", "a", "b"))
    assert runs.files(first)
    assert runs.forget() == {first, second}
    assert runs.left() == {last, other}
    assert runs.files(first) == runs.files(second) == []
    assert runs.files(last)
    assert runs.instance.get_materialized_partitions(dg.AssetKey("pictures")) == {"a", "b"}
    assert runs.forget() == set()


def test_a_run_stays_for_the_one_asset_that_was_not_made_again(runs: Runs) -> None:
    both = runs.make("a", ("pictures", "words"))
    runs.make("a", ("pictures",))
    runs.make("a", ("pictures",))
    runs.forget()
    assert both in runs.left()


def test_a_run_stays_for_the_latest_verdict_of_a_check(runs: Runs) -> None:
    judged = runs.make("a", check=True)
    between, last = runs.make("a"), runs.make("a")
    assert runs.forget() == {between}
    assert runs.left() == {judged, last}
    again = runs.make("a", check=True)
    assert runs.forget() == {judged, last}
    assert runs.left() == {again}


def test_of_failed_runs_the_last_one_stays_to_be_read(runs: Runs) -> None:
    good, failed, last = runs.make("a"), runs.make("a", fails=True), runs.make("a", fails=True)
    assert runs.forget() == {failed}
    assert runs.left() == {good, last}


def test_tries_of_a_remedy_still_count(runs: Runs) -> None:
    tried = runs.make("a", tags={REMEDY_TAG: "1"})
    runs.make("a")
    assert runs.forget() == set()
    assert tried in runs.left()


def test_what_is_younger_stays(runs: Runs) -> None:
    runs.make("a")
    runs.make("a")
    assert runs.forget(older_than_days=1) == set()


def test_many_pages_of_runs_are_looked_through_and_a_look_may_end_before(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_PAGE", 2)
    kept = runs.make("b")
    old = {runs.make("a") for _ in range(5)}
    last = runs.make("a")
    assert forget_superseded(runs.instance, older_than_days=0, time_limit_s=0) == ([], None)
    assert set(forget_superseded(runs.instance, older_than_days=0, after=kept)[0]) == old
    assert runs.left() == {kept, last}


def test_the_sensor_says_what_it_did_and_heeds_the_setting(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    def look() -> str:
        context = dg.build_sensor_context(instance=runs.instance, cursor="")
        return str(forget_superseded_runs.evaluate_tick(context).skip_message)

    monkeypatch.delenv("AIVJ_RUNS_KEPT_DAYS", raising=False)
    runs.make("a")
    runs.make("a")
    assert look() == "0 runs older than 90 days deleted"
    monkeypatch.setenv("AIVJ_RUNS_KEPT_DAYS", "0")
    assert look() == "all runs are kept"
    monkeypatch.setenv("AIVJ_RUNS_KEPT_DAYS", "soon")
    assert "AIVJ_RUNS_KEPT_DAYS is 'soon'" in look()
    with pytest.raises(UserError, match="-3"):
        kept_days({"AIVJ_RUNS_KEPT_DAYS": "-3"})


def test_no_tick_is_kept_for_ever() -> None:
    config = yaml.safe_load((project_root() / "dagster.yaml").read_text(encoding="utf-8"))
    kept = {kind: days["purge_after_days"] for kind, days in config["retention"].items()}
    assert set(kept) == {"schedule", "sensor", "auto_materialize"}
    for days in kept.values():
        assert set(days) == {"started", "skipped", "failure", "success"}
        assert all(0 < count <= 90 for count in days.values())
