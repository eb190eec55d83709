from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from aivj_assets.contracts.frames_index import FailedRecord, OkRecord, read_records
from aivj_assets.contracts.gates import GATES, OK_RATE, BatchFigures, GateVerdict, evaluate_gates, measure_batch
from aivj_assets.layout import DataRoot
from aivj_assets_tests.builders import failed_record, ok_record, write_frame, write_index

Records = Mapping[str, OkRecord | FailedRecord]


def figures(
    *,
    total: int = 100,
    ok: int = 100,
    top_same: int | None = 1,
    luma: tuple[float | None, float | None] = (0.0, 1.0),
    motion: tuple[float | None, float | None] = (0.0, 1.0),
) -> BatchFigures:
    return BatchFigures(total, ok, total - ok, {}, top_same, ok, *luma, *motion)


def verdict(name: str, batch: BatchFigures) -> GateVerdict:
    return next(verdict for verdict in evaluate_gates(batch) if verdict.gate.name == name)


def test_the_gates_are_those_of_the_contract() -> None:
    assert [(gate.name, gate.comparison, gate.threshold) for gate in GATES] == [
        ("ok_rate", ">=", 0.95),
        ("top_same", "<", 0.20),
        ("luma_range", ">", 0.3),
        ("motion_range", ">", 0.05),
    ]
    assert all(gate.rule and gate.remedy for gate in GATES)


@pytest.mark.parametrize("total", [20, 60, 2000, 15_000, 130_000])
def test_ok_rate_passes_at_95_percent_and_fails_one_below(total: int) -> None:
    ok = total * 95 // 100
    assert verdict("ok_rate", figures(total=total, ok=ok)).passed
    assert not verdict("ok_rate", figures(total=total, ok=ok - 1)).passed


@pytest.mark.parametrize("ok", [5, 60, 2000, 130_000])
def test_top_same_fails_at_20_percent_and_passes_one_below(ok: int) -> None:
    assert not verdict("top_same", figures(ok=ok, total=ok, top_same=ok // 5)).passed
    assert verdict("top_same", figures(ok=ok, total=ok, top_same=ok // 5 - 1)).passed


# Pairs whose difference is no exact binary fraction: 0.4 - 0.1 > 0.3, 0.55 - 0.5 > 0.05.
@pytest.mark.parametrize("low", [0.0, 0.1, 0.05, 0.2, 0.35, 0.7])
@pytest.mark.parametrize(("name", "threshold"), [("luma_range", 0.3), ("motion_range", 0.05)])
def test_a_range_of_exactly_the_threshold_fails_and_a_little_more_passes(
    name: str, threshold: float, low: float
) -> None:
    def judged(high: float) -> bool:
        batch = figures(luma=(low, high)) if name == "luma_range" else figures(motion=(low, high))
        return verdict(name, batch).passed

    assert not judged(round(low + threshold, 6))
    assert judged(round(low + threshold + 1e-6, 6))
    assert not judged(round(low + threshold - 1e-6, 6))


def test_what_cannot_be_computed_fails_and_says_why(tmp_path: Path) -> None:
    nothing_ok = measure_batch(["a", "b"], {"a": failed_record("a", "p"), "b": failed_record("b", "p")}, tmp_path)
    judged = {verdict.gate.name: verdict for verdict in evaluate_gates(nothing_ok)}
    assert {name: (one.value, one.passed) for name, one in judged.items()} == {
        "ok_rate": (0.0, False),
        "top_same": (None, False),
        "luma_range": (None, False),
        "motion_range": (None, False),
    }
    assert "not computable" in judged["top_same"].sentence
    assert "no preset is ok" in judged["top_same"].sentence
    empty = measure_batch([], {}, tmp_path)
    assert [(one.value, one.passed) for one in evaluate_gates(empty)] == [(None, False)] * 4


def measured(
    tmp_path: Path, manifest_ids: Sequence[str], records: Records, *, seeds: Mapping[str, int] | None = None
) -> BatchFigures:
    for number, record in enumerate(records.values()):
        if isinstance(record, OkRecord):
            seed = (seeds or {}).get(record.preset_id, number)
            write_frame(tmp_path / record.frames[0], seed=seed, luma=0.5)
    return measure_batch(manifest_ids, records, tmp_path)


def test_a_preset_without_a_record_counts_as_failed(tmp_path: Path) -> None:
    records: Records = {"a": ok_record("a", "p"), "b": failed_record("b", "p", "watchdog")}
    found = measured(tmp_path, ["a", "b", "c", "d"], records)
    assert (found.total, found.ok, found.failed) == (4, 1, 3)
    assert found.failure_reasons == {"no-record": 2, "watchdog": 1}
    assert verdict("ok_rate", found).value == 0.25
    assert verdict("ok_rate", found).evidence == {"ok": 1, "failed": 3, "presets": 4}


def test_records_of_presets_outside_the_manifest_do_not_count(tmp_path: Path) -> None:
    records: Records = {
        "a": ok_record("a", "p", luma=0.4, motion=0.2),
        "b": ok_record("b", "p", luma=0.5, motion=0.3),
        "foreign-dark": ok_record("foreign-dark", "p", luma=0.0, motion=0.0),
        "foreign-failed": failed_record("foreign-failed", "p"),
    }
    found = measured(tmp_path, ["a", "b"], records)
    assert (found.total, found.ok, found.failed, found.failure_reasons) == (2, 2, 0, {})
    assert (found.luma_min, found.luma_max, found.motion_min, found.motion_max) == (0.4, 0.5, 0.2, 0.3)


def test_the_commonest_first_frame_is_counted_over_ok_presets_by_content(tmp_path: Path) -> None:
    ids = [f"p{number}" for number in range(10)]
    records: Records = {preset_id: ok_record(preset_id, "p") for preset_id in ids}
    found = measured(tmp_path, ids, records, seeds={"p3": 99, "p5": 99, "p8": 99})
    assert (found.top_same, found.unique_first_frames) == (3, 8)
    judged = verdict("top_same", found)
    assert (judged.value, judged.passed) == (0.3, False)


def gone(path: Path) -> None:
    path.unlink()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def header_only(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:6])


@pytest.mark.parametrize("spoil", [gone, emptied, truncated, header_only])
@pytest.mark.parametrize(("spoiled", "passes"), [(1, True), (5, True), (6, False)])
def test_a_preset_whose_first_frame_is_gone_counts_as_failed_and_no_gate_is_lost(
    tmp_path: Path, spoil: Callable[[Path], None], spoiled: int, passes: bool
) -> None:
    ids = [f"p{number}" for number in range(100)]
    records: Records = {
        preset_id: ok_record(preset_id, "p", luma=0.2 + number / 200, motion=number / 200)
        for number, preset_id in enumerate(ids)
    }
    whole = measured(tmp_path, ids, records)
    assert (whole.ok, whole.unique_first_frames, whole.problem) == (100, 100, None)
    for preset_id in ids[:spoiled]:
        spoil(tmp_path / records[preset_id].frames[0])  # type: ignore[union-attr]
    found = measure_batch(ids, records, tmp_path)
    assert (found.ok, found.failed, found.failure_reasons) == (100 - spoiled, spoiled, {"frame-missing": spoiled})
    # Its figures do not count either: nobody can see what they were taken from.
    assert (found.top_same, found.unique_first_frames) == (1, 100 - spoiled)
    assert found.luma_min == records[ids[spoiled]].metrics.avg_luma  # type: ignore[union-attr]
    judged = {one.gate.name: one.passed for one in evaluate_gates(found)}
    assert judged == {"ok_rate": passes, "top_same": True, "luma_range": True, "motion_range": True}
    problem = f"{spoiled} first frames are missing on disk or truncated, e.g. of 'p0'; materialise frames again"
    assert verdict("ok_rate", found).evidence["problem"] == problem
    assert (problem in verdict("ok_rate", found).sentence) is not passes


def test_without_any_first_frame_every_gate_fails(tmp_path: Path) -> None:
    records: Records = {"a": ok_record("a", "p"), "b": ok_record("b", "p")}
    found = measure_batch(["a", "b"], records, tmp_path)
    assert [(one.value, one.passed) for one in evaluate_gates(found)] == [(0.0, False)] + [(None, False)] * 3


@pytest.mark.parametrize("suffix", ["png", "jpeg"])
def test_pictures_of_other_formats_are_taken_as_they_are(tmp_path: Path, suffix: str) -> None:
    record = ok_record("a", "p")
    record.frames = [f"frame-000.{suffix}"]
    write_frame(tmp_path / record.frames[0], seed=1, luma=0.5)
    assert measure_batch(["a"], {"a": record}, tmp_path).ok == 1


@pytest.mark.parametrize(("value", "holds"), [(0.95, True), (0.9499, False), (None, False)])
def test_a_gate_judges_a_value_by_itself(value: float | None, holds: bool) -> None:
    assert OK_RATE.holds(value) is holds


def test_rates_are_over_presets_not_over_lines(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    ids = [f"p{number:02d}" for number in range(20)]
    folder = write_index(root, "pack", ids)
    again = folder.frames_index.read_bytes()
    # Five earlier lines say that presets failed; a later run mended them.
    earlier = b"".join(
        line.replace(b'"status":"ok"', b'"status":"failed","reasons":["watchdog"]') + b"\n"
        for line in again.split(b"\n")[:5]
    )
    folder.frames_index.write_bytes(earlier + again)
    found = measure_batch(ids, read_records(folder.frames_index), folder.path)
    assert (found.total, found.ok, found.failed) == (20, 20, 0)
    assert all(verdict.passed for verdict in evaluate_gates(found))


def test_a_failed_gate_says_value_threshold_and_what_to_try() -> None:
    sentence = verdict("luma_range", figures(luma=(0.1, 0.25))).sentence
    assert sentence.startswith("luma_range is 0.15, required > 0.3. Try: warmupFrames 90")
    assert "\n" not in sentence
    assert verdict("luma_range", figures()).sentence == "luma_range is 1, required > 0.3."


@pytest.mark.parametrize(
    ("batch", "name", "shown", "passed"),
    [
        (figures(total=130_000, ok=123_498), "ok_rate", "0.94998", False),
        (figures(total=130_000, ok=123_500), "ok_rate", "0.9500", True),
        (figures(total=130_000, ok=130_000, top_same=25_999), "top_same", "0.19999", True),
        (figures(luma=(0.1, 0.400001)), "luma_range", "0.300001", True),
        (figures(luma=(0.1, 0.4)), "luma_range", "0.3000", False),
        (figures(ok=0, top_same=None), "top_same", "not computable", False),
    ],
)
def test_a_figure_is_never_rounded_across_its_threshold(
    batch: BatchFigures, name: str, shown: str, passed: bool
) -> None:
    judged = verdict(name, batch)
    assert (judged.shown(), judged.passed) == (shown, passed)
    assert f" is {judged.shown('g')}, " in judged.sentence
