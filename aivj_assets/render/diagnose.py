"""Why a batch was rejected, and the one change of a rendering parameter that fits the evidence.

A gate declares which parameters it may be helped by (`Gate.changes`); here the batch's records say whether one does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from aivj_assets.contracts.frames_index import FailedRecord, OkRecord
from aivj_assets.contracts.gates import Change, GateVerdict, first_frame_digests
from aivj_assets.contracts.render_parameters import RenderParameters, is_pixel_parameter
from aivj_assets.layout import BatchDir

TIMEOUT_REASONS = frozenset({"probe-timeout", "watchdog"})
MOST = 0.5
"""Share of the failures above which they are mostly of one kind."""
RISING_MAX_P = 0.005
RISING_MIN_FAILURES = 6
RISING_MIN_RATIO = 2.0
"""Failures rise when the later half has at least so many times the earlier half's, and chance gives less than 0.5 %."""


@dataclass(frozen=True)
class Remedy:
    """A change of one parameter, the gate it is for and what speaks for it."""

    gate: str
    parameter: str
    """Its name in files, e.g. `timeoutMs`."""
    current: int
    value: int
    evidence: str

    @property
    def is_pixel(self) -> bool:
        """Whether it decides the pictures: then the whole batch is rendered again, else the failed presets alone."""
        return is_pixel_parameter(self.parameter)

    def __str__(self) -> str:
        return f"{self.parameter} {self.current} -> {self.value} for {self.gate}"


@dataclass(frozen=True)
class NoRemedy:
    """No change of a parameter fits: what a person may do instead."""

    advice: str


@dataclass(frozen=True)
class RejectedBatch:
    """What is known of a batch: its records in manifest order, the parameters it was rendered with, its folder."""

    records: Sequence[OkRecord | FailedRecord]
    parameters: RenderParameters
    folder: BatchDir

    @property
    def failed(self) -> list[FailedRecord]:
        """The presets that failed."""
        return [record for record in self.records if isinstance(record, FailedRecord)]

    @property
    def ok(self) -> list[OkRecord]:
        """The presets that have frames."""
        return [record for record in self.records if isinstance(record, OkRecord)]


def choose_remedy(batch: RejectedBatch, verdicts: Sequence[GateVerdict]) -> Remedy | NoRemedy:
    """Return the first change that the evidence speaks for, in the order in which gates and changes are declared.

    A change of an operational parameter comes first: it renders the failed presets alone.
    """
    failed = [verdict.gate for verdict in verdicts if not verdict.passed]
    advice: list[str] = []
    found: list[Remedy] = []
    for gate in failed:
        for change in gate.changes:
            told = _evidence(change, batch)
            if isinstance(told, NoRemedy):
                advice.append(told.advice)
                continue
            current = int(batch.parameters.model_dump(by_alias=True)[change.parameter])
            value = change.next_value(current)
            if value is None:
                advice.append(f"{change.parameter} is {current} already")
            else:
                found.append(Remedy(gate.name, change.parameter, current, value, told))
    if found:
        return min(found, key=lambda remedy: remedy.is_pixel)
    return NoRemedy("; ".join(dict.fromkeys(advice)) or "no gate of its frames failed")


def _evidence(change: Change, batch: RejectedBatch) -> str | NoRemedy:
    """Return what speaks for a change, or why nothing does."""
    if change.fits == "timeouts":
        return _timeouts(batch)
    return _rising(batch) if change.fits == "rising_failures" else _same_pictures(batch)


def _timeouts(batch: RejectedBatch) -> str | NoRemedy:
    failed = batch.failed
    late = sum(not TIMEOUT_REASONS.isdisjoint(record.reasons) for record in failed)
    if failed and late > MOST * len(failed):
        return f"{late} of {len(failed)} failures are timeouts"
    reasons = Counter(reason for record in failed for reason in record.reasons).most_common(3)
    told = ", ".join(f"{reason} {count}" for reason, count in reasons) or "none"
    return NoRemedy(f"few failures are timeouts ({told}): take presets out of the manifest that cannot work")


def _rising(batch: RejectedBatch) -> str | NoRemedy:
    """Hold failures against the order of the manifest and that of rendering: one-sided Mann-Whitney U test of places.

    A browser's presets are dealt from the whole manifest in its order, so that a place in it is one in every browser's
    life; the order of rendering is that of the night.
    """
    # Here: importing it takes a second, and a whole process of Dagster has no use for it.
    from scipy.stats import mannwhitneyu

    orders = (
        ("the manifest", list(batch.records)), ("the run", sorted(batch.records, key=lambda record: record.at)),
    )  # fmt: skip
    for name, ordered in orders:
        bad = [place for place, record in enumerate(ordered) if isinstance(record, FailedRecord)]
        good = [place for place, record in enumerate(ordered) if isinstance(record, OkRecord)]
        if len(bad) < RISING_MIN_FAILURES or not good:
            continue
        late = sum(place >= len(ordered) / 2 for place in bad)
        p = float(mannwhitneyu(bad, good, alternative="greater").pvalue)
        if p < RISING_MAX_P and late >= RISING_MIN_RATIO * (len(bad) - late):
            return f"failures rise along {name}: {len(bad) - late} in its first half, {late} in its second (p {p:.2g})"
    return NoRemedy("failures do not rise along the batch")


def _same_pictures(batch: RejectedBatch) -> str | NoRemedy:
    """Tell presets that still look like an initial state from copies of one preset, which no parameter helps."""
    digests, _ = first_frame_digests(batch.ok, batch.folder.path)
    if not digests:
        return NoRemedy("no preset has a frame")
    commonest, _ = Counter(digests.values()).most_common(1)[0]
    alike = [record for record in batch.ok if digests.get(record.preset_id) == commonest]
    contents = {record.preset_sha256 or record.preset_id for record in alike}
    if len(alike) > 1 and len(contents) <= MOST * len(alike):
        return NoRemedy(
            f"{len(alike)} presets with the same first frame are copies of {len(contents)}: import with --dedupe"
        )
    if len(alike) > 1:
        return f"{len(alike)} of {len(batch.ok)} first frames are the same, of {len(contents)} different presets"
    return f"the figures of {len(batch.ok)} presets lie close together"
