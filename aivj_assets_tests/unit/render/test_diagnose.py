"""Which change of a parameter fits a rejected batch, by what its records say."""

from pathlib import Path

import pytest

from aivj_assets.contracts.frames_index import FailedRecord, OkRecord
from aivj_assets.contracts.gates import GATES, GateVerdict
from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.layout import BatchDir
from aivj_assets.render.diagnose import NoRemedy, RejectedBatch, Remedy, choose_remedy
from aivj_assets_tests.builders import failed_record, ok_record, write_frame


def batch(folder: Path, kinds: str, *, same: int = 0, copies: bool = False, **parameters: int) -> RejectedBatch:
    """`kinds`: a letter a preset in manifest order: o ok, t timeout, s shader; the first `same` ok ones look alike."""
    records: list[OkRecord | FailedRecord] = []
    for number, kind in enumerate(kinds):
        name, at = f"p{number:03d}", f"2026-01-31T12:{number // 60:02d}:{number % 60:02d}.000Z"
        if kind == "o":
            sha = "c" * 64 if copies and number < same else f"{number:064d}"
            record = ok_record(name, "big", captures=1, preset_sha256=sha).model_copy(update={"at": at})
            write_frame(folder / record.frames[0], seed=0 if number < same else number + 1, luma=0.5)
            records.append(record)
        else:
            reason = "probe-timeout" if kind == "t" else "shader-compile-failed"
            records.append(failed_record(name, "big", reason).model_copy(update={"at": at}))
    return RejectedBatch(records, RenderParameters.model_validate(parameters), BatchDir(folder))


def failing(*names: str) -> list[GateVerdict]:
    return [GateVerdict(gate, 0.0, gate.name not in names, {}) for gate in GATES]


def chosen(found: Remedy | NoRemedy) -> tuple[str, int, int, bool]:
    assert isinstance(found, Remedy), found
    return found.parameter, found.current, found.value, found.is_pixel


def test_timeouts_get_a_longer_deadline_again_and_again(tmp_path: Path) -> None:
    kinds = "o" * 20 + "ttts" * 2 + "o" * 20
    found = choose_remedy(batch(tmp_path, kinds), failing("ok_rate"))
    assert chosen(found) == ("timeoutMs", 30_000, 45_000, False)
    assert isinstance(found, Remedy)
    assert found.evidence == "6 of 8 failures are timeouts"
    later = choose_remedy(batch(tmp_path, kinds, timeoutMs=45_000), failing("ok_rate"))
    assert chosen(later) == ("timeoutMs", 45_000, 67_500, False)


def test_failures_that_rise_along_the_batch_get_shorter_lives_of_a_browser(tmp_path: Path) -> None:
    kinds = "o" * 40 + "so" * 10 + "sso" * 5
    found = choose_remedy(batch(tmp_path, kinds), failing("ok_rate"))
    assert chosen(found) == ("refreshEvery", 100, 50, False)
    assert isinstance(found, Remedy)
    assert "0 in its first half" in found.evidence
    again = choose_remedy(batch(tmp_path, kinds, refreshEvery=50), failing("ok_rate"))
    assert chosen(again) == ("refreshEvery", 50, 25, False)


def test_failures_that_rise_along_the_night_count_too(tmp_path: Path) -> None:
    """Rendered backwards: what the manifest has first came last."""
    made = batch(tmp_path, ("o" * 40 + "so" * 10 + "sso" * 5)[::-1])
    for record in made.records:
        minute, second = divmod(99 - int(record.preset_id[1:]), 60)
        record.at = f"2026-01-31T12:{minute:02d}:{second:02d}.000Z"
    found = choose_remedy(made, failing("ok_rate"))
    assert chosen(found)[:1] == ("refreshEvery",)
    assert isinstance(found, Remedy)
    assert "rise along the run" in found.evidence


@pytest.mark.parametrize("kinds", ["so" * 20, "s" * 8 + "o" * 60, "o" * 60 + "sss"])
def test_presets_that_cannot_work_are_no_matter_of_parameters(tmp_path: Path, kinds: str) -> None:
    """Spread evenly, falling, and too few to tell."""
    found = choose_remedy(batch(tmp_path, kinds), failing("ok_rate"))
    assert isinstance(found, NoRemedy)
    assert "shader-compile-failed" in found.advice
    assert "take presets out of the manifest" in found.advice


def test_pictures_alike_get_a_longer_warm_up_then_captures_further_apart(tmp_path: Path) -> None:
    alike = batch(tmp_path, "o" * 20, same=8)
    found = choose_remedy(alike, failing("top_same"))
    assert chosen(found) == ("warmupFrames", 60, 90, True)
    assert isinstance(found, Remedy)
    assert found.evidence == "8 of 20 first frames are the same, of 8 different presets"
    second = choose_remedy(batch(tmp_path, "o" * 20, same=8, warmupFrames=90), failing("top_same"))
    assert chosen(second) == ("captureEvery", 30, 60, True)
    third = choose_remedy(batch(tmp_path, "o" * 20, same=8, warmupFrames=90, captureEvery=60), failing("top_same"))
    assert isinstance(third, NoRemedy)
    assert third.advice == "warmupFrames is 90 already; captureEvery is 60 already"


def test_copies_of_one_preset_are_told_from_an_initial_state(tmp_path: Path) -> None:
    found = choose_remedy(batch(tmp_path, "o" * 20, same=8, copies=True), failing("top_same", "luma_range"))
    assert isinstance(found, NoRemedy)
    assert found.advice == "8 presets with the same first frame are copies of 1: import with --dedupe"


def test_each_range_has_its_parameter_and_failed_presets_go_first(tmp_path: Path) -> None:
    assert chosen(choose_remedy(batch(tmp_path, "o" * 9), failing("luma_range")))[0] == "warmupFrames"
    assert chosen(choose_remedy(batch(tmp_path, "o" * 9), failing("motion_range")))[0] == "captureEvery"
    both = choose_remedy(batch(tmp_path, "o" * 9 + "ttt"), failing("luma_range", "ok_rate"))
    assert chosen(both)[0] == "timeoutMs"
    assert isinstance(choose_remedy(batch(tmp_path, "o" * 9), failing()), NoRemedy)


def test_every_declared_change_is_a_parameter_whose_default_it_changes() -> None:
    defaults = RenderParameters().model_dump(by_alias=True)
    changes = [change for gate in GATES for change in gate.changes]
    assert {str(change) for change in changes} == {
        "timeoutMs 45000", "refreshEvery 50", "warmupFrames 90", "captureEvery 60",
    }  # fmt: skip
    for change in changes:
        assert change.next_value(defaults[change.parameter]) == change.value
    for gate in GATES:
        assert all(str(change) in gate.remedy for change in gate.changes), gate.name
