"""`aivj rehearse`, its asset and its check over packs whose published files lie there."""

from __future__ import annotations

import json
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from dagster import AssetKey

from aivj_assets.contracts.progress import WorkProgress
from aivj_assets.contracts.rehearsal import Rehearsal, Violation
from aivj_assets.contracts.show_log import PickLine, read_show_log
from aivj_assets.layout import DataRoot, write_json_atomic
from aivj_assets.orchestration.assets import rehearsal as asset_module
from aivj_assets.orchestration.assets.rehearsal import (
    STAGES,
    RehearsalConfig,
    make_rehearsal,
    rehearsal,
    rehearsal_clean,
    stage_of,
)
from aivj_assets.orchestration.commands import pack as pack_command
from aivj_assets.orchestration.commands import rehearsal as command_module
from aivj_assets.orchestration.instance import open_instance
from aivj_assets.orchestration.launch import RunOutcome, explain_run
from aivj_assets.orchestration.partitions import PACKS
from aivj_assets.orchestration.resources import DataRootResource
from aivj_assets_tests.builders import seed_storage, write_manifest
from aivj_assets_tests.integration.orchestration.conftest import Says
from aivj_assets_tests.rehearsal_builders import publish

PACK, EMPTY, RAW = "big", "empty", "raw"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> DataRoot:
    made = DataRoot(tmp_path_factory.mktemp("rehearsal") / "root")
    seed_storage(made, tmp_path_factory)
    publish(made, PACK, 60, 6)
    publish(made, EMPTY, 3, 1)
    index = made.published_files(EMPTY)[-1]
    write_json_atomic(index, {**json.loads(index.read_text(encoding="utf-8")), "entries": []})
    write_manifest(made, RAW, ["p0000"])
    return made


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("music") / "A song, für dich.wav"
    samples = np.random.default_rng(1).integers(-9000, 9000, 40 * 8000).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(samples.tobytes())
    return path


def facts(root: DataRoot, pack: str = PACK) -> Rehearsal:
    return Rehearsal.load(root.rehearsal_dir(pack) / "rehearsal.json")


def files(root: DataRoot, pack: str = PACK) -> dict[str, bytes]:
    folder = root.rehearsal_dir(pack)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def materialized(root: DataRoot, instance: dg.DagsterInstance, **config: object) -> dg.ExecuteInProcessResult:
    instance.add_dynamic_partitions(str(PACKS.name), [PACK])
    return dg.materialize(
        [rehearsal, rehearsal_clean], partition_key=PACK, instance=instance, raise_on_error=False,
        run_config={"ops": {"rehearsal": {"config": config}}},
        resources={"data_root": DataRootResource(path=str(root.path))},
    )  # fmt: skip


def test_the_command_plays_a_file_and_leaves_a_folder_and_a_recorded_check(
    root: DataRoot, says: Says, song: Path
) -> None:
    status, out, err = says("rehearse", PACK, str(song), "--seed", "4")
    assert (status, err) == (0, "")
    made = facts(root)
    ours = made.figures("selector")
    assert (made.track.name, made.generated, made.seed) == (song.name, False, 4)
    assert made.track.duration_s == 40
    assert f"Rehearsal of 'big' with {song.name}, 0.7 min: {ours.picks} picks" in out
    assert f"Rules broken in {ours.picks} picks: none; picks with a relaxed rule: 0.0%." in out
    assert str(root.rehearsal_dir(PACK) / "index.html") in out
    assert set(files(root)) == {
        "index.html", "picks.jsonl", "selection.log", "rehearsal.json", "pictures/sheet-000.webp",
    }  # fmt: skip
    picks = [line for line in read_show_log(root.rehearsal_dir(PACK) / "picks.jsonl") if isinstance(line, PickLine)]
    # The app's line tells motion and tier as the pack's run manifest knows them.
    first = (root.rehearsal_dir(PACK) / "selection.log").read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith(f"selected preset {picks[0].preset_id} (aivj-style) [m=")
    assert made.without_picture == 0
    assert not root.rehearsal_progress(PACK).exists()
    with open_instance(root, {}) as instance:
        record = instance.get_latest_materialization_event(AssetKey("rehearsal"))
        assert record is not None
        assert record.asset_materialization is not None
        assert record.asset_materialization.metadata["picks"].value == ours.picks
        check = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(AssetKey("rehearsal"), "rehearsal_clean"), limit=1
        )
        assert [one.status.value for one in check] == ["SUCCEEDED"]


def test_json_is_all_that_is_printed_and_the_asset_gets_what_was_given(
    root: DataRoot, says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Mapping[str, object]] = []

    def made(*arguments: Any, **_: object) -> bool:
        given.append(arguments[4])
        make_rehearsal(root, PACK, RehearsalConfig(minutes=0.5, seed=2))
        return True

    monkeypatch.setattr(command_module, "make_pack_asset", made)
    status, out, _ = says("rehearse", PACK, "--minutes", "0.5", "--seed", "2", "--json")
    assert status == 0
    told = json.loads(out)
    assert told == facts(root).to_json()
    assert given == [{"audio": None, "minutes": 0.5, "seed": 2, "video": False}]
    assert (told["generated"], told["track"]["durationS"]) == (True, 30)
    assert [play["play"] for play in told["plays"]] == ["selector", "listOrder", "random"]


def test_a_broken_rule_fails_the_check_with_its_evidence(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Violation(rule="dwell", time_s=12.5, preset_id="p0001", detail="it left after 3 s | groove asks for 16")
    write = asset_module.write_rehearsal

    def broken(*arguments: object, **more: object) -> Rehearsal:
        made = write(*arguments, **more)  # type: ignore[arg-type]
        ours = made.figures("selector").model_copy(update={"violations": {"dwell": 1}})
        others = [made.figures("listOrder"), made.figures("random")]
        told = made.model_copy(update={"violations": [wrong], "plays": [ours, *others]})
        told.save(arguments[0] / "rehearsal.json")  # type: ignore[operator]
        return told

    monkeypatch.setattr(asset_module, "write_rehearsal", broken)
    with open_instance(root, {}) as instance:
        result = materialized(root, instance, minutes=0.5)
        (judged,) = result.get_asset_check_evaluations()
    assert result.success
    assert not judged.passed
    assert judged.description is not None
    assert "rules broken" in judged.description
    assert "dwell 1" in judged.description
    assert judged.metadata["violations"].value == 1
    assert "it left after 3 s \\| groove asks for 16" in str(judged.metadata["broken"].value)
    (event,) = result.asset_materializations_for_node("rehearsal")
    assert "| dwell | 1 |" in str(event.metadata["violations_by_rule"].value)
    assert "| rules broken |" in str(event.metadata["comparison"].value)


def test_a_command_whose_rehearsal_is_not_clean_says_where_and_ends_with_1(
    root: DataRoot, says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = facts(root)
    ours = made.figures("selector").model_copy(update={"violations": {"stall": 7}})
    late = [Violation(rule="stall", time_s=60.0 + number, detail="due for 11.0 s") for number in range(7)]
    told = made.model_copy(update={"violations": late, "plays": [ours, *made.plays[1:]], "video_note": "No ffmpeg."})
    # What a run of the asset leaves behind.
    monkeypatch.setattr(command_module, "make_pack_asset", lambda *_, **__: True)
    told.save(root.rehearsal_dir(PACK) / "rehearsal.json")
    status, out, _ = says("rehearse", PACK, "--video")
    made.save(root.rehearsal_dir(PACK) / "rehearsal.json")
    assert status == 1
    assert f"Rules broken in {ours.picks} picks: stall 7;" in out
    assert "60.0 s: stall: due for 11.0 s" in out
    assert out.count("due for 11.0 s") == 5
    assert "No ffmpeg." in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("gone",), "There is no pack 'gone'"),
        ((RAW,), "Pack 'raw' is not published, so that there is nothing to pick from: aivj run raw"),
        ((EMPTY,), "lists no preset; publish the pack again: aivj publish empty"),
        ((PACK, "no-such-file.wav"), "no-such-file.wav does not exist: give a wav, flac, ogg or mp3 file."),
        ((PACK, "."), "is no file: give a wav, flac, ogg or mp3 file."),
        ((PACK, "x.wav", "--minutes", "3"), "--minutes is for a generated set; a file is played whole."),
    ],
)
def test_what_cannot_be_rehearsed_is_one_line_and_no_run(
    root: DataRoot, says: Says, arguments: tuple[str, ...], told: str
) -> None:
    with open_instance(root, {}) as instance:
        before = instance.get_runs_count()
    status, out, err = says("rehearse", *arguments)
    assert (status, out) == (2, "")
    assert told in err
    assert err.strip().count("\n") == 0
    with open_instance(root, {}) as instance:
        assert instance.get_runs_count() == before


def test_a_file_that_is_no_sound_fails_in_one_line_and_the_rehearsal_before_stays(
    root: DataRoot, tmp_path: Path
) -> None:
    make_rehearsal(root, PACK, RehearsalConfig(minutes=0.2))
    before = files(root)
    broken = tmp_path / "broken.mp3"
    broken.write_bytes(b"this is no sound" * 40)
    with open_instance(root, {}) as instance:
        result = materialized(root, instance, audio=str(broken))
        problems, rejected, _ = explain_run(instance, result.run_id)
    assert not result.success
    (problem,) = problems
    assert "broken.mp3 is no sound that can be read" in problem
    assert "\n" not in problem
    assert rejected == []
    assert files(root) == before
    assert not root.rehearsal_progress(PACK).exists()


def test_ctrl_c_leaves_the_rehearsal_before(root: DataRoot, says: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(pack_command, "run_pack_job", lambda *_: RunOutcome("run", success=False, interrupted=True))
        status, _, err = says("rehearse", PACK, "--minutes", "0.2")
    assert status == 130
    assert err.strip() == "Stopped. An earlier rehearsal stays as it was."


def test_the_bar_names_the_stage_that_is_under_way(tmp_path: Path) -> None:
    total = sum(STAGES.values())
    begins = [sum(list(STAGES.values())[:number]) for number in range(len(STAGES))]
    assert [stage_of(WorkProgress(done=begin, total=total)) for begin in begins] == list(STAGES)
    assert stage_of(WorkProgress(done=total, total=total)) == "video"
