"""A rejected batch and the run that the sensor or `aivj remedy` starts for it, by Dagster's real records."""

from __future__ import annotations

import json
from collections.abc import Mapping

import dagster as dg
import pytest

from aivj_assets.contracts.frames_index import read_records, write_records
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, sha256_file
from aivj_assets.orchestration.instance import MANIFEST_TAG
from aivj_assets.orchestration.remedies import (
    AFTER_TAG,
    BEFORE_TAG,
    REMEDY_TAG,
    Treatment,
    find_treatment,
    remedy_facts,
    try_remedies,
)
from aivj_assets.orchestration.resources import DataRootResource
from aivj_assets.orchestration.stages import STAGES
from aivj_assets.render.diagnose import NoRemedy
from aivj_assets_tests.builders import write_frames_meta, write_index
from aivj_assets_tests.house import House

ONE, TWO = BatchKey("big", "batch-0001"), BatchKey("big", "batch-0002")
EVERYTHING = dg.AssetSelection.assets(*STAGES)


def run(house: House, batch: BatchKey, tags: Mapping[str, str] | None = None) -> dg.ExecuteInProcessResult:
    house.weights = "a" * 64
    manifest = {MANIFEST_TAG: sha256_file(house.root.manifest(batch))}
    return house.materialize(EVERYTHING, batch.key, {**manifest, **(tags or {})})


def timeouts(house: House, batch: BatchKey, ids: list[str], **parameters: int) -> None:
    write_index(house.root, batch.key, ids, failed=dict.fromkeys(ids[:5], "probe-timeout"))
    write_frames_meta(house.root, batch.key, **parameters)


def alike(house: House, batch: BatchKey, ids: list[str]) -> None:
    folder = write_index(house.root, batch.key, ids, same_first_frame=ids[:10])
    records = list(read_records(folder.frames_index).values())
    for number, record in enumerate(records):
        record.preset_sha256 = f"{number:064d}"
    write_records(folder.frames_index, records)
    write_frames_meta(house.root, batch.key)


def asked(house: House, failed: dg.ExecuteInProcessResult) -> dg.RunRequest | str:
    context = dg.build_run_status_sensor_context(
        "try_remedies", failed.get_run_failure_event(), house.instance, failed.dagster_run,
        resources={"data_root": DataRootResource(path=str(house.root.path))},
    )  # fmt: skip
    answer = try_remedies(context)
    assert isinstance(answer, dg.RunRequest | dg.SkipReason)
    return answer if isinstance(answer, dg.RunRequest) else str(answer.skip_message)


def test_a_batch_of_timeouts_is_run_again_with_more_time_twice_at_most(house: House) -> None:
    ids = house.add(ONE)
    timeouts(house, ONE, ids, warmup_frames=75)
    first = run(house, ONE)
    request = asked(house, first)
    assert isinstance(request, dg.RunRequest)
    frames = request.run_config["ops"]["frames"]["config"]
    # Pixel parameters stay as the batch has them, or all of it would be rendered again.
    assert (frames["timeoutMs"], frames["warmupFrames"], frames["retryFailed"]) == (45_000, 75, True)
    assert request.partition_key == ONE.key
    assert request.tags[REMEDY_TAG] == "timeoutMs 30000 -> 45000 for ok_rate (5 of 5 failures are timeouts)"
    before = json.loads(request.tags[BEFORE_TAG])
    assert (before["ok_rate"], before["failed"], before["try"]) == (0.75, 5, 1)
    assert asked(house, first) == request

    timeouts(house, ONE, ids, warmup_frames=75, timeout_ms=45_000)
    second = asked(house, run(house, ONE, request.tags))
    assert isinstance(second, dg.RunRequest)
    assert second.run_config["ops"]["frames"]["config"]["timeoutMs"] == 67_500
    timeouts(house, ONE, ids, warmup_frames=75, timeout_ms=67_500)
    told = asked(house, run(house, ONE, second.tags))
    assert told == "big/batch-0001: 2 remedies were tried; a person has to look at it"
    # Another manifest has its own tries.
    manifest = Manifest.load(house.root.manifest(ONE))
    manifest.generated_at = "2026-02-01T00:00:00.000Z"
    manifest.save(house.root.manifest(ONE))
    timeouts(house, ONE, ids)
    assert isinstance(asked(house, run(house, ONE)), dg.RunRequest)


def test_what_came_of_it_stands_in_the_run_and_in_the_metadata(house: House) -> None:
    ids = house.add(ONE)
    timeouts(house, ONE, ids)
    request = asked(house, run(house, ONE))
    assert isinstance(request, dg.RunRequest)
    write_index(house.root, ONE.key, ids)
    write_frames_meta(house.root, ONE.key, timeout_ms=45_000)
    done = run(house, ONE, request.tags)
    assert done.success
    manifest, folder = Manifest.load(house.root.manifest(ONE)), house.root.batch(ONE)
    facts = remedy_facts(house.instance, done.dagster_run, manifest, folder)
    assert facts["remedy"] == request.tags[REMEDY_TAG]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in facts["remedy_figures"].value.splitlines()]
    assert [row[2:] for row in rows if row[0] == "ok_rate"] == [["0.75", "1"]]
    assert ["failed presets", "", "5", "0"] in rows
    kept = house.instance.get_run_by_id(done.run_id)
    assert kept is not None
    assert json.loads(kept.tags[AFTER_TAG])["ok_rate"] == 1
    other = run(house, ONE)
    assert remedy_facts(house.instance, other.dagster_run, manifest, folder) == {}


def test_a_pixel_remedy_is_left_to_a_person_where_the_lineage_is_frozen(house: House) -> None:
    ids = house.add(TWO)
    alike(house, TWO, ids)
    failed = run(house, TWO)
    request = asked(house, failed)
    assert isinstance(request, dg.RunRequest)
    frames = request.run_config["ops"]["frames"]["config"]
    assert (frames["warmupFrames"], frames["captureEvery"], "retryFailed" in frames) == (90, 30, False)

    house.add(ONE)
    assert run(house, ONE).success
    told = asked(house, failed)
    assert isinstance(told, str)
    assert "warmupFrames 60 -> 90 for top_same would need a re-freeze" in told
    assert "aivj remedy big/batch-0002" in told
    treatment = find_treatment(house.instance, house.root, TWO)
    assert isinstance(treatment, Treatment)
    assert treatment.frozen_problem is not None
    assert "warmupFrames: 60 -> 90" in treatment.frozen_problem


def test_only_what_is_rejected_and_what_the_run_made_is_remedied(house: House) -> None:
    ids = house.add(ONE)
    with pytest.raises(UserError, match="not rejected: it is not materialised"):
        find_treatment(house.instance, house.root, ONE)
    timeouts(house, ONE, ids)
    rejected = run(house, ONE)
    # A later run that failed before it made frames is no reason to try anything.
    alone = house.make(ONE, "embeddings", checks=True)
    assert asked(house, alone) == "the frames of no batch are of this run"
    write_index(house.root, ONE.key, ids, failed=dict.fromkeys(ids[:5], "shader-compile-failed"))
    write_frames_meta(house.root, ONE.key)
    told = asked(house, run(house, ONE))
    assert isinstance(told, str)
    assert "no change of a parameter fits: few failures are timeouts (shader-compile-failed 5)" in told
    assert isinstance(find_treatment(house.instance, house.root, ONE), NoRemedy)
    assert asked(house, rejected) == "the frames of no batch are of this run"
    write_index(house.root, ONE.key, ids)
    write_frames_meta(house.root, ONE.key)
    assert run(house, ONE).success
    with pytest.raises(UserError, match="its frames are accepted"):
        find_treatment(house.instance, house.root, ONE)


def test_the_sensor_is_off_until_a_person_starts_it() -> None:
    assert try_remedies.default_status == dg.DefaultSensorStatus.STOPPED
