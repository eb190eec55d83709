"""The page of all gates: batches by gates coloured by margin, trends, failures, what waits and what to try."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aivj_assets.contracts.gate_report import STATES, BatchStatus, GateReport, GateResult
from aivj_assets.contracts.gates import GATES, Gate
from aivj_assets.report.html import render_template, write_html
from aivj_assets.report.trends import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, trends_of

SYMBOLS = {
    "accepted": "✓", "rejected": "✗", "incomplete": "◔", "unfinished": "◑", "stale": "↻", "unchecked": "?",
    "running": "▸", "waiting": "…", "not run": "○", "unreadable": "!", "manifest gone": "∅", "removed": "⊖",
}  # fmt: skip
"""A sign for each state, beside its word."""
_TOP_REASONS = 12
_STEPS = 5


@dataclass(frozen=True)
class Reason:
    """Presets that failed for one reason, over all batches."""

    reason: str
    presets: int
    batches: int
    share: float
    """Of the commonest reason, 0..1."""


@dataclass(frozen=True)
class Remedy:
    """A gate that did not pass, the batches in which it did not, and what to try."""

    gate: Gate
    batches: list[BatchStatus]


def write_gates_page(path: Path, report: GateReport) -> None:
    """Write the page whole; raises `UserError` when it cannot be written."""
    write_html(path, render_gates_page(report))


def render_gates_page(report: GateReport) -> str:
    """Return the page as HTML that needs nothing but itself. Names of packs and what checks say are escaped."""
    batches = report.batches
    values = {
        "report": report,
        "gates": GATES,
        "packs": _by_pack(batches),
        "counts": [(state, report.counts[state]) for state in STATES if report.counts.get(state)],
        "symbols": SYMBOLS,
        "open": [status for status in batches if not status.accepted],
        "trends": trends_of(batches),
        "reasons": top_reasons(batches),
        "incomplete": [status for status in batches if status.progress is not None],
        "waiting": _waiting(batches),
        "remedies": _remedies(batches),
        "numbers": {status.batch: number for number, status in enumerate(batches, start=1)},
        "box": {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
    }
    filters: dict[str, Callable[..., Any]] = {"step": margin_step, "about": about_gate, "moment": _moment}
    return render_template("gates.html.j2", filters, **values)


def margin_step(result: GateResult) -> str:
    """Return the class of a cell's colour: none, `pass-0` (at the threshold) to `pass-4`, so `fail-…`."""
    if result.passed is None:
        return "none"
    share = abs(result.margin or 0.0)
    return f"{'pass' if result.passed else 'fail'}-{min(_STEPS - 1, int(share * _STEPS))}"


def about_gate(result: GateResult) -> str:
    """Return what a cell's tooltip says: rule, threshold, margin, evidence, time."""
    lines = [f"{result.rule} {result.comparison} {result.threshold:g}"]
    if result.passed is None:
        return f"{lines[0]}\nno result for what lies there now"
    if result.value is not None:
        lines.append(f"{result.value:.6g}, {abs(result.value - result.threshold):.6g} from the threshold")
    else:
        lines.append("the figure cannot be computed")
    lines += [f"{name}: {_plain(value)}" for name, value in result.evidence.items() if value is not None]
    if result.source == "files":
        lines.append("measured from its files: Dagster's history does not know it")
    elif result.at is not None:
        lines.append(f"judged {_moment(result.at)} UTC")
    return "\n".join(lines)


def top_reasons(batches: Sequence[BatchStatus], limit: int = _TOP_REASONS) -> list[Reason]:
    """Return why presets failed over all batches, the commonest first."""
    presets: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for status in batches:
        presets.update(status.failure_reasons)
        found.update(status.failure_reasons.keys())
    most = max(presets.values(), default=0)
    return [Reason(reason, count, found[reason], count / most) for reason, count in presets.most_common(limit) if count]


def _plain(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _moment(at: str | None) -> str:
    return "-" if at is None else at[:16].replace("T", " ")


def _by_pack(batches: Sequence[BatchStatus]) -> dict[str, list[BatchStatus]]:
    packs: dict[str, list[BatchStatus]] = {}
    for status in batches:
        packs.setdefault(status.pack, []).append(status)
    return packs


def _waiting(batches: Sequence[BatchStatus]) -> dict[str, list[str]]:
    return {status.pack: status.waiting_for for status in batches if status.waiting_for}


def _remedies(batches: Sequence[BatchStatus]) -> list[Remedy]:
    failed = [
        (gate, [status for status in batches if gate.name in {result.gate for result in status.failed_gates}])
        for gate in GATES
    ]
    return [Remedy(gate, found) for gate, found in failed if found]
