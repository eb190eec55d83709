"""Whether a rehearsal was clean: what the check of the asset and the command's exit status say."""

from __future__ import annotations

from aivj_assets.contracts.findings import Finding
from aivj_assets.contracts.rehearsal import Rehearsal

REHEARSAL_CLEAN = "rehearsal_clean"
MAX_RELAXED_FRACTION = 0.01
LARGE_LIBRARY = 300
"""From so many presets on, rules hardly ever need to give way."""


def rehearsal_finding(made: Rehearsal) -> Finding:
    """Return whether no rule was broken and, in a library of 300 presets and more, at most 1 % of picks relaxed one."""
    ours = made.figures("selector")
    broken = ", ".join(f"{rule} {count}" for rule, count in ours.violations.items())
    relaxed = ours.relaxed_fraction
    too_relaxed = made.presets >= LARGE_LIBRARY and relaxed > MAX_RELAXED_FRACTION
    parts = [
        f"rules broken in {ours.picks:,} picks: {broken or 'none'}",
        f"picks with a relaxed rule: {relaxed:.1%}"
        + (f", more than {MAX_RELAXED_FRACTION:.0%} of {made.presets:,} presets" if too_relaxed else ""),
    ]
    return Finding(
        REHEARSAL_CLEAN,
        not ours.violation_count and not too_relaxed,
        "; ".join(parts),
        figures={
            "violations": float(ours.violation_count),
            "relaxed_fraction": relaxed,
            "picks": float(ours.picks),
            "presets": float(made.presets),
        },
    )
