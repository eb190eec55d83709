"""Near-duplicates and misfits in a real run: the file, the figures, the warnings, and what a person decided."""

from __future__ import annotations

import shutil
from typing import Any

import dagster as dg
import numpy as np
import pytest
from PIL import Image

from aivj_assets.contracts.frames_index import OkRecord, read_records
from aivj_assets.contracts.qa_duplicates import DUPLICATES_NAME, QaDuplicates
from aivj_assets.contracts.run_meta import RunMeta
from aivj_assets.contracts.verdicts import LineageVerdicts, PresetDecision
from aivj_assets.layout import BatchKey
from aivj_assets_tests.builders import NOW
from aivj_assets_tests.house import House
from aivj_assets_tests.picture_builders import drawn, stored

ONE, TWO = BatchKey("big", "batch-0001"), BatchKey("big", "batch-0002")


def show(house: House, batch: BatchKey, preset_id: str, seed: int, quality: int = 92) -> None:
    """Give a preset the captures of a picture; quality 0: black ones."""
    record = read_records(house.root.batch(batch).frames_index)[preset_id]
    assert isinstance(record, OkRecord)
    for number, frame in enumerate(record.frames):
        image = drawn(seed, side=96, phase=number) if quality else Image.new("RGB", (96, 96))
        stored(image, house.root.batch(batch).path / frame, quality or 92)


def like(house: House, batch: BatchKey, ids: list[str], first: int, *others: int) -> None:
    """Let rows of some presets be nearly that of the first."""
    rows = house.rows.setdefault(batch.key, house.embedded(batch).vectors.copy())
    for other in others:
        rows[other] = rows[first] + 0.01 * np.eye(16, dtype=np.float32)[other % 16]


def fill(house: House) -> list[str]:
    """Add a batch in which 1 is 0 re-saved, 2 a copy of 0, and 3 black."""
    ids = house.add(ONE)
    show(house, ONE, ids[0], 1)
    show(house, ONE, ids[1], 1, quality=70)
    show(house, ONE, ids[2], 1)
    show(house, ONE, ids[3], 1, quality=0)
    like(house, ONE, ids, 0, 1, 2)
    return ids


def found(house: House, batch: BatchKey = ONE) -> QaDuplicates:
    return QaDuplicates.load(house.root.batch(batch).qa_dir / DUPLICATES_NAME)


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node("qa_samples")
    return {name: value.value for name, value in event.metadata.items()}


def warned(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {
        check.check_name: check.passed
        for check in result.get_asset_check_evaluations()
        if check.check_name in {"near_duplicates", "misfits"} and check.severity is dg.AssetCheckSeverity.WARN
    }


def test_a_run_lists_them_counts_them_and_warns_without_stopping(house: House) -> None:
    ids = fill(house)
    result = house.run(ONE, "a")
    assert result.success
    assert house.accepted(ONE)
    (group,) = found(house).groups
    assert (group.keep, {one.preset_id for one in group.presets}) == (ids[0], set(ids[:3]))
    assert [one.preset_id for one in group.presets if one.exact] == [ids[2]]
    assert [(one.preset_id, one.flags) for one in found(house).misfits] == [(ids[3], ["black", "flat"])]
    counts = RunMeta.load(house.root.batch(ONE).run_meta).counts
    assert {name: counts[name] for name in ("unique", "exactDuplicates", "nearDuplicates", "misfits")} == {
        "unique": 17, "exactDuplicates": 1, "nearDuplicates": 1, "misfits": 1,
    }  # fmt: skip
    facts = metadata(result)
    names = ("unique", "exact_duplicates", "near_duplicates", "duplicate_groups", "misfits")
    assert [facts[name] for name in names] == [17, 1, 1, 1, 1]
    assert "cosine of at least 0.98" in facts["near_duplicate_thresholds"]
    # 2 of 20 are not above a tenth.
    assert warned(result) == {"near_duplicates": True, "misfits": True}


def test_above_a_tenth_the_checks_warn_and_the_batch_stays_accepted(house: House) -> None:
    ids = fill(house)
    show(house, ONE, ids[4], 1, quality=60)
    like(house, ONE, ids, 0, 4)
    for preset_id in ids[5:7]:
        show(house, ONE, preset_id, 1, quality=0)
    result = house.run(ONE, "a")
    assert result.success
    assert house.accepted(ONE)
    assert warned(result) == {"near_duplicates": False, "misfits": False}


def test_thresholds_are_settings_of_the_asset(house: House) -> None:
    fill(house)
    assert house.run(ONE, "a").success
    config = {"ops": {"qa_samples": {"config": {"maxHashDistance": 2, "minCosine": 0.99999}}}}
    result = house.materialize(dg.AssetSelection.assets("qa_samples"), ONE.key, run_config=config)
    assert result.success
    assert found(house).counts.near_duplicates == 0
    assert found(house).counts.exact_duplicates == 1
    assert (found(house).thresholds.max_hash_distance, found(house).thresholds.min_cosine) == (2, 0.99999)
    assert "at most 2 of 64 bits" in metadata(result)["near_duplicate_thresholds"]


def test_what_a_person_decided_before_is_kept_and_not_asked_for_again(house: House) -> None:
    ids = fill(house)
    assert house.run(ONE, "a").success
    decided = {ids[1]: "keep", ids[2]: "drop", ids[3]: "drop"}
    LineageVerdicts(
        generated_at=NOW, lineage="main",
        presets={name: PresetDecision(choice=choice, at=NOW, batch=ONE.key) for name, choice in decided.items()},  # type: ignore[arg-type]
    ).save(house.root.lineage("main").verdicts)  # fmt: skip
    assert house.make(ONE, "qa_samples", checks=True).success
    (group,) = found(house).groups
    assert (group.keep, group.reason, [one.preset_id for one in group.presets]) == (
        ids[1],
        "kept before",
        [ids[1], ids[0]],
    )
    assert found(house).misfits == []
    assert found(house).counts.presets == 18


def test_presets_of_the_packs_other_batches_are_told(house: House) -> None:
    ids = fill(house)
    assert house.run(ONE, "a").success
    more = house.add(TWO)
    show(house, TWO, more[5], 1, quality=80)
    like(house, TWO, more, 5)
    house.rows[TWO.key][5] = house.rows[ONE.key][0] + 0.01
    assert house.run(TWO, "a").success
    (one,) = found(house, TWO).elsewhere
    assert (one.preset_id, one.batch) == (more[5], ONE.key)
    assert one.other_preset_id in ids[:3]
    assert (house.root.batch(ONE).path / one.other_frame).is_file()
    assert found(house, ONE).elsewhere == []


def test_checks_of_a_folder_without_the_file_fail_in_one_line(house: House) -> None:
    fill(house)
    assert house.run(ONE, "a").success
    (house.root.batch(ONE).qa_dir / DUPLICATES_NAME).unlink()
    result = house.judge(ONE, "qa_samples")
    assert result.success
    assert warned(result) == {"near_duplicates": False, "misfits": False}
    told = [check.description or "" for check in result.get_asset_check_evaluations() if check.check_name == "misfits"]
    assert told[0].endswith("does not exist. Materialise qa_samples again.")


def test_a_made_again_folder_says_the_same(house: House) -> None:
    fill(house)
    assert house.run(ONE, "a").success
    path = house.root.batch(ONE).qa_dir / DUPLICATES_NAME
    before = path.read_bytes()
    shutil.rmtree(house.root.batch(ONE).qa_dir)
    assert house.make(ONE, "qa_samples", checks=False).success
    assert path.read_bytes() == before


@pytest.mark.parametrize("value", [-1, 65])
def test_a_distance_that_cannot_be_is_refused_before_anything_runs(house: House, value: int) -> None:
    fill(house)
    config = {"ops": {"qa_samples": {"config": {"maxHashDistance": value}}}}
    result = house.materialize(dg.AssetSelection.assets("qa_samples"), ONE.key, run_config=config)
    assert not result.success
    assert not house.root.batch(ONE).qa_dir.exists()
