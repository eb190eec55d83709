"""When the picture changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aivj_assets.contracts.show_log import PickReason
from aivj_assets.contracts.style import Energy, Selection
from aivj_assets.show.selector.hearing import Heard

# A beat at 60 bpm: so long after the longest wait a beat is still waited for.
LONGEST_BEAT_S = 1.0


@dataclass(frozen=True)
class Timing:
    """The policy's times by tier, s."""

    min_dwell_s: Mapping[Energy, float]
    max_wait_s: Mapping[Energy, float]
    min_tempo_confidence: float

    @classmethod
    def of(cls, selection: Selection) -> Timing:
        """Return the times of a policy."""
        dwell, wait = selection.min_dwell_seconds, selection.max_wait_seconds
        return cls(
            {"calm": dwell.calm, "groove": dwell.groove, "peak": dwell.peak},
            {"calm": wait.calm, "groove": wait.groove, "peak": wait.peak},
            selection.min_tempo_confidence,
        )

    def why_now(
        self, music: Heard, tier: Energy, *, picked_for: Energy, dwell_s: float, since_release_s: float, section: bool
    ) -> PickReason | None:
        """Return why the preset on screen leaves now, None while it stays.

        `dwell_s` is how long it has been on screen, `since_release_s` how long ago it was held for the last time,
        `section` whether the music came to a new section since it was picked: one that comes now switches at once, one
        that came while the preset had to stay at the next bar. Its moment is over, and a switch as soon as the dwell
        ends met a beat in 21 to 39 % of the cases only.
        """
        least = self.min_dwell_s[tier]
        if dwell_s < least:
            return None
        if music.section:
            return "section"
        waited = min(dwell_s - least, since_release_s)
        longest = self.max_wait_s[tier]
        if music.tempo_confidence < self.min_tempo_confidence:
            return "section" if section else "tier" if tier != picked_for else "noBeat"
        if tier != picked_for and (music.beat or waited >= longest):
            return "tier"
        if section and (music.bar or waited >= longest):
            return "section"
        return None if tier != picked_for else _on_the_beat(music, waited, longest)


def _on_the_beat(music: Heard, waited: float, longest: float) -> PickReason | None:
    if music.phrase:
        return "phrase"
    if music.bar and waited >= longest / 2:
        return "bar"
    if music.beat and waited >= longest:
        return "beat"
    return "wait" if waited >= longest + LONGEST_BEAT_S else None
