"""Which batch stands where: from real records of a real instance, in every state that a batch can be in."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id
from typer.testing import CliRunner

from aivj_assets.cli import app as cli
from aivj_assets.contracts.frames_index import encode_record
from aivj_assets.contracts.gate_report import BatchStatus, GateReport
from aivj_assets.contracts.gates import GATES
from aivj_assets.contracts.lineage import RemovedBatch, RemovedBatches
from aivj_assets.contracts.pack_settings import PACK_SETTINGS_NAME
from aivj_assets.layout import BatchKey, DataRoot, write_json_atomic
from aivj_assets.orchestration.assets.gate_report import gate_report as gate_report_asset
from aivj_assets.orchestration.batch_status import batch_status, batch_statuses
from aivj_assets.orchestration.gate_report import gate_report_at_end, make_gate_report
from aivj_assets.orchestration.guard import acceptance_problem
from aivj_assets.orchestration.resources import DataRootResource
from aivj_assets.orchestration.stages import PUBLISHED_STAGE
from aivj_assets_tests.builders import NOW, ok_record, write_index, write_manifest
from aivj_assets_tests.house import House

IDS = [f"p{number:03d}" for number in range(20)]


def fail_half(house: House, batch: BatchKey) -> None:
    ids = house.add(batch)
    write_index(house.root, batch.key, ids, failed=dict.fromkeys(ids[:10], "probe-timeout"))
    house.run(batch, "a")


def stop_rendering(house: House, batch: BatchKey) -> None:
    """Leave a batch as a rendering that was stopped leaves it: 12 in the index, 3 more in a log, of 20."""
    write_manifest(house.root, batch.key, IDS)
    house.instance.add_dynamic_partitions("batches", [batch.key])
    assert house.make(batch, "presets", checks=False).success
    folder = write_index(house.root, batch.key, IDS[:12])
    write_json_atomic(folder.render_plan, {"planId": "x", "total": 20, "todo": 8})
    (folder.shard_logs_dir / "s0.jsonl").write_bytes(
        b"".join(encode_record(ok_record(name, batch.pack)) for name in IDS[12:15])
    )


def start_run(instance: dg.DagsterInstance, partition: str, job_name: str = "batch_job") -> str:
    run = dg.DagsterRun(
        job_name=job_name, run_id=make_new_run_id(), status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": partition},
    )  # fmt: skip
    return instance.add_run(run).run_id


def state_of(house: House, key: str) -> BatchStatus:
    return batch_status(house.instance, house.root, BatchKey.parse(key))


@pytest.fixture
def gates(root: DataRoot) -> Callable[..., tuple[int, str]]:
    def run(*arguments: str) -> tuple[int, str]:
        answer = CliRunner().invoke(cli.app, ["gates", *arguments, "--root", str(root.path)], catch_exceptions=False)
        return answer.exit_code, answer.output

    return run


def test_accepted_and_rejected_batches_tell_what_their_checks_recorded(
    house: House, gates: Callable[..., tuple[int, str]]
) -> None:
    house.add(BatchKey("good"))
    done = house.run(BatchKey("good"), "a")
    assert done.success
    fail_half(house, BatchKey("bad"))
    # What lies there now is another matter: the verdicts are those that were recorded.
    house.root.batch(BatchKey("bad")).frames_index.write_bytes(b"")

    bad, good = batch_statuses(house.instance, house.root)
    assert (good.batch, good.state, good.accepted, good.problem) == ("good", "accepted", True, None)
    assert [(gate.gate, gate.passed, gate.run_id) for gate in good.gates] == [
        (gate.name, True, done.run_id) for gate in GATES
    ]
    assert all(check.passed for check in good.checks)
    assert {check.check for check in good.checks} >= {"parameters_frozen", "frozen_card", "coverage"}
    assert (good.numbers.ok, good.numbers.presets, good.numbers.presets_per_s) == (
        20,
        20,
        pytest.approx(20 / 1.5, 1e-3),
    )
    assert (good.numbers.luma_min, good.numbers.luma_max) == (0.1, 0.8)
    assert good.qa_page == "good/qa-samples/index.html"
    assert good.run_record == "good/run-meta.json"

    assert (bad.state, bad.accepted) == ("rejected", False)
    rate = bad.gates[0]
    assert (rate.value, rate.passed, rate.evidence["failed"]) == (0.5, False, 10)
    assert bad.failure_reasons == {"probe-timeout": 10}
    assert "timeoutMs 45000" in str(bad.next)
    assert [check for check in bad.checks if check.passed and check.stage != "frames"] == []

    assert gates("good")[0] == 0
    assert gates("bad")[0] == 1
    status, said = gates("--json")
    assert status == 1
    rows = {row["batch"]: row for row in json.loads(said)}
    assert rows["good"]["accepted"] is True
    assert rows["bad"]["gates"][0] | {"at": "", "runId": ""} == {
        "gate": "ok_rate", "rule": GATES[0].rule, "value": 0.5, "comparison": ">=", "threshold": 0.95,
        "passed": False, "at": "", "runId": "", "evidence": {"ok": 10, "failed": 10, "presets": 20}, "source": "record",
    }  # fmt: skip
    assert rows["bad"]["gates"][0]["at"].endswith("Z")
    _, said = gates()
    assert "0.5000 failed" in said
    assert "bad is not accepted: 'frames': it is rejected by ok_rate" in said


def test_a_stopped_rendering_is_incomplete_with_its_progress(
    house: House, gates: Callable[..., tuple[int, str]]
) -> None:
    stop_rendering(house, BatchKey("half"))
    half = state_of(house, "half")
    assert (half.state, half.accepted) == ("incomplete", False)
    assert half.progress is not None
    assert (half.progress.done, half.progress.total) == (15, 20)
    # Neither passed nor failed.
    assert {gate.passed for gate in half.gates} == {None}
    status, said = gates("half")
    assert status == 1
    assert "15 of 20 presets have a record. Next: aivj run half." in said

    run_id = start_run(house.instance, "half")
    running = state_of(house, "half")
    assert (running.state, running.run and running.run.run_id) == ("running", run_id)
    assert running.progress == half.progress


def test_a_run_of_the_pack_is_no_run_of_the_batch_of_that_name(house: House) -> None:
    write_manifest(house.root, "good", ["a"])
    start_run(house.instance, "good", "publish_job")
    assert state_of(house, "good").state == "not run"


def test_frames_rendered_again_count_only_with_results_of_their_own(house: House) -> None:
    batch = BatchKey("pack")
    house.add(batch)
    assert house.run(batch, "a").success
    assert house.make(batch, "frames", checks=False).success
    again = state_of(house, "pack")
    assert (again.state, {gate.passed for gate in again.gates}) == ("unchecked", {None})
    assert "no result for the current materialisation" in str(again.problem)

    # Judged again, and what was made from the earlier frames is what it was: accepted without another run.
    assert house.make(batch, "frames", checks=True).success
    assert state_of(house, "pack").state == "accepted"


def test_what_was_made_from_something_else_is_stale_and_what_is_not_made_unfinished(house: House) -> None:
    batch = BatchKey("pack")
    ids = house.add(batch)
    for stage in ("presets", "frames"):
        assert house.make(batch, stage, checks=True).success
    part = state_of(house, "pack")
    assert (part.state, [gate.passed for gate in part.gates]) == ("unfinished", [True] * 4)
    assert str(part.problem).startswith("'embeddings': it is not materialised")

    write_manifest(house.root, "pack", ids[:19])
    assert state_of(house, "pack").state == "stale"
    assert house.make(batch, "presets", checks=True).success
    stale = state_of(house, "pack")
    assert stale.state == "stale"
    assert "'presets' has changed since" in str(stale.problem)


def test_batches_without_a_manifest_that_can_be_read(house: House, gates: Callable[..., tuple[int, str]]) -> None:
    house.add(BatchKey("good"))
    assert house.run(BatchKey("good"), "a").success
    house.root.manifest(BatchKey("good")).unlink()
    torn = house.root.manifest(BatchKey("torn"))
    torn.parent.mkdir()
    torn.write_bytes(b"{")
    malformed = house.root.pack_dir("settings") / PACK_SETTINGS_NAME
    write_manifest(house.root, "settings", ["a"])
    malformed.write_text('{"requires": 5}', encoding="utf-8")
    write_manifest(house.root, "new", ["a"])

    found = {status.batch: status for status in batch_statuses(house.instance, house.root)}
    assert {key: status.state for key, status in found.items()} == {
        "good": "manifest gone", "new": "not run", "settings": "unreadable", "torn": "unreadable",
    }  # fmt: skip
    assert not any(status.accepted for status in found.values())
    assert [gate.passed for gate in found["good"].gates] == [True] * 4
    assert PACK_SETTINGS_NAME in str(found["settings"].problem)
    assert "is not JSON" in str(found["torn"].problem)
    status, said = gates("good")
    assert (status, "its manifest is no longer there" in said) == (1, True)


def test_the_whole_of_a_pack_that_was_split_later_is_no_batch(house: House) -> None:
    house.add(BatchKey("big"))
    house.make(BatchKey("big"), "presets", checks=False)
    write_manifest(house.root, "big/batch-0001", ["a"])
    assert [status.batch for status in batch_statuses(house.instance, house.root)] == ["big/batch-0001"]


def test_a_removed_batch_is_shown_and_does_not_count(house: House, gates: Callable[..., tuple[int, str]]) -> None:
    for name in ("one", "two"):
        house.add(BatchKey(name))
        assert house.run(BatchKey(name), "a").success
    fail_half(house, BatchKey("three"))
    taken_out = RemovedBatch(at=NOW, reason="a test")
    RemovedBatches(batches={"two": taken_out, "three": taken_out}).save(house.root.lineage("main").removed)
    assert [(status.batch, status.state) for status in batch_statuses(house.instance, house.root)] == [
        ("one", "accepted"), ("three", "removed"), ("two", "removed"),
    ]  # fmt: skip
    status, said = gates()
    assert status == 0
    assert "two was removed from its lineage (a test) and is not published." in said
    assert gates("three")[0] == 1


def test_a_pack_waits_and_says_for_what(house: House, gates: Callable[..., tuple[int, str]]) -> None:
    fail_half(house, BatchKey("15k"))
    write_manifest(house.root, "130k", ["a"])
    (house.root.pack_dir("130k") / PACK_SETTINGS_NAME).write_text('{"requires": ["15k"]}', encoding="utf-8")
    waiting = state_of(house, "130k")
    assert (waiting.state, len(waiting.waiting_for)) == ("waiting", 1)
    assert "15k" in waiting.waiting_for[0]
    assert "Pack '130k' waits for pack '15k'" in gates("130k")[1]


def test_a_failed_run_is_told_with_its_reason(house: House) -> None:
    batch = BatchKey("pack")
    house.add(batch)
    house.root.batch(batch).frames_index.unlink()
    assert not house.run(batch, "a").success
    status = state_of(house, "pack")
    assert status.state == "unfinished"
    assert "its last run failed" in str(status.problem)
    assert "frames-index.jsonl" in str(status.problem)


def test_the_status_is_the_guards_word_for_every_batch(house: House) -> None:
    house.add(BatchKey("good"))
    house.run(BatchKey("good"), "a")
    fail_half(house, BatchKey("bad"))
    stop_rendering(house, BatchKey("half"))
    house.add(BatchKey("stale"))
    house.run(BatchKey("stale"), "a")
    house.make(BatchKey("stale"), "frames", checks=False)
    for status in batch_statuses(house.instance, house.root):
        problem = acceptance_problem(house.instance, house.root, BatchKey.parse(status.batch), PUBLISHED_STAGE)
        assert status.accepted == (problem is None), status


# ---------------------------------------------------------------------- the page


def materialise_report(house: House, config: dict[str, Any] | None = None) -> dg.AssetMaterialization:
    resources = {"data_root": DataRootResource(path=str(house.root.path))}
    run_config = {"ops": {"gate_report": {"config": config or {}}}}
    done = dg.materialize([gate_report_asset], instance=house.instance, resources=resources, run_config=run_config)
    (event,) = done.asset_materializations_for_node("gate_report")
    return event


def test_the_asset_writes_page_figures_and_diary(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIVJ_UI_URL", "http://127.0.0.1:3456")
    house.add(BatchKey("good"))
    run_id = house.run(BatchKey("good"), "a").run_id
    fail_half(house, BatchKey("bad"))
    event = materialise_report(house)
    page = house.root.gate_report(".html").read_text(encoding="utf-8")
    assert f'href="http://127.0.0.1:3456/runs/{run_id}"' in page
    assert 'href="good/qa-samples/index.html"' in page
    report = GateReport.load(house.root.gate_report(".json"))
    assert report.counts == {"accepted": 1, "rejected": 1}
    assert [status.state for status in report.batches] == ["rejected", "accepted"]
    assert (event.metadata["accepted"].value, event.metadata["rejected"].value) == (1, 1)
    assert "| bad | rejected | 0.5000 failed |" in str(event.metadata["gates"].value)
    diary = house.root.execution_status.read_text(encoding="utf-8")
    assert "good" in diary
    assert "bad" in diary

    materialise_report(house, {"ui_url": "http://vj.example:3000/"})
    assert f'href="http://vj.example:3000/runs/{run_id}"' in house.root.gate_report(".html").read_text(encoding="utf-8")


def test_a_data_root_without_batches_has_a_page_too(house: House) -> None:
    event = materialise_report(house)
    assert event.metadata["batches"].value == 0
    assert "No batch yet" in house.root.gate_report(".html").read_text(encoding="utf-8")


def test_only_batches_with_news_are_named(house: House) -> None:
    for name in ("one", "two"):
        house.add(BatchKey(name))
    assert make_gate_report(house.instance, house.root)[1] == [BatchKey("one"), BatchKey("two")]
    assert make_gate_report(house.instance, house.root)[1] == []
    house.run(BatchKey("two"), "a")
    assert make_gate_report(house.instance, house.root)[1] == [BatchKey("two")]


def test_a_page_that_cannot_be_written_stops_no_command(house: House, tmp_path: Path) -> None:
    from io import StringIO

    from rich.console import Console

    house.root.gate_report(".html").mkdir(parents=True)
    console = Console(file=StringIO(), width=200)
    with gate_report_at_end(house.instance, house.root, console):
        pass
    assert "is not brought up to date" in console.file.getvalue()  # type: ignore[attr-defined]
    with pytest.raises(KeyError), gate_report_at_end(house.instance, house.root, console):
        raise KeyError
