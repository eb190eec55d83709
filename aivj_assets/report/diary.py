"""What the diary says of a batch: a section and a line, as Markdown, from what is known of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from aivj_assets.contracts.frames_meta import FramesMeta
from aivj_assets.contracts.gates import GATES, GateVerdict
from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.contracts.run_meta import QaVerdict
from aivj_assets.layout import BatchKey
from aivj_assets.report.console import BatchSummary, clusters_cell

DiaryState = Literal["accepted", "rejected", "incomplete", "not accepted", "unreadable"]
_TOP_REASONS = 10
_GATE_NAMES = {gate.name for gate in GATES}
_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", **{letter: f"\\{letter}" for letter in "\\`*[]|~"}},
)
# Within a word an underscore is no emphasis, and names like top_same stay readable.
_EMPHASIS = re.compile(r"(?<![^\W_])_|_(?![^\W_])")


@dataclass(frozen=True)
class DiaryFacts:
    """What is known of a batch. `at` is when it came to its state, ISO-8601; `why` tells it is not accepted."""

    batch: BatchKey
    state: DiaryState
    at: str | None = None
    why: str | None = None
    rejections: Mapping[str, str] = field(default_factory=dict)
    """{check that did not pass: what it says}."""
    summary: BatchSummary | None = None
    """None when the batch cannot be read."""
    made: frozenset[str] = frozenset()
    """Stages that are made and current, the one that was rejected included."""
    qa: QaVerdict = field(default_factory=QaVerdict)
    removed: str | None = None
    """Why a person took the batch out of its lineage."""
    links: Mapping[str, str] = field(default_factory=dict)
    """{label: path relative to the data root}."""


def plain(text: object) -> str:
    """Return a text as Markdown on one line that shows it as it is: no markup, no table cell, no comment of its own."""
    printable = "".join(letter if letter.isprintable() else " " for letter in str(text))
    return _EMPHASIS.sub(r"\\_", " ".join(printable.split()).translate(_ESCAPES))


def gate_text(verdict: GateVerdict) -> str:
    """Return a gate that did not pass with value, threshold and what to try."""
    gate = verdict.gate
    return f"{gate.name} {verdict.shown('g')} (required {gate.comparison} {gate.threshold:g}); to try: {gate.remedy}"


def diary_todo(facts: DiaryFacts) -> str:
    """Return the batch's line: a task that is ticked when nothing is open."""
    box, text = "x", ""
    if facts.removed is not None:
        text = f"removed from its lineage: {plain(facts.removed)}"
    elif facts.state == "accepted" and facts.qa.state == "reviewed":
        text = _qa_text(facts.qa)
    else:
        box, text = " ", _open_text(facts)
    return f"- [{box}] {facts.batch}: {text}"


def diary_section(facts: DiaryFacts) -> list[str]:
    """Return the lines of the batch's section, without line ends."""
    lines = [f"## {facts.batch}: {facts.state}", ""]
    lines.append(f"- state: {facts.state}" + (f", {facts.at}" if facts.at else ""))
    if facts.removed is not None:
        lines.append(f"- removed from its lineage: {plain(facts.removed)}")
    if facts.why is not None:
        lines.append(f"- why: {plain(facts.why)}")
    lines += [f"  - {plain(text)}" for text in facts.rejections.values()]
    if facts.summary is not None:
        lines += [f"- {name}: {text}" for name, text in _facts(facts, facts.summary)]
    lines.append(f"- QA: {_qa_text(facts.qa).removeprefix('QA ')}")
    if facts.links:
        lines.append("- files: " + ", ".join(f"[{label}]({path})" for label, path in facts.links.items()))
    if facts.summary is not None and not _is_open(facts) and "frames" in facts.made:
        lines += ["", *_gates_table(facts.summary)]
    return lines


def _is_open(facts: DiaryFacts) -> bool:
    """Whether presets of the batch have no record yet: its figures are no verdict."""
    return facts.state == "incomplete"


def _open_text(facts: DiaryFacts) -> str:
    if facts.state == "accepted":
        return _qa_text(facts.qa)
    if facts.state == "incomplete" and facts.summary is not None:
        recorded = f"{facts.summary.recorded} of {facts.summary.figures.total} presets have a record"
        return f"incomplete, {recorded}; go on with: aivj run {facts.batch}"
    if facts.rejections:
        kind = "gates failed" if set(facts.rejections) <= _GATE_NAMES else "rejected"
        return f"{kind}: {plain('; '.join(facts.rejections.values()))}"
    word = "cannot be read" if facts.state == "unreadable" else facts.state
    return f"{word}: {plain(facts.why or 'no reason given')}"


def _qa_text(qa: QaVerdict) -> str:
    if qa.state == "open":
        return f"QA open: {plain(qa.note)}" if qa.note else "QA open"
    by = f" by {plain(qa.reviewer)}" if qa.reviewer else ""
    at = f", {plain(qa.reviewed_at)}" if qa.reviewed_at else ""
    note = f": {plain(qa.note)}" if qa.note else ""
    return f"QA {qa.verdict or 'reviewed'}{by}{at}{note}"


def _facts(facts: DiaryFacts, summary: BatchSummary) -> Iterator[tuple[str, str]]:
    figures = summary.figures
    if _is_open(facts):
        yield "presets", f"{figures.total} in the manifest, {summary.recorded} have a record so far"
        return
    yield "presets", f"{figures.total} in the manifest"
    if "frames" not in facts.made:
        return
    yield "rendered", f"{figures.ok} ok, {figures.failed} failed"
    if figures.failure_reasons:
        top = sorted(figures.failure_reasons.items(), key=lambda item: (-item[1], item[0]))[:_TOP_REASONS]
        yield "failure reasons", ", ".join(f"{plain(reason)} {count}" for reason, count in top)
    if figures.top_same is not None:
        yield "first frames", f"{figures.unique_first_frames} different, topSame {figures.top_same} of {figures.ok}"
    if figures.luma_min is not None:
        yield "avgLuma", f"{figures.luma_min:.4g} to {figures.luma_max:.4g}"
        yield "motion", f"{figures.motion_min:.4g} to {figures.motion_max:.4g}"
    if summary.frames is not None:
        yield "rendering", _rendering(summary.frames)
    if summary.embeddings is not None and "embeddings" in facts.made:
        meta = summary.embeddings
        yield "embedding", f"{plain(meta.card.name)}, {meta.dim} dimensions, {meta.count} presets"
    if summary.clusters is not None and "clusters" in facts.made:
        yield "k", plain(clusters_cell(summary.clusters))


def _rendering(frames: FramesMeta) -> str:
    changed = changed_parameters({**frames.pixel_parameters, **frames.operational_parameters})
    told = ", ".join(f"{plain(name)} {plain(_json(value))}" for name, value in changed.items())
    renderer = plain(f"{frames.renderer_class}: {frames.pixel_parameters.get('renderer', '')}")
    return f"fingerprint {plain(frames.fingerprint)}; {told or 'all parameters are the defaults'}; renderer {renderer}"


def changed_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a rendering's parameters (camelCase) that are not the defaults."""
    default = RenderParameters(probe_url=parameters.get("probeUrl")).model_dump(mode="json", by_alias=True)
    default["probeUrl"] = None
    return {name: value for name, value in parameters.items() if name in default and value != default[name]}


def _json(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _gates_table(summary: BatchSummary) -> list[str]:
    rows = [
        f"| {verdict.gate.name} | {verdict.shown('g')} | {verdict.gate.comparison.replace('<', '&lt;')} "
        f"{verdict.gate.threshold:g} | {'passed' if verdict.passed else 'failed'} |"
        for verdict in summary.verdicts
    ]
    return ["| gate | value | required | verdict |", "| --- | --- | --- | --- |", *rows]
