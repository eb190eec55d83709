from typing import Any

import pytest

from aivj_assets.contracts.gate_report import BatchNumbers, BatchStatus, GateReport, GateResult
from aivj_assets.contracts.gates import GATES
from aivj_assets.report.gates_page import about_gate, margin_step, render_gates_page, top_reasons
from aivj_assets.report.trends import BOTTOM, TOP, trends_of


def result(name: str, value: float | None, **more: Any) -> GateResult:
    gate = next(gate for gate in GATES if gate.name == name)
    passed = more.pop("passed", gate.holds(value))
    return GateResult(
        gate=name, rule=gate.rule, comparison=gate.comparison, threshold=gate.threshold, value=value,
        passed=passed, **more,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("gate", "value", "margin", "step"),
    [
        ("ok_rate", 1.0, 1.0, "pass-4"),
        ("ok_rate", 0.95, 0.0, "pass-0"),
        ("ok_rate", 0.975, 0.5, "pass-2"),
        ("ok_rate", 0.94, -0.0105, "fail-0"),
        ("ok_rate", 0.0, -1.0, "fail-4"),
        ("top_same", 0.0, 1.0, "pass-4"),
        ("top_same", 0.2, 0.0, "fail-0"),
        ("top_same", 1.0, -1.0, "fail-4"),
        ("luma_range", 0.65, 0.5, "pass-2"),
        # A value that cannot be computed did not pass.
        ("motion_range", None, None, "fail-0"),
    ],
)
def test_the_margin_is_the_share_of_the_room_on_the_values_side(
    gate: str, value: float | None, margin: float | None, step: str
) -> None:
    found = result(gate, value)
    assert found.margin == (None if margin is None else pytest.approx(margin, abs=1e-3))
    assert margin_step(found) == step


def test_without_a_result_a_cell_has_no_colour_and_says_so() -> None:
    found = result("ok_rate", None, passed=None)
    assert (found.margin, found.shown, margin_step(found)) == (None, "-", "none")
    assert "no result" in about_gate(found)
    assert "cannot be computed" in about_gate(result("ok_rate", None, at="2026-01-31T12:00:00Z"))


def test_reasons_are_counted_over_batches_the_commonest_first() -> None:
    def batch(**reasons: int) -> BatchStatus:
        return BatchStatus(batch="a", accepted=False, state="rejected", failure_reasons=reasons)

    found = top_reasons([batch(timeout=3, empty=1), batch(timeout=5), batch(empty=2, binary=1)], limit=2)
    assert [(one.reason, one.presets, one.batches, one.share) for one in found] == [
        ("timeout", 8, 2, 1.0), ("empty", 3, 2, 0.375),
    ]  # fmt: skip
    assert top_reasons([]) == []


def numbered(*rates: float | None) -> list[BatchStatus]:
    return [
        BatchStatus(
            batch=f"pack/batch-{number:04d}", accepted=True, state="accepted", numbers=BatchNumbers(ok_rate=rate),
            gates=[] if rate is None else [result("ok_rate", rate)],
        )
        for number, rate in enumerate(rates, start=1)
    ]  # fmt: skip


def test_a_trend_has_its_threshold_in_the_picture_and_a_gap_where_there_is_no_figure() -> None:
    (trend,) = trends_of(numbered(0.99, 0.5, None, 1.0))
    assert trend.name == "ok_rate"
    assert trend.threshold is not None
    (series,) = trend.series
    assert [point.number for point in series.points] == [1, 2, 4]
    assert [point.marked for point in series.points] == [False, True, False]
    assert series.path.count("M") == 2
    places = [point.y for point in series.points]
    assert TOP <= min(places) < trend.threshold[0] < max(places) <= BOTTOM
    assert [text for _, text in trend.x_ticks] == ["1", "2", "3", "4"]
    assert "between 0.5 and 1 in 3 of 4 batches" in trend.words


def test_one_batch_and_none_have_their_pictures() -> None:
    (trend,) = trends_of(numbered(0.97))
    assert len(trend.series[0].points) == 1
    assert trends_of(numbered(None)) == []
    assert trends_of([]) == []
    ticks = [text for _, text in trends_of(numbered(*[1.0] * 130))[0].x_ticks]
    assert (ticks[0], ticks[-1], len(ticks)) == ("1", "130", 6)


def test_the_file_keeps_every_field_and_comes_back_equal() -> None:
    report = GateReport(generated_at="2026-01-31T12:00:00.000Z", batches=numbered(0.99, None))
    written = report.to_json()
    row = written["batches"][1]
    assert [row[name] for name in ("problem", "removed", "progress", "run", "judgedAt")] == [None] * 5
    assert GateReport.model_validate(written) == report
    assert "batch-0002" in render_gates_page(report)
