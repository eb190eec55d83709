"""The results of a batch's checks for what lies there now, from Dagster's records."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import dagster as dg
from pydantic.alias_generators import to_camel

from aivj_assets.contracts.frames_meta import FramesMeta
from aivj_assets.contracts.gate_report import BatchNumbers, CheckResult, GateResult
from aivj_assets.contracts.gates import Gate
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.guard import Evaluation, latest_evaluation, materialization_record

_NO_EVIDENCE = {"value", "threshold", "rule", "what_to_try", "failure_reasons"}
_T = TypeVar("_T")


def iso(epoch_s: float) -> str:
    """Return a time in seconds since 1970 as ISO-8601 UTC, e.g. `2026-01-31T12:00:00Z`."""
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def read_or_none(read: Callable[[], _T]) -> _T | None:
    """Return what is read; None where the file is missing or not as agreed."""
    try:
        return read()
    except (UserError, OSError):
        return None


@dataclass
class RecordedResults:
    """The results of a batch's checks for what lies there now."""

    instance: dg.DagsterInstance
    batch: BatchKey
    times_s: list[float] = field(default_factory=list)
    """When the blocking checks that were asked for gave their results, seconds since 1970."""

    def of(self, stage: str, check: str) -> Evaluation | None:
        """Return a check's result for the current materialisation, or None."""
        made = materialization_record(self.instance, stage, self.batch.key)
        found = latest_evaluation(self.instance, stage, check, self.batch.key) if made is not None else None
        if made is None or found is None or found.target_storage_id != made.storage_id:
            return None
        return found

    def gate(self, gate: Gate) -> GateResult:
        """Return a gate's value, threshold, verdict and evidence as they were recorded."""
        shown = GateResult(gate=gate.name, rule=gate.rule, comparison=gate.comparison, threshold=gate.threshold)
        found = self.of("frames", gate.name)
        if found is None:
            return shown
        self.times_s.append(found.at_epoch_s)
        comparison, threshold = _threshold(found.metadata.get("threshold"), gate)
        value = found.metadata.get("value")
        evidence = {name: value for name, value in found.metadata.items() if name not in _NO_EVIDENCE}
        return shown.model_copy(
            update={
                "value": float(value) if isinstance(value, int | float) else None,
                "comparison": comparison,
                "threshold": threshold,
                "passed": found.passed,
                "at": iso(found.at_epoch_s),
                "run_id": found.run_id,
                "evidence": {to_camel(name): value for name, value in evidence.items()},
            }
        )

    def check(self, stage: str, check: str, *, blocking: bool) -> CheckResult:
        """Return the recorded result of a check that is no gate."""
        shown = CheckResult(stage=stage, check=check, blocking=blocking)
        found = self.of(stage, check)
        if found is None:
            return shown
        if blocking:
            self.times_s.append(found.at_epoch_s)
        return shown.model_copy(
            update={
                "passed": found.passed,
                "detail": (found.description or "").removeprefix(f"{check}: ") or None,
                "at": iso(found.at_epoch_s),
                "run_id": found.run_id,
                "figures": dict(found.metadata),
            }
        )


def _threshold(text: Any, gate: Gate) -> tuple[str, float]:
    """Return the threshold that was in force when a gate was applied."""
    comparison, _, number = str(text).partition(" ")
    try:
        return (comparison, float(number)) if comparison in {">=", "<", ">"} else (gate.comparison, gate.threshold)
    except ValueError:
        return gate.comparison, gate.threshold


def batch_numbers(gates: Iterable[GateResult], root: DataRoot, batch: BatchKey) -> BatchNumbers:
    """Return the figures behind the gates' results, and how fast the frames were rendered."""
    found = {gate.gate: gate for gate in gates if gate.passed is not None}
    if not found:
        return BatchNumbers()
    meta = read_or_none(lambda: FramesMeta.load(root.batch(batch).frames_meta))
    numbers: dict[str, Any] = {name: gate.value for name, gate in found.items()}
    if "ok_rate" in found:
        evidence = found["ok_rate"].evidence
        numbers |= {"presets": evidence.get("presets"), "ok": evidence.get("ok"), "failed": evidence.get("failed")}
    for name, gate in (("luma", "luma_range"), ("motion", "motion_range")):
        if gate in found:
            evidence = found[gate].evidence
            numbers |= {f"{name}_min": evidence.get("min"), f"{name}_max": evidence.get("max")}
    if meta is not None:
        rendered = meta.total - meta.reused
        numbers |= {
            "presets_per_s": round(rendered / meta.duration_s, 3) if rendered > 0 and meta.duration_s > 0 else None,
            "fingerprint": meta.fingerprint,
            "renderer": meta.renderer_class,
        }
    return BatchNumbers(**numbers)
