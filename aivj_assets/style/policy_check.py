"""Whether an index can keep its policy: enough presets and clusters in every tier, and what to relax otherwise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aivj_assets.contracts.findings import Finding
from aivj_assets.contracts.style import Energy, Selection, StyleEntry
from aivj_assets.style.supply import SHORTEST_DWELL_S, TierSupply, dwell_of, picks_within, round_down, supplies

POLICY_FITS_INDEX = "policy_fits_index"
SHOW_S = 7200.0
# The draw does not plan ahead: with nothing to spare up to 18% of the picks relaxed a rule, with a fifth 1% at most.
SPARE = 1.25


@dataclass(frozen=True)
class TierEvidence:
    """What a show of two hours in one tier needs, and what the index has of it."""

    energy: Energy
    presets: int
    clusters: int
    effective_clusters: float
    dwell_s: float
    presets_needed: int
    """Picks in a row that must be different presets."""
    presets_usable: float
    """How many of them can be, a fifth of each cluster to spare and none beyond its turns."""
    clusters_needed: int
    problem: str | None
    """What the tier lacks; None when it keeps the cooldowns."""
    to_relax: Mapping[str, float]
    """{value of the policy's `selection`: what the tier could keep instead}; empty where no value helps."""


def tier_evidence(selection: Selection, entries: Sequence[StyleEntry]) -> list[TierEvidence]:
    """Return the evidence of each tier, calm to peak.

    Assumed is the worst case: the whole show is in that tier, and every preset leaves as soon as its dwell is over.
    """
    return [_evidence(selection, tier) for tier in supplies(entries)]


def check_policy(selection: Selection, entries: Sequence[StyleEntry]) -> Finding:
    """Return whether every tier keeps the cooldowns through two hours; if not, the detail says what to relax."""
    evidence = tier_evidence(selection, entries)
    told = [tier.problem for tier in evidence if tier.problem is not None]
    problems = [
        f"{', '.join(tier.energy for tier in evidence if tier.problem == problem)}: {problem}"
        for problem in dict.fromkeys(told)
    ]
    kept = (
        f"each tier alone, at its shortest dwell, keeps presetCooldownSeconds {selection.preset_cooldown_seconds:g} "
        f"and clusterCooldownSwitches {selection.cluster_cooldown_switches} through two hours"
    )
    return Finding(
        POLICY_FITS_INDEX,
        not problems,
        f"{'; '.join(problems)}. {_advice(evidence)}" if problems else kept,
        severity="warning",
        figures={f"{tier.energy}_presets": tier.presets for tier in evidence}
        | {f"{tier.energy}_presets_needed": tier.presets_needed for tier in evidence},
    )


def _evidence(selection: Selection, tier: TierSupply) -> TierEvidence:
    dwell = max(dwell_of(selection, tier.energy), SHORTEST_DWELL_S)
    picks = math.ceil(SHOW_S / dwell)
    needed = min(picks_within(selection.preset_cooldown_seconds, dwell), picks)
    clusters_needed = min(selection.cluster_cooldown_switches + 1, picks)
    usable = tier.usable_presets(needed, selection.cluster_cooldown_switches, SPARE)
    enough = tier.presets > 1 and tier.holds(needed, clusters_needed - 1, spare=SPARE)
    problem: str | None = None
    if tier.presets < 2:
        problem = f"{'1 preset' if tier.presets else 'no presets'}, its neighbours' are shown"
    elif tier.clusters < clusters_needed:
        problem = f"{tier.counted}, where {clusters_needed} clusters are to take turns"
    elif not enough:
        problem = f"{needed} picks in a row are to differ, of {tier.counted}"
    return TierEvidence(
        energy=tier.energy,
        presets=tier.presets,
        clusters=tier.clusters,
        effective_clusters=tier.effective_clusters,
        dwell_s=dwell,
        presets_needed=needed,
        presets_usable=usable,
        clusters_needed=clusters_needed,
        problem=problem,
        to_relax={} if enough or tier.presets < 2 else _to_relax(selection, tier, dwell),
    )


def _to_relax(selection: Selection, tier: TierSupply, dwell_s: float) -> dict[str, float]:
    """Return the values that a tier would keep: the cluster cooldown stays as long as it can."""
    cooldown, switches = selection.preset_cooldown_seconds, selection.cluster_cooldown_switches
    fewer = min(switches, tier.clusters - 1)
    held = round_down(tier.longest_cooldown_s(dwell_s, fewer, spare=SPARE, limit_s=min(cooldown, SHOW_S)))
    values: dict[str, float] = {}
    if fewer < switches:
        values["clusterCooldownSwitches"] = fewer
    if held < cooldown:
        values["presetCooldownSeconds"] = held
    return values


def _advice(evidence: Sequence[TierEvidence]) -> str:
    """Return what to do that helps every tier: what the scarcest keeps."""
    least: dict[str, float] = {}
    for tier in evidence:
        for name, value in tier.to_relax.items():
            least[name] = min(value, least.get(name, value))
    if not least:
        return "Publish more of that energy"
    values = " and ".join(f"{name} {value:g}" for name, value in sorted(least.items()))
    return f"Set {values} in aivj-pack.json (policy.selection), or publish more"
