"""What flows on by itself: batches whose frames are accepted, once for each change, then their packs."""

import json

import dagster as dg
import pytest

from aivj_assets.contracts.lineage import RemovedBatches
from aivj_assets.layout import BatchKey
from aivj_assets.orchestration.automation import AUTOMATED, AUTOMATION_SENSOR, due
from aivj_assets.orchestration.instance import process_tags
from aivj_assets_tests.builders import spread, write_frames_meta, write_index
from aivj_assets_tests.house import House

ONE, TWO = BatchKey("big", "batch-0001"), BatchKey("big", "batch-0002")


def render(house: House, batch: BatchKey, ids: list[str], *, highest_motion: float, checks: bool = True) -> None:
    """Make presets where they are missing, then frames with other figures."""
    write_index(house.root, batch.key, ids, motion=spread(len(ids), 0.01, highest_motion))
    write_frames_meta(house.root, batch.key)
    house.make(batch, "presets", checks=True)
    house.make(batch, "frames", checks=checks)


def flow(house: House, batch: BatchKey, *stages: str, tags: dict[str, str] | None = None) -> None:
    """Make stages in a run as the automation sensor would."""
    house.materialize(
        dg.AssetSelection.assets(*stages), batch.key, tags={"dagster/sensor_name": AUTOMATION_SENSOR, **(tags or {})}
    )


def now(house: House) -> dict[str, set[str]]:
    return {name: keys for name, keys in due(house.instance, house.root).items() if keys}


def everything(batch: BatchKey) -> dict[str, set[str]]:
    return {name: {batch.key} for name in AUTOMATED}


@pytest.fixture
def rendered(house: House) -> list[str]:
    """One batch with accepted frames and nothing below."""
    house.weights = "a" * 64
    ids = house.add(ONE)
    assert now(house) == {}
    render(house, ONE, ids, highest_motion=0.4)
    return ids


def test_accepted_frames_flow_down_to_the_publication_and_again_when_they_change(
    house: House, rendered: list[str]
) -> None:
    assert now(house) == everything(ONE)
    flow(house, ONE, *AUTOMATED)
    assert now(house) == {"publication": {"big"}}
    house.publish("big")
    assert now(house) == {}
    render(house, ONE, rendered, highest_motion=0.3)
    assert now(house) == everything(ONE)
    flow(house, ONE, *AUTOMATED)
    assert now(house) == {"publication": {"big"}}


def test_rejected_frames_stop_everything_until_their_checks_pass(house: House, rendered: list[str]) -> None:
    flow(house, ONE, *AUTOMATED)
    house.publish("big")
    render(house, ONE, rendered, highest_motion=0.02)
    assert now(house) == {}
    # The same figures, judged again: still nothing.
    house.judge(ONE, "frames")
    assert now(house) == {}
    render(house, ONE, rendered, highest_motion=0.35)
    assert now(house) == everything(ONE)


def test_an_earlier_pass_does_not_count_for_frames_that_nobody_judged(house: House, rendered: list[str]) -> None:
    flow(house, ONE, *AUTOMATED)
    house.publish("big")
    render(house, ONE, rendered, highest_motion=0.3, checks=False)
    assert now(house) == {}
    house.judge(ONE, "frames")
    assert now(house) == everything(ONE)


def test_what_failed_or_was_rejected_below_is_not_tried_again_before_something_changes(
    house: House, rendered: list[str]
) -> None:
    house.left_out = {rendered[0]: "a frame is damaged", rendered[1]: "a frame is damaged"}
    flow(house, ONE, *AUTOMATED)
    assert not house.accepted(ONE)
    assert now(house) == {}
    house.left_out = {}
    render(house, ONE, rendered, highest_motion=0.3)
    # A step that fails leaves nothing behind but its run.
    (house.root.batch(ONE).path / "clusters.v0.json").mkdir(parents=True)
    flow(house, ONE, *AUTOMATED)
    assert now(house) == {}
    render(house, ONE, rendered, highest_motion=0.31)
    assert now(house) == everything(ONE)


def test_a_part_that_was_made_again_takes_along_only_what_rests_on_it(house: House, rendered: list[str]) -> None:
    flow(house, ONE, *AUTOMATED)
    house.publish("big")
    house.rows[ONE.key] = house.embedded(ONE).vectors[::-1].copy()
    house.make(ONE, "embeddings", checks=True)
    below = ("clusters", "style_index", "style_policy", "qa_samples", "run_record")
    assert now(house) == {name: {ONE.key} for name in below}


def test_who_waits_was_removed_or_is_at_work_is_left_alone(house: House, rendered: list[str]) -> None:
    run = house.instance.add_run(
        dg.DagsterRun(job_name="batch_job", status=dg.DagsterRunStatus.STARTED, tags={"dagster/partition": ONE.key})
    )
    assert now(house) == {}
    house.instance.delete_run(run.run_id)
    settings = house.root.pack_dir("big") / "aivj-pack.json"
    settings.write_text(json.dumps({"requires": ["small"]}), encoding="utf-8")
    assert now(house) == {}
    settings.write_text("{", encoding="utf-8")
    assert now(house) == {}
    settings.unlink()
    assert now(house) == everything(ONE)
    gone = {ONE.key: {"reason": "taste", "at": "2026-01-31T12:00:00.000Z"}}
    RemovedBatches.model_validate({"batches": gone}).save(house.root.lineage("main").removed)
    assert now(house) == {}


def test_a_pack_is_published_with_one_accepted_batch_but_not_while_a_published_one_is_half_done(
    house: House, rendered: list[str]
) -> None:
    others = house.add(TWO)
    flow(house, ONE, *AUTOMATED)
    assert now(house) == {"publication": {"big"}}
    house.publish("big")
    render(house, TWO, others, highest_motion=0.4)
    flow(house, TWO, *AUTOMATED)
    render(house, ONE, rendered, highest_motion=0.3)
    assert now(house) == everything(ONE)
    flow(house, ONE, *AUTOMATED)
    assert now(house) == {"publication": {"big"}}


def test_what_the_command_line_has_run_it_publishes_itself(house: House, rendered: list[str]) -> None:
    flow(house, ONE, *AUTOMATED, tags=process_tags())
    assert now(house) == {}
