"""The style policy: how the app picks from an index, each value with its reason."""

from __future__ import annotations

from aivj_assets.contracts.style import MotionThresholds, Selection, StylePolicy
from aivj_assets.errors import UserError

REASONS: dict[str, str] = {
    "preferSameAuthorChance": (
        "0: authorKey is the cluster, and staying with it contradicts clusterCooldownSwitches; the app's default is 1"
    ),
    "motionThresholds": "the app's values: they cut its own motion macro, not a preset's motion",
    "profileMap": "the app's map",
    "selection.presetCooldownSeconds": "1800: nobody sees the same preset twice within half an hour of a set",
    "selection.clusterCooldownSwitches": (
        "2: a style comes back after two others at the earliest; any pack of three clusters can hold it"
    ),
    "selection.minDwellSeconds": (
        "calm 24, groove 16, peak 8: at 120 bpm these are 12, 8 and 4 bars, so that a switch can fall on a phrase"
    ),
}


def build_policy(
    pack: str,
    generated_at: str,
    *,
    prefer_same_author_chance: float = 0.0,
    motion_thresholds: MotionThresholds | None = None,
    selection: Selection | None = None,
) -> StylePolicy:
    """Return a pack's policy; what is not given has the defaults whose reasons `REASONS` tells.

    Raises `UserError` for a chance outside 0..1, thresholds out of order, or a chance of 1 beside a cluster cooldown.
    """
    thresholds = motion_thresholds or MotionThresholds.model_validate({})
    rules = selection or Selection.model_validate({})
    if not 0 <= prefer_same_author_chance <= 1:
        raise UserError(f"preferSameAuthorChance is {prefer_same_author_chance}; it lies in 0..1.")
    if prefer_same_author_chance == 1 and rules.cluster_cooldown_switches > 0:
        raise UserError(
            "preferSameAuthorChance 1 keeps the show in one cluster, but clusterCooldownSwitches is "
            f"{rules.cluster_cooldown_switches}; lower the one or set the other to 0."
        )
    if thresholds.calm_max > thresholds.groove_max:
        raise UserError(
            f"motionThresholds calmMax {thresholds.calm_max} is above grooveMax {thresholds.groove_max}; exchange them."
        )
    return StylePolicy(
        generated_at=generated_at,
        pack=pack,
        prefer_same_author_chance=prefer_same_author_chance,
        motion_thresholds=thresholds,
        selection=rules,
    )
