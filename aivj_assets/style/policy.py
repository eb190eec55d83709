"""The style policy: how the app picks from an index, each value with its reason.

What a person sets in `aivj-pack.json` is kept; what the index decides is derived from it; the rest are defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from aivj_assets.contracts.pack_settings import PolicySettings, TierSecondsSettings
from aivj_assets.contracts.style import (
    ENERGIES,
    DwellSeconds,
    MotionThresholds,
    Selection,
    StyleEntry,
    StylePolicy,
    WaitSeconds,
)
from aivj_assets.errors import UserError
from aivj_assets.style.supply import SHORTEST_DWELL_S, TierSupply, dwell_of, round_down, scarcest, supplies

SET_BY_PERSON = "set in aivj-pack.json"
MOST_COOLDOWN_S = 1800.0
MOST_SWITCHES = 2
# With two presets where one would do the picks of a tier become a fixed round: in shows of two hours in one tier, over
# libraries of 60 to 1,000 presets, up to 18% of the picks relaxed a rule with nothing to spare, none with a third.
SPARE = 1.5

_DWELL_WHY = "at 120 bpm 24, 16 and 8 s are 12, 8 and 4 bars, so that a switch can fall on a phrase"
_WAIT_WHY = "at 120 bpm a phrase takes 8 s: one comes by while a switch waits, or, at a peak, a bar within 2 s"

Times = TypeVar("Times", DwellSeconds, WaitSeconds)


@dataclass(frozen=True)
class ReasonedPolicy:
    """A policy and why each of its values is what it is, by the value's place in the file."""

    policy: StylePolicy
    reasons: Mapping[str, str]


def build_policy(
    pack: str, generated_at: str, entries: Sequence[StyleEntry], settings: PolicySettings | None = None
) -> ReasonedPolicy:
    """Return the policy of a pack whose style index v1 has these entries.

    Raises `UserError` for thresholds out of order, or for a chance of 1 beside a cluster cooldown.
    """
    told = settings or PolicySettings()
    thresholds, thresholds_why = _thresholds(told)
    selection, why = _selection(told, supplies(entries), len({entry.author_key for entry in entries}))
    chance, chance_why = _chance(told, selection)
    policy = StylePolicy(
        generated_at=generated_at,
        pack=pack,
        prefer_same_author_chance=chance,
        motion_thresholds=thresholds,
        selection=selection,
    )
    reasons = {
        "preferSameAuthorChance": chance_why,
        "motionThresholds": thresholds_why,
        "profileMap": "the app's map",
        **{f"selection.{name}": reason for name, reason in why.items()},
    }
    return ReasonedPolicy(policy, reasons)


def _thresholds(told: PolicySettings) -> tuple[MotionThresholds, str]:
    given = told.motion_thresholds.model_dump(exclude_none=True)
    thresholds = MotionThresholds(**given)
    if thresholds.calm_max > thresholds.groove_max:
        raise UserError(
            f"motionThresholds calmMax {thresholds.calm_max:g} is above grooveMax {thresholds.groove_max:g} "
            "(aivj-pack.json: policy); exchange them."
        )
    named = {"calmMax": thresholds.calm_max, "grooveMax": thresholds.groove_max}
    rest = "the app's: they cut its own motion macro, not a preset's motion"
    return thresholds, _parts_why(named, {"calmMax": "calm_max" in given, "grooveMax": "groove_max" in given}, rest)


def _chance(told: PolicySettings, selection: Selection) -> tuple[float, str]:
    chance, switches = told.prefer_same_author_chance, selection.cluster_cooldown_switches
    if chance is None:
        return 0.0, (
            "0: authorKey is the cluster, and staying with it contradicts clusterCooldownSwitches; the app's default "
            "is 1"
        )
    if chance == 1 and switches > 0:
        raise UserError(
            f"preferSameAuthorChance 1 keeps the show in one cluster, but clusterCooldownSwitches is {switches} "
            "(aivj-pack.json: policy); lower the one or set the other to 0."
        )
    return chance, f"{chance:g}: {SET_BY_PERSON}"


def _selection(told: PolicySettings, tiers: Sequence[TierSupply], clusters: int) -> tuple[Selection, dict[str, str]]:
    given = told.selection
    dwell, dwell_why = _times(DwellSeconds, given.min_dwell_seconds, _DWELL_WHY)
    wait, wait_why = _times(WaitSeconds, given.max_wait_seconds, _WAIT_WHY)
    defaults = Selection.model_validate({"minDwellSeconds": dwell, "maxWaitSeconds": wait})
    filled = [tier for tier in tiers if tier.presets]
    switches, switches_why = _kept_or(
        given.cluster_cooldown_switches, lambda: _switches(filled, clusters, told.prefer_same_author_chance)
    )
    cooldown, cooldown_why = _kept_or(given.preset_cooldown_seconds, lambda: _cooldown(filled, defaults, int(switches)))
    confidence, confidence_why = _kept_or(
        given.min_tempo_confidence,
        lambda: (
            defaults.min_tempo_confidence,
            f"{defaults.min_tempo_confidence:g}: of 0..1; below it beats are guesses, for which no switch waits",
        ),
    )
    order = given.relax_order if given.relax_order is not None else defaults.relax_order
    selection = defaults.model_copy(
        update={
            "preset_cooldown_seconds": cooldown,
            "cluster_cooldown_switches": int(switches),
            "min_tempo_confidence": confidence,
            "relax_order": list(order),
        }
    )
    order_why = (
        "a style too soon is noticed least, a preset again most; one that does not fit the music lies between"
        if given.relax_order is None
        else SET_BY_PERSON
    )
    return selection, {
        "presetCooldownSeconds": cooldown_why,
        "clusterCooldownSwitches": switches_why,
        "minDwellSeconds": dwell_why,
        "maxWaitSeconds": wait_why,
        "minTempoConfidence": confidence_why,
        "relaxOrder": f"{', '.join(order)}: {order_why}",
    }


def _kept_or(given: float | None, derived: Callable[[], tuple[float, str]]) -> tuple[float, str]:
    return derived() if given is None else (given, f"{given:g}: {SET_BY_PERSON}")


def _times(kind: type[Times], given: TierSecondsSettings, rest: str) -> tuple[Times, str]:
    told = given.model_dump(exclude_none=True)
    times = kind(**told)
    values: dict[str, float] = {energy: getattr(times, energy) for energy in ENERGIES}
    return times, _parts_why(values, {energy: energy in told for energy in ENERGIES}, rest)


def _parts_why(values: Mapping[str, float], is_set: Mapping[str, bool], rest: str) -> str:
    """Return the reason of a value of several parts: which a person set, and why the others are what they are."""
    told = [
        (", ".join(f"{name} {value:g}" for name, value in values.items() if is_set[name] == by_person), why)
        for by_person, why in ((True, SET_BY_PERSON), (False, rest))
    ]
    return "; ".join(f"{named}: {why}" for named, why in told if named)


def _switches(filled: Sequence[TierSupply], clusters: int, chance: float | None) -> tuple[int, str]:
    """Return the most switches, up to 2, that leave every tier more than one effective cluster to draw from."""
    if chance == 1:
        return 0, "0: preferSameAuthorChance 1 keeps the show in one cluster"
    if clusters == 1:
        return 0, "0: there is one cluster"
    if not filled:
        return MOST_SWITCHES, f"{MOST_SWITCHES}: a style comes back after two others at the earliest"
    least = min(filled, key=lambda tier: tier.effective_clusters)
    counted = f"{least.energy} has {least.counted}, as varied as {least.effective_clusters:.1f} equal ones"
    if least.effective_clusters > MOST_SWITCHES + 1:
        return MOST_SWITCHES, (
            f"{MOST_SWITCHES}: a style comes back after two others at the earliest, and always from a choice: {counted}"
        )
    return 1, f"1: not twice the same style running; {counted}, too few for two others between"


def _cooldown(filled: Sequence[TierSupply], selection: Selection, switches: int) -> tuple[float, str]:
    """Return the longest cooldown, up to 1800 s, that every tier of two presets or more holds with some to spare."""
    wished = f"{MOST_COOLDOWN_S:g}: nobody sees the same preset twice within half an hour of a set"
    if not filled:
        return MOST_COOLDOWN_S, wished
    if sum(tier.presets for tier in filled) == 1:
        return 0.0, "0: there is one preset"
    held_by = [tier for tier in filled if tier.presets > 1]
    if not held_by:
        dwell = max(min(dwell_of(selection, tier.energy) for tier in filled), SHORTEST_DWELL_S)
        return dwell, f"{dwell:g}: no tier has two presets; nothing comes back with the next switch"
    held = [
        # A tier of too few clusters relaxes their cooldown; its presets can rest all the same.
        tier.longest_cooldown_s(
            dwell_of(selection, tier.energy), min(switches, tier.clusters - 1), spare=SPARE, limit_s=MOST_COOLDOWN_S
        )
        for tier in held_by
    ]
    tier, shortest = scarcest(held_by, held)
    if shortest >= MOST_COOLDOWN_S:
        return MOST_COOLDOWN_S, f"{wished}, and every tier lasts that long"
    dwell = max(dwell_of(selection, tier.energy), SHORTEST_DWELL_S)
    counted = f"{tier.energy}, played through at {dwell:g} s each, has {tier.counted}"
    if shortest <= dwell:
        return shortest, f"{shortest:g}: {counted}: enough that nothing comes back with the next switch"
    seconds = round_down(shortest)
    return seconds, f"{seconds:g}: {counted}; a third of each cluster is left to choose from"
