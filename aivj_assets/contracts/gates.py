"""The gates of a batch, each declared once: checks, guard, tables and pages are made from `GATES`."""

from __future__ import annotations

import hashlib
import operator
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from aivj_assets.contracts.frames_index import FailedRecord, OkRecord, is_whole_image, read_records
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.layout import BatchDir

Comparison = Literal[">=", "<", ">"]
# Reasons of presets that no record calls failed, beside the reason codes of records.
NO_RECORD = "no-record"
FRAME_MISSING = "frame-missing"
_COMPARE: dict[str, Callable[[float, float], bool]] = {">=": operator.ge, "<": operator.lt, ">": operator.gt}


@dataclass(frozen=True)
class BatchFigures:
    """What the gates measure, over the presets of the submitted manifest.

    `ok` counts presets whose record is ok and whose first frame lies whole on disk. `None` means that a figure cannot
    be computed, as no preset is ok. `problem` tells of frames that are gone, or why there is no figure.
    """

    total: int
    ok: int
    failed: int
    failure_reasons: dict[str, int]
    top_same: int | None
    unique_first_frames: int | None
    luma_min: float | None
    luma_max: float | None
    motion_min: float | None
    motion_max: float | None
    problem: str | None = None

    @property
    def without_record(self) -> int:
        """Presets that have no record yet: while there are any the batch is incomplete, neither passed nor failed."""
        return self.failure_reasons.get(NO_RECORD, 0)


@dataclass(frozen=True)
class Measurement:
    """A gate's value (None: cannot be computed) and the counts behind it."""

    value: float | None
    evidence: dict[str, float | int | str | None]


Evidence = Literal["timeouts", "rising_failures", "same_pictures"]


@dataclass(frozen=True)
class Change:
    """One rendering parameter to change when a gate fails, by its name in files, and the evidence that it fits.

    `value` is what to set first; where the batch had that already, `next_value` says what follows.
    """

    parameter: str
    value: int
    fits: Evidence
    factor: float | None = None
    """What a value that was tried already is multiplied by; None: it is not tried again."""

    def __str__(self) -> str:
        return f"{self.parameter} {self.value}"

    def next_value(self, current: int) -> int | None:
        """Return what to set when the batch had `current`, None when this change has nothing more to offer."""
        reached = current >= self.value if self.raises else current <= self.value
        if not reached:
            return self.value
        value = None if self.factor is None else round(current * self.factor)
        return value if value is not None and value >= 1 and value != current else None

    @property
    def raises(self) -> bool:
        """Whether the parameter becomes larger."""
        return self.factor is None or self.factor > 1


LONGER_DEADLINE = Change("timeoutMs", 45_000, "timeouts", factor=1.5)
SHORTER_LIFE = Change("refreshEvery", 50, "rising_failures", factor=0.5)
LONGER_WARMUP = Change("warmupFrames", 90, "same_pictures")
WIDER_CAPTURES = Change("captureEvery", 60, "same_pictures")


@dataclass(frozen=True)
class Gate:
    """One rule a batch must hold: `value <comparison> threshold`."""

    name: str
    rule: str
    threshold: float
    comparison: Comparison
    remedy: str
    measure: Callable[[BatchFigures], Measurement] = field(repr=False)
    changes: tuple[Change, ...] = ()
    """Of `remedy`, what a parameter can do, in the order to try."""

    def holds(self, value: float | None) -> bool:
        """Return whether a value passes; one that cannot be computed does not."""
        return value is not None and _COMPARE[self.comparison](value, self.threshold)


@dataclass(frozen=True)
class GateVerdict:
    """A gate applied to a batch. A value that cannot be computed does not pass."""

    gate: Gate
    value: float | None
    passed: bool
    evidence: dict[str, float | int | str | None]

    def shown(self, style: Literal["f", "g"] = "f") -> str:
        """Return the value with 4 digits, or as many more as keep it on its side of the threshold."""
        if self.value is None:
            return "not computable"
        texts = (f"{self.value:.{digits}{style}}" for digits in range(4, 17))
        return next((text for text in texts if self.gate.holds(float(text)) == self.passed), str(self.value))

    @property
    def sentence(self) -> str:
        """The verdict as one line: value, rule, what to try."""
        text = f"{self.gate.name} is {self.shown('g')}, required {self.gate.comparison} {self.gate.threshold:g}"
        if self.passed:
            return f"{text}."
        why = f" ({self.evidence['problem']})" if self.evidence.get("problem") else ""
        return f"{text}{why}. Try: {self.gate.remedy}"


def _ok_rate(figures: BatchFigures) -> Measurement:
    return Measurement(
        figures.ok / figures.total if figures.total else None,
        {"ok": figures.ok, "failed": figures.failed, "presets": figures.total},
    )


def _top_same(figures: BatchFigures) -> Measurement:
    return Measurement(
        figures.top_same / figures.ok if figures.top_same is not None and figures.ok else None,
        {"top_same": figures.top_same, "unique_first_frames": figures.unique_first_frames, "ok": figures.ok},
    )


def _range(low: float | None, high: float | None, ok: int) -> Measurement:
    # Decimal figures differ by a rounding error in binary (0.4 - 0.1 > 0.3); no figure has so many digits.
    value = None if low is None or high is None else round(high - low, 12)
    return Measurement(value, {"min": low, "max": high, "ok": ok})


OK_RATE = Gate(
    "ok_rate",
    "ok presets / presets of the submitted manifest",
    0.95,
    ">=",
    f"look at the failure reasons; {LONGER_DEADLINE} where they are timeouts, {SHORTER_LIFE} when failures rise "
    "along a long run; take presets out of the manifest that cannot work",
    _ok_rate,
    (LONGER_DEADLINE, SHORTER_LIFE),
)
GATES: tuple[Gate, ...] = (
    OK_RATE,
    Gate(
        "top_same",
        "ok presets that share the commonest first frame (SHA-1) / ok presets",
        0.20,
        "<",
        f"{LONGER_WARMUP} or {WIDER_CAPTURES} when frames still look like an initial state; look for copies of a "
        "preset",
        _top_same,
        (LONGER_WARMUP, WIDER_CAPTURES),
    ),
    Gate(
        "luma_range",
        "max - min of avgLuma over ok presets",
        0.3,
        ">",
        f"{LONGER_WARMUP}; look at the contact sheet: all dark or all alike points at the renderer or one-sided "
        "presets",
        lambda figures: _range(figures.luma_min, figures.luma_max, figures.ok),
        (LONGER_WARMUP,),
    ),
    Gate(
        "motion_range",
        "max - min of motion over ok presets",
        0.05,
        ">",
        f"{WIDER_CAPTURES}; check that the audio signal reaches the presets",
        lambda figures: _range(figures.motion_min, figures.motion_max, figures.ok),
        (WIDER_CAPTURES,),
    ),
)


def evaluate_gates(figures: BatchFigures) -> list[GateVerdict]:
    """Apply every gate to a batch's figures, in declaration order."""
    verdicts = []
    for gate in GATES:
        measurement = gate.measure(figures)
        evidence = dict(measurement.evidence)
        if figures.problem:
            evidence["problem"] = figures.problem
        verdicts.append(GateVerdict(gate, measurement.value, gate.holds(measurement.value), evidence))
    return verdicts


def first_frame_digests(records: Sequence[OkRecord], batch_dir: Path) -> tuple[dict[str, str], list[str]]:
    """Return {presetId: SHA-1 of its frame-000}, and the presets whose first frame is missing or not whole."""
    digests: dict[str, str] = {}
    unreadable: list[str] = []
    for record in records:
        try:
            data = (batch_dir / record.frames[0]).read_bytes()
        except OSError:
            data = b""
        if is_whole_image(data[:8], data[-64:], len(data)):
            digests[record.preset_id] = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        else:
            unreadable.append(record.preset_id)
    return digests, unreadable


def measure_batch(
    preset_ids: Sequence[str], records: Mapping[str, OkRecord | FailedRecord], batch_dir: Path
) -> BatchFigures:
    """Compute a batch's figures from its manifest's preset ids, its index and the frames on disk.

    A preset without a record counts as failed, and so does one whose first frame is gone: it cannot be used. Records of
    presets that the manifest does not name do not count.
    """
    counted = [records[preset_id] for preset_id in preset_ids if preset_id in records]
    rendered = [record for record in counted if isinstance(record, OkRecord)]
    reasons = Counter(reason for record in counted if isinstance(record, FailedRecord) for reason in record.reasons)
    if len(counted) < len(preset_ids):
        reasons[NO_RECORD] = len(preset_ids) - len(counted)
    digests, unreadable = first_frame_digests(rendered, batch_dir)
    ok = [record for record in rendered if record.preset_id in digests]
    problem = None
    if unreadable:
        reasons[FRAME_MISSING] = len(unreadable)
        problem = (
            f"{len(unreadable)} first frames are missing on disk or truncated, e.g. of '{unreadable[0]}'; "
            "materialise frames again"
        )
    elif not ok:
        problem = "no preset is ok"
    same = Counter(digests.values())
    luma = [record.metrics.avg_luma for record in ok]
    motion = [record.metrics.motion for record in ok]
    return BatchFigures(
        total=len(preset_ids),
        ok=len(ok),
        failed=len(preset_ids) - len(ok),
        failure_reasons=dict(reasons.most_common()),
        top_same=max(same.values(), default=None),
        unique_first_frames=len(same) if ok else None,
        luma_min=min(luma, default=None),
        luma_max=max(luma, default=None),
        motion_min=min(motion, default=None),
        motion_max=max(motion, default=None),
        problem=problem,
    )


def measure_folder(manifest: Manifest, folder: BatchDir) -> BatchFigures:
    """Compute the figures of the batch whose index and frames lie in `folder`."""
    preset_ids = [preset.id for preset in manifest.presets]
    return measure_batch(preset_ids, read_records(folder.frames_index), folder.path)
