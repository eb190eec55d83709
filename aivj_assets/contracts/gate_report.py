"""`gates.json`: which batch stands where, gate by gate; also what `aivj gates --json` prints."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, get_args

from pydantic import Field

from aivj_assets.contracts.base import ContractFile, ContractModel
from aivj_assets.contracts.gates import GATES, Gate, GateVerdict

BatchState = Literal[
    "accepted", "rejected", "incomplete", "unfinished", "stale", "unchecked", "running", "waiting", "not run",
    "unreadable", "manifest gone", "removed",
]  # fmt: skip
"""What a batch is, as the guard sees it.

`incomplete`: rendering was stopped before every preset had a record, so no gate was applied. `unfinished`: what there
is passed, and a later stage has not been made. `stale`: made from something that has changed since. `unchecked`: a
check has no result for what lies there now.
"""
STATES: tuple[BatchState, ...] = get_args(BatchState)


class _Complete(ContractModel):
    """A model whose JSON has every field, also those that are null: scripts need no second case."""

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)


class GateResult(_Complete):
    """One gate of one batch: the recorded value and verdict; `passed` is null where there is no result."""

    gate: str
    rule: str
    value: float | None = None
    comparison: str
    threshold: float
    passed: bool | None = None
    at: str | None = None
    run_id: str | None = None
    evidence: dict[str, Any] = Field(default_factory=dict)
    source: Literal["record", "files"] = "record"
    """`files`: Dagster's history does not know the batch, and the value was measured anew."""

    @property
    def declared(self) -> Gate:
        """The gate with the threshold by which it was judged."""
        found = next(gate for gate in GATES if gate.name == self.gate)
        return replace(found, threshold=self.threshold)

    @property
    def shown(self) -> str:
        """The value with 4 digits, or as many as keep it on its side of the threshold; `-` without a result."""
        if self.passed is None:
            return "-"
        return GateVerdict(self.declared, self.value, self.passed, {}).shown()

    @property
    def margin(self) -> float | None:
        """Distance from the threshold over the room on the value's side, 0..1; negative when it did not pass.

        Values lie in 0..1: an ok rate of 0.975 has used half the room between 0.95 and 1.
        """
        if self.passed is None or self.value is None:
            return None
        above = self.value >= self.threshold
        room = 1 - self.threshold if above else self.threshold
        share = min(1.0, abs(self.value - self.threshold) / room) if room > 0 else 0.0
        return share if self.passed else -share


class CheckResult(_Complete):
    """Another check of one batch; `passed` is null where there is no result for what lies there now."""

    stage: str
    check: str
    blocking: bool
    passed: bool | None = None
    detail: str | None = None
    at: str | None = None
    run_id: str | None = None
    figures: dict[str, Any] = Field(default_factory=dict)


class BatchProgress(_Complete):
    """Presets of the manifest that have a record, and presets in all."""

    done: int
    total: int


class BatchRun(_Complete):
    """A run of the batch that has not ended."""

    run_id: str
    status: str


class BatchNumbers(_Complete):
    """Figures of a batch's frames as they were recorded; null where nothing was."""

    presets: int | None = None
    ok: int | None = None
    failed: int | None = None
    ok_rate: float | None = None
    top_same: float | None = None
    luma_min: float | None = None
    luma_max: float | None = None
    luma_range: float | None = None
    motion_min: float | None = None
    motion_max: float | None = None
    motion_range: float | None = None
    presets_per_s: float | None = None
    """Presets rendered by the run that finished the batch / its time from plan to index."""
    fingerprint: str | None = None
    renderer: str | None = None


class BatchStatus(_Complete):
    """What is known of one batch. `accepted` and `problem` are the guard's words."""

    batch: str
    accepted: bool
    problem: str | None = None
    removed: str | None = None
    """Why a person took it out of its lineage."""
    gates: list[GateResult] = Field(default_factory=list)
    state: BatchState
    next: str | None = None
    """What to do about it, one sentence."""
    progress: BatchProgress | None = None
    waiting_for: list[str] = Field(default_factory=list)
    run: BatchRun | None = None
    judged_at: str | None = None
    """When the last blocking check of what lies there now gave its result."""
    last_run_id: str | None = None
    checks: list[CheckResult] = Field(default_factory=list)
    """Blocking checks that are no gates."""
    warnings: list[CheckResult] = Field(default_factory=list)
    """Checks that failed and block nothing."""
    numbers: BatchNumbers = Field(default_factory=BatchNumbers)
    failure_reasons: dict[str, int] = Field(default_factory=dict)
    qa_page: str | None = None
    """Relative to `artifacts/aivj`, as are the next two; null where there is none."""
    run_record: str | None = None
    frames_index: str | None = None
    qa: str | None = None
    """What a person concluded from the samples: open, or good, mixed or bad."""
    qa_reviewed_fraction: float | None = None
    """Clusters of the batch that were judged / all of them; null where none was, or a person wrote the verdict."""
    qa_note: str | None = None

    @property
    def qa_told(self) -> str | None:
        """The verdict and how much of the batch it rests on, e.g. `good, 96% reviewed`."""
        if self.qa is None or self.qa_reviewed_fraction is None:
            return self.qa
        return f"{self.qa}, {self.qa_reviewed_fraction:.0%} reviewed"

    @property
    def pack(self) -> str:
        """The batch's pack."""
        return self.batch.partition("/")[0]

    @property
    def failed_gates(self) -> list[GateResult]:
        """Gates that did not pass."""
        return [gate for gate in self.gates if gate.passed is False]

    @property
    def failed_checks(self) -> list[CheckResult]:
        """Other blocking checks that did not pass."""
        return [check for check in self.checks if check.passed is False]


class GateReport(_Complete, ContractFile):
    """All batches of a data root at one moment."""

    version: Literal["v0"] = "v0"
    generated_at: str
    ui_url: str | None = None
    """Where Dagster's UI shows runs, without a slash at the end."""
    counts: dict[str, int] = Field(default_factory=dict)
    """Batches by state."""
    batches: list[BatchStatus] = Field(default_factory=list)
