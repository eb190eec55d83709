import io
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from aivj_assets.contracts.gate_report import BatchRun, BatchStatus, CheckResult, GateResult
from aivj_assets.contracts.gates import GATES
from aivj_assets.report.gates_table import print_gates

GOOD = (1.0, 0.05, 0.7, 0.39)


def gate_results(values: tuple[float | None, ...], **more: Any) -> list[GateResult]:
    return [
        GateResult(
            gate=gate.name, rule=gate.rule, comparison=gate.comparison, threshold=gate.threshold, value=value,
            passed=gate.holds(value), at="2026-01-31T12:00:05Z", **more,
        )
        for gate, value in zip(GATES, values, strict=True)
    ]  # fmt: skip


def table_of(*statuses: BatchStatus, terminal: bool = False, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal)
    print_gates(console, statuses)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def rows_of(text: str) -> dict[str, list[str]]:
    lines = [line for line in text.splitlines() if "│" in line]
    return {line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[2:-1]] for line in lines}


def test_the_table_names_values_thresholds_verdicts_time_and_reasons() -> None:
    problem = "'frames': it is rejected by ok_rate."
    text = table_of(
        BatchStatus(
            batch="other", accepted=False, state="rejected", problem=problem, next="look at the failure reasons",
            gates=gate_results((0.0, None, None, None)), judged_at="2026-01-31T12:00:05Z",
        ),
        BatchStatus(
            batch="pack", accepted=True, state="accepted", gates=gate_results(GOOD),
            checks=[CheckResult(stage="embeddings", check="shape", blocking=True, passed=True)], qa="good",
            qa_reviewed_fraction=0.96,
        ),
        BatchStatus(batch="torn", accepted=False, state="unreadable", problem="is not JSON"),
    )  # fmt: skip
    assert ">= 0.95" in text
    assert rows_of(text) == {
        "other": [
            "0.0000 failed", "- failed", "- failed", "- failed", "-", "2026-01-31 12:00", "-", "rejected", "no",
        ],
        "pack": ["1.0000", "0.0500", "0.7000", "0.3900", "1 of 1", "-", "good, 96% reviewed", "accepted", "yes"],
        "torn": ["-", "-", "-", "-", "-", "-", "-", "unreadable", "no"],
    }  # fmt: skip
    assert text.splitlines()[-2:] == [
        f"other is not accepted: {problem} Next: look at the failure reasons.",
        "torn is not accepted: is not JSON.",
    ]


def test_a_value_close_to_its_threshold_keeps_the_digits_that_decide() -> None:
    (row,) = rows_of(
        table_of(BatchStatus(batch="a", accepted=False, state="rejected", gates=gate_results((0.949999, *GOOD[1:]))))
    ).values()
    assert row[0] == "0.949999 failed"


def test_in_a_file_a_row_is_a_line_however_wide() -> None:
    batch = f"{'long-' * 19}pack/batch-0001"
    text = table_of(BatchStatus(batch=batch, accepted=True, state="accepted", gates=gate_results(GOOD)), width=40)
    assert list(rows_of(text)) == [batch]
    in_terminal = table_of(
        BatchStatus(batch=batch, accepted=True, state="accepted", gates=gate_results(GOOD)), terminal=True, width=100
    )
    assert max(Text.from_ansi(line).cell_len for line in in_terminal.splitlines()) <= 100


def test_brackets_are_shown_as_they_are_and_values_from_files_are_marked() -> None:
    status = BatchStatus(
        batch="pack", accepted=False, state="unchecked", problem="/data/[presets]/[/x is gone",
        gates=gate_results(GOOD, source="files"),
    )  # fmt: skip
    text = table_of(status)
    assert "/data/[presets]/[/x is gone" in text
    assert rows_of(text)["pack"][0] == "1.0000 *"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"removed": "a test"}, "pack was removed from its lineage (a test) and is not published."),
        ({"run": BatchRun(run_id="f00", status="started")}, "pack is accepted; run f00 is started."),
        (
            {"warnings": [CheckResult(stage="clusters", check="drift", blocking=False, passed=False, detail="far")]},
            "pack, look at drift: far.",
        ),
    ],
)
def test_lines_below_tell_of_accepted_batches_too(more: dict[str, Any], says: str) -> None:
    assert table_of(BatchStatus(batch="pack", accepted=True, state="accepted", **more)).splitlines()[-1] == says
