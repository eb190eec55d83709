"""The judge: rules counted by an independent reading of what was shown. It never asks the selector.

Whatever picked, the same rules hold: those of the policy's `selection`, against the tiers that were heard.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from aivj_assets.contracts.rehearsal import Violation
from aivj_assets.contracts.show_log import LISTED_CANDIDATES, EndLine, PickLine
from aivj_assets.contracts.style import ENERGIES, Selection, StyleEntry
from aivj_assets.show.rehearsal.heard import Acts, Heard, ShowLines, Shown, Times

STALL_GRACE_S = 2.0
"""A switch that is due is late when it comes so much after the longest wait."""
# Times are multiples of 50 ms in floating point; a dwell of 8 s may come out a hair below 8.
_TOLERANCE_S = 1e-6


@dataclass(frozen=True)
class Rules:
    """What is judged against: the index, the policy's rules, presets that must not be shown."""

    library: Mapping[str, StyleEntry]
    """{presetId: its entry of the published index}."""
    selection: Selection
    blacklist: Collection[str] = frozenset()
    acts: Acts = field(default_factory=Acts)

    def banned(self, preset_id: str, time_s: float) -> bool:
        """Whether a preset must not be picked at a time: blacklisted from the start, or by a person since then."""
        return preset_id in self.blacklist or self.acts.blacklisted_s.get(preset_id, np.inf) < time_s - _TOLERANCE_S


def judge(shown: Sequence[Shown], heard: Heard, rules: Rules) -> list[Violation]:
    """Return every broken rule in the order of time.

    A preset leaves the screen when the next one comes. A rule that a pick lists as relaxed is not broken by it, unless
    presets that keep all rules were there. Dwell and waits are those of the tier that was heard at the moment.
    """
    found = [*_broken_by_picks(shown, heard, rules), *_early(shown, heard, rules), *_stalls(shown, heard, rules)]
    return sorted(found, key=lambda one: one.time_s)


def judge_log(lines: ShowLines, rules: Rules) -> list[Violation]:
    """Return where a log contradicts itself or the index: numbers, ends that do not meet picks, probabilities."""
    listed = list(lines)
    picks = [line for line in listed if isinstance(line, PickLine)]
    ends = {line.number: line for line in listed if isinstance(line, EndLine)}
    found: list[Violation] = []
    for number, pick in enumerate(picks):
        problem = _problem_of(pick, number, rules)
        end = ends.get(pick.number)
        leaves_s = picks[number + 1].time_s if number + 1 < len(picks) else None
        if problem is None and end is None:
            problem = "it has no end line"
        if problem is None and end is not None:
            problem = _problem_of_end(pick, end, leaves_s)
        if problem is not None:
            found.append(Violation(rule="log", time_s=pick.time_s, preset_id=pick.preset_id, detail=problem))
    return found


def _problem_of(pick: PickLine, number: int, rules: Rules) -> str | None:
    if pick.number != number:
        return f"pick {number} is numbered {pick.number}"
    if len(pick.candidates) != min(pick.candidate_count, LISTED_CANDIDATES):
        return f"it lists {len(pick.candidates)} of {pick.candidate_count} candidates"
    total = sum(candidate.probability for candidate in pick.candidates)
    if total > 1 + 1e-6 or (len(pick.candidates) == pick.candidate_count and abs(total - 1) > 1e-6):
        return f"the probabilities of {pick.candidate_count} candidates add up to {total:.6f}"
    for candidate in pick.candidates:
        if rules.banned(candidate.preset_id, pick.time_s):
            return f"'{candidate.preset_id}' is a candidate and blacklisted"
    return None


def _problem_of_end(pick: PickLine, end: EndLine, leaves_s: float | None) -> str | None:
    if (end.preset_id, end.cluster) != (pick.preset_id, pick.cluster):
        return f"its end line names '{end.preset_id}'"
    if abs(end.dwell_s - (end.time_s - pick.time_s)) > 1e-3:
        return f"it says {end.dwell_s:.3f} s on screen, but {end.time_s - pick.time_s:.3f} s lie between its lines"
    if leaves_s is not None and abs(end.time_s - leaves_s) > 1e-3:
        return f"it ends at {end.time_s:.3f} s and the next begins at {leaves_s:.3f} s"
    return None


def _broken_by_picks(shown: Sequence[Shown], heard: Heard, rules: Rules) -> Iterator[Violation]:
    left_s: dict[str, float] = {}
    for number, now in enumerate(shown):
        if number:
            left_s[shown[number - 1].preset_id] = now.time_s
        recent = _recent_clusters(shown, number, rules.selection)
        for rule, detail in _problems_of_pick(now, heard, rules, left_s, recent):
            yield Violation.model_validate(
                {"rule": rule, "time_s": now.time_s, "preset_id": now.preset_id, "detail": detail}
            )


def _recent_clusters(shown: Sequence[Shown], number: int, selection: Selection) -> list[str]:
    count = selection.cluster_cooldown_switches
    return [one.cluster for one in shown[max(0, number - count) : number]]


def _problems_of_pick(
    now: Shown, heard: Heard, rules: Rules, left_s: Mapping[str, float], recent: Sequence[str]
) -> Iterator[tuple[str, str]]:
    entry, selection = rules.library.get(now.preset_id), rules.selection
    if entry is None or (entry.author_key, entry.energy) != (now.cluster, now.energy):
        yield "log", "the index has no such preset with this cluster and energy"
        return
    if rules.banned(now.preset_id, now.time_s):
        yield "blacklisted", "it is blacklisted"
    tier = heard.tier_at(now.time_s)
    if now.tier is not None and now.tier != tier:
        yield "log", f"the line says {now.tier}, the music was {tier}"
    if now.energy != tier and "tier" not in now.relaxed:
        yield "tier", f"{now.energy} while the music was {tier}"
    away_s = now.time_s - left_s.get(now.preset_id, -np.inf)
    if away_s < selection.preset_cooldown_seconds - _TOLERANCE_S and "presetCooldown" not in now.relaxed:
        yield "presetCooldown", f"back after {away_s:.1f} s of {selection.preset_cooldown_seconds:g}"
    if now.cluster in recent and "clusterCooldown" not in now.relaxed and not now.favourite:
        ago = list(reversed(recent)).index(now.cluster) + 1
        yield "clusterCooldown", f"{now.cluster} was picked {ago} before; {len(recent)} others come first"
    if now.relaxed:
        keeping = _keep_all_rules(now, str(tier), rules, left_s, recent)
        if keeping:
            yield "needlessRelax", f"{', '.join(now.relaxed)} gave way, but {keeping} presets keep all rules"


def _keep_all_rules(now: Shown, tier: str, rules: Rules, left_s: Mapping[str, float], recent: Sequence[str]) -> int:
    """Return how many presets could be picked without any rule giving way; a preset on screen is none of them."""
    latest = now.time_s - rules.selection.preset_cooldown_seconds + _TOLERANCE_S
    return sum(
        entry.energy == tier
        and entry.author_key not in recent
        and left_s.get(name, -np.inf) <= latest
        and not rules.banned(name, now.time_s)
        for name, entry in rules.library.items()
    )


def _early(shown: Sequence[Shown], heard: Heard, rules: Rules) -> Iterator[Violation]:
    for before, after in pairwise(shown):
        tier = heard.tier_at(after.time_s)
        if tier is None or after.reason in {"skip", "failed"}:
            continue
        dwell_s, least_s = after.time_s - before.time_s, float(getattr(rules.selection.min_dwell_seconds, tier))
        if dwell_s < least_s - _TOLERANCE_S:
            yield Violation(
                rule="dwell", time_s=after.time_s, preset_id=before.preset_id,
                detail=f"it left after {dwell_s:.2f} s; {tier} asks for {least_s:g}",
            )  # fmt: skip


def spans(shown: Sequence[Shown], end_s: float) -> Iterator[tuple[Shown, float]]:
    """Yield what was shown with the time at which it left: when the next came, the last at the end."""
    for number, one in enumerate(shown):
        yield one, shown[number + 1].time_s if number + 1 < len(shown) else end_s


def _stalls(shown: Sequence[Shown], heard: Heard, rules: Rules) -> Iterator[Violation]:
    if not heard.times_s.size:
        return
    begin_s = float(heard.times_s[0])
    may_be_shown = [name for name in rules.library if not rules.banned(name, begin_s)]
    first_s = shown[0].time_s if shown else heard.end_s
    if may_be_shown and first_s - begin_s > STALL_GRACE_S:
        yield Violation(rule="stall", time_s=begin_s, detail=f"nothing was shown for {first_s - begin_s:.1f} s")
    for one, leaves_s in spans(shown, heard.end_s):
        others = any(name != one.preset_id and not rules.banned(name, leaves_s) for name in may_be_shown)
        late = _longest_wait(one.time_s, leaves_s, heard, rules) if others else None
        if late is not None:
            at_s, waited_s, longest_s = late
            yield Violation(
                rule="stall", time_s=at_s, preset_id=one.preset_id,
                detail=f"due for {waited_s:.1f} s; the longest wait is {longest_s:g} s",
            )  # fmt: skip


def _longest_wait(shown_s: float, leaves_s: float, heard: Heard, rules: Rules) -> tuple[float, float, float] | None:
    """Return (when, how long, longest allowed wait) of the first moment that a due switch was late; None when never.

    A switch is due from the row in which the dwell of the tier then heard is over; a calmer tier with a longer dwell
    makes it not due again. While a preset is held nothing is due.
    """
    selection = rules.selection
    rows = slice(np.searchsorted(heard.times_s, shown_s), np.searchsorted(heard.times_s, leaves_s + _TOLERANCE_S))
    times, tiers = heard.times_s[rows], heard.tiers[rows]
    if not times.size:
        return None
    least, longest = (
        np.array([getattr(of_tier, tier) for tier in ENERGIES])[tiers]
        for of_tier in (selection.min_dwell_seconds, selection.max_wait_seconds)
    )
    due = times - shown_s >= least - _TOLERANCE_S
    for begin_s, end_s in rules.acts.held_s:
        due &= ~((times >= begin_s) & (times <= end_s))
    waited = _since_begun(times, due)
    late = np.flatnonzero(waited > longest + STALL_GRACE_S + _TOLERANCE_S)
    if not late.size:
        return None
    worst = int(late[np.argmax(waited[late] - longest[late])])
    return float(times[late[0]]), float(waited[worst]), float(longest[worst])


def _since_begun(times: Times, due: npt.NDArray[np.bool_]) -> Times:
    """Return for each row the time since the unbroken run of due rows that it is in began, 0 outside."""
    begins = due & ~np.concatenate(([False], due[:-1]))
    begin_s = np.maximum.accumulate(np.where(begins, times, -np.inf))
    since: Times = np.where(due, times - begin_s, 0.0)
    return since
