"""Which batch stands where, in the terminal: batches by gates, and below why one is not accepted and what next."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from aivj_assets.contracts.gate_report import BatchStatus, GateResult
from aivj_assets.contracts.gates import GATES

_STATE_COLOURS = {
    "accepted": "green", "rejected": "red", "unreadable": "red", "running": "cyan", "removed": "bright_black",
}  # fmt: skip


def print_gates(console: Console, statuses: Sequence[BatchStatus]) -> None:
    """Print batches by gates, and below, a line a batch, why it is not accepted and what to do."""
    table = Table(title="Gates", title_justify="left")
    table.add_column("batch", overflow="fold")
    for gate in GATES:
        table.add_column(f"{gate.name}\n{gate.comparison} {gate.threshold:g}")
    for name in ("other\nchecks", "judged\n(UTC)", "QA", "state", "accepted"):
        table.add_column(name)
    for status in statuses:
        results = {result.gate: result for result in status.gates}
        cells = [_gate_cell(results.get(gate.name)) for gate in GATES]
        state = f"[{_STATE_COLOURS.get(status.state, 'yellow')}]{status.state}[/]"
        accepted = "[green]yes[/]" if status.accepted else "[red]no[/]"
        qa = escape(status.qa_told or "-")
        table.add_row(escape(status.batch), *cells, _checks_cell(status), _time_cell(status), qa, state, accepted)
    if console.is_terminal:
        console.print(table)
    else:
        # In a file or a pipe a row is a line, however wide.
        wide = console.options.update(max_width=10_000, width=10_000)
        table.width = Measurement.get(console, wide, table).maximum
        console.print(table, crop=False, no_wrap=True, soft_wrap=True, width=table.width)
    for status in statuses:
        for line in status_lines(status):
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def status_lines(status: BatchStatus) -> list[str]:
    """Return what is to be said of a batch below the table: why it is not accepted, what next, what warns."""
    lines = []
    if status.accepted and status.run is not None:
        lines.append(f"{status.batch} is accepted; run {status.run.run_id} is {status.run.status}.")
    if status.removed is not None:
        lines.append(f"{status.batch} was removed from its lineage ({status.removed}) and is not published.")
    if not status.accepted and status.problem is not None:
        what_next = f" Next: {status.next.rstrip('.')}." if status.next else ""
        lines.append(f"{status.batch} is not accepted: {status.problem.rstrip('.')}.{what_next}")
    lines += [
        f"{status.batch}, look at {check.check}: {(check.detail or '').rstrip('.')}." for check in status.warnings
    ]
    return lines


def _gate_cell(result: GateResult | None) -> str:
    if result is None or result.passed is None:
        return "-"
    # In words too: a colour is lost in a file, and not everyone sees it.
    text = f"[green]{result.shown}[/]" if result.passed else f"[red]{_value(result)} failed[/]"
    return f"{text} *" if result.source == "files" else text


def _value(result: GateResult) -> str:
    return "-" if result.value is None else result.shown


def _checks_cell(status: BatchStatus) -> str:
    failed = status.failed_checks
    if failed:
        return f"[red]{escape(', '.join(check.check for check in failed))} failed[/]"
    passed = sum(check.passed is True for check in status.checks)
    return f"{passed} of {len(status.checks)}" if passed else "-"


def _time_cell(status: BatchStatus) -> str:
    return "-" if status.judged_at is None else status.judged_at[:16].replace("T", " ")
