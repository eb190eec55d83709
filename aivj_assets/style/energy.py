"""Energy of presets: from measured motion (style index v1) and, without pictures, from title keywords (v0)."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from aivj_assets.contracts.findings import examples
from aivj_assets.contracts.style import ENERGIES, Energy
from aivj_assets.errors import UserError

# Whole words with their inflections, so that "raven" is no rave. Words that name a technique ("motion blur",
# "reaction diffusion") say nothing about how calm a preset looks and are left out.
_CALM_WORDS = """
ambient aurora breath breathe breathing calm calming chill chilled chillout cloud clouds cloudy deep distant dream
dreaming dreams dreamy drift drifter drifting drone float floating gentle glacial haze hazy lazy lull lullaby meditate
meditation mellow mist misty ocean peace peaceful quiet relax relaxed relaxing serene serenity silence silent sleep
sleeping sleepy slow slowly smooth soft softly still stillness sunset tranquil underwater zen
"""
_PEAK_WORDS = """
attack battle blast burst chaos chaotic crash crazy explode exploding explosion explosions explosive fast faster fierce
fireworks flash flashing frantic frenzy furious fury glowsticks hardcore hectic hyper hyperspeed insane insanity intense
lightning mad madness mayhem mosh overdrive overload pogo psychotic quake rage raging rapid rave raver raving riot rush
shock smash smashing speed speeding storm strobe strobes strobing supernova techno thunder turbo turbulence turbulent
violent warpspeed wild
"""
ENERGY_KEYWORDS: dict[Energy, frozenset[str]] = {
    "calm": frozenset(_CALM_WORDS.split()),
    "peak": frozenset(_PEAK_WORDS.split()),
}
# A third is the aim; terciles drawn anew with each batch would give 5-15% of the presets another energy early on.
TIER_MIN_FRACTION, TIER_MAX_FRACTION = 0.25, 0.42


@dataclass(frozen=True)
class EnergyTiers:
    """The energy of each preset and the cut points of `motion` (0..1) behind it.

    A preset is calm up to `calm_max`, groove up to `groove_max`, else peak; both are the 1/3 and 2/3 quantiles of
    motion (inverted empirical distribution) and None where all presets move alike. Among presets whose motion equals a
    cut point exactly, rank decides.
    """

    energies: dict[str, Energy]
    calm_max: float | None
    groove_max: float | None

    @property
    def counts(self) -> dict[str, int]:
        """Presets per energy, calm to peak, zeros included."""
        counts = Counter(self.energies.values())
        return {energy: counts[energy] for energy in ENERGIES}


def energy_by_motion(motion: Mapping[str, float]) -> EnergyTiers:
    """Cut presets {presetId: motion in 0..1} into terciles by motion: calm, groove, peak.

    Presets are ranked by motion, ties by preset id, so that tiers hold n/3 presets within one, also when many share
    a figure (static presets have motion 0). When all motions are equal nothing tells them apart and all are groove.
    Raises `UserError` for a figure that is no number.
    """
    _require_finite(motion)
    ranked = sorted(motion, key=lambda preset_id: (motion[preset_id], preset_id))
    if not ranked or motion[ranked[0]] == motion[ranked[-1]]:
        return EnergyTiers(dict.fromkeys(ranked, "groove"), None, None)
    count = len(ranked)
    energies = {preset_id: ENERGIES[3 * rank // count] for rank, preset_id in enumerate(ranked)}
    calm_last, groove_last = -(-count // 3) - 1, -(-2 * count // 3) - 1
    return EnergyTiers(energies, motion[ranked[calm_last]], motion[ranked[groove_last]])


def energy_by_cuts(motion: Mapping[str, float], calm_max: float | None, groove_max: float | None) -> EnergyTiers:
    """Cut presets {presetId: motion in 0..1} at given points: calm up to `calm_max`, groove up to `groove_max`.

    Without points all are groove. Raises `UserError` for a figure that is no number.
    """
    _require_finite(motion)
    if calm_max is None or groove_max is None:
        return EnergyTiers(dict.fromkeys(motion, "groove"), None, None)
    energies: dict[str, Energy] = {
        preset_id: "calm" if value <= calm_max else "groove" if value <= groove_max else "peak"
        for preset_id, value in motion.items()
    }
    return EnergyTiers(energies, calm_max, groove_max)


def uneven_tier(tiers: EnergyTiers) -> str | None:
    """Return which tier holds less than 25% or more than 42% of the presets, in words; None when none does."""
    total = len(tiers.energies)
    for energy, count in tiers.counts.items():
        share = count / total if total else 0.0
        if not TIER_MIN_FRACTION <= share <= TIER_MAX_FRACTION:
            return (
                f"{energy} holds {share:.1%} of {total} presets, outside {TIER_MIN_FRACTION:.0%} to "
                f"{TIER_MAX_FRACTION:.0%}"
            )
    return None


def _require_finite(motion: Mapping[str, float]) -> None:
    broken = [preset_id for preset_id, value in motion.items() if not math.isfinite(value)]
    if broken:
        raise UserError(f"motion of {examples(sorted(broken))} is no number; materialise frames again.")


def energy_by_title(title: str) -> Energy:
    """Return the energy that a preset's title suggests: the one with more keywords, groove where none leads.

    Words end at anything but letters and at a capital after a small letter ("SlowShift" is slow and shift).
    """
    plain = unicodedata.normalize("NFKD", title)
    words = Counter(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", plain).lower()))
    hits = {energy: sum(words[word] for word in keywords) for energy, keywords in ENERGY_KEYWORDS.items()}
    if hits["calm"] == hits["peak"]:
        return "groove"
    return "calm" if hits["calm"] > hits["peak"] else "peak"
