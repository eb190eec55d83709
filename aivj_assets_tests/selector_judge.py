"""A judge of shows, written from the rules and not from the selector: it replays a script beside the lines it gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aivj_assets.contracts.style import ENERGIES, RELAX_ORDER, Selection

BEAT_S = 1.0
TIER_DISTANCE = {
    (a, b): abs(ENERGIES.index(a) - ENERGIES.index(b)) for a in ENERGIES for b in ENERGIES
}  # fmt: skip


class Judge:
    """Follows a show and collects what breaks a rule, one text a breach."""

    def __init__(self, case: Mapping[str, Any], selection: Selection) -> None:
        self.rules = selection
        self.presets = {entry["presetId"]: entry for entry in case["index"]["entries"]}
        self.favourites = set(case.get("favourites", ()))
        self.blacklist = set(case.get("blacklist", ()))
        self.breaches: list[str] = []
        self.picks: list[dict[str, Any]] = []
        self.left: dict[str, float] = {}
        self.shown: set[str] = set()
        self.screen: dict[str, Any] | None = None
        self.section = self.skip = self.held = False
        self.released = 0.0
        self.checked = {"relaxed": 0, "favourite": 0, "due": 0}

    def replay(self, script: Sequence[Sequence[Any]], lines: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return the breaches of a whole show."""
        after: dict[int, list[Any]] = {}
        for made in lines:
            after.setdefault(made["after"], []).append(made["line"])
        for place, (kind, *told) in enumerate(script):
            here = after.get(place, [])
            if kind == "step":
                self.step(told[0], here)
            elif kind == "act":
                self.act(told[0], told[1], here)
            else:
                self.ended(here, told[0], "stop")
        return self.breaches

    def expect(self, kept: bool, breach: str) -> None:
        if not kept:
            self.breaches.append(breach)

    def others(self) -> list[str]:
        """Return what may be shown instead of the preset on screen, were there no rule but the blacklist."""
        on_screen = None if self.screen is None else self.screen["presetId"]
        return [name for name in self.presets if name not in self.blacklist and name != on_screen]

    def act(self, act: str, time_s: float, lines: Sequence[Mapping[str, Any]]) -> None:
        if self.screen is None:
            self.expect(not lines, f"{act} without a picture gave a line")
            return
        name = self.screen["presetId"]
        self.expect([(line["kind"], line["presetId"]) for line in lines] == [("act", name)], f"{act} gave {lines}")
        self.skip = self.skip or act in {"skip", "blacklist"}
        if act == "favourite":
            self.favourites.add(name)
        if act == "unfavourite":
            self.favourites.discard(name)
        if act == "blacklist":
            self.blacklist.add(name)
        if act == "release" and self.held:
            self.released, self.section = time_s, False
        self.held = (self.held or act == "hold") and act != "release"

    def step(self, row: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> None:
        now, tier = row["timeS"], row["tier"]
        self.section = self.section or row["section"]
        others = self.others()
        picks = [line for line in lines if line["kind"] == "pick"]
        ends = [line for line in lines if line["kind"] == "end"]
        why_now = self.must_switch(row, now) if self.screen is not None else "start"
        if not others:
            self.expect(not picks, f"{now}: a pick where nothing is left")
            if ends:
                self.expect(self.screen is not None and self.screen["presetId"] in self.blacklist, f"{now}: it left")
                self.ended(ends, now, "skip")
            self.skip = False
            return
        if why_now is not None:
            self.checked["due"] += 1
            self.expect(len(picks) == 1, f"{now}: no switch, which was due ({why_now})")
        for pick in picks:
            self.timed(row, pick, now)
            self.chosen(pick, tier, now, others)
            if self.screen is None:
                self.expect(not ends, f"{now}: an end of nothing")
            else:
                reason = pick["reason"]
                self.ended(ends, now, reason if reason in {"section", "tier", "skip"} else "switch")
            self.picks.append(pick)
            self.shown.add(pick["presetId"])
            self.screen, self.section, self.skip, self.held, self.released = pick, False, False, False, now

    def ended(self, lines: Sequence[Mapping[str, Any]], now: float, why: str) -> None:
        if self.screen is None:
            self.expect(not lines, f"{now}: an end of nothing")
            return
        self.expect(len(lines) == 1, f"{now}: {len(lines)} ends")
        for line in lines:
            told = (line["presetId"], line["cluster"], line["number"], line["endedBy"], line["dwellS"])
            dwell = now - self.screen["timeS"]
            wanted = (self.screen["presetId"], self.screen["cluster"], self.screen["number"], why, dwell)
            self.expect(told == wanted, f"{now}: end {told}, not {wanted}")
            self.expect(0 <= line["heldS"] <= dwell + 1e-9, f"{now}: held {line['heldS']} of {dwell}")
        self.left[self.screen["presetId"]] = now
        self.screen = None

    def must_switch(self, row: Mapping[str, Any], now: float) -> str | None:
        """Return why the preset on screen may not stay any longer, None while it may."""
        assert self.screen is not None
        tier = row["tier"]
        if self.skip:
            return "skip"
        least, longest = (getattr(times, tier) for times in (self.rules.min_dwell_seconds, self.rules.max_wait_seconds))
        if self.held or now - self.screen["timeS"] < least:
            return None
        waited = min(now - self.screen["timeS"] - least, now - self.released)
        beat_will_do = waited >= longest or tier != self.screen["tier"]
        reasons = {
            "section": row["section"],
            "bar after a section": self.section and (row["bar"] or waited >= longest),
            "no beat to wait for": row["tempoConfidence"] < self.rules.min_tempo_confidence,
            "the longest wait and a beat": waited >= longest + BEAT_S,
            "phrase, or beat": row["phrase"] or (row["beat"] and beat_will_do),
        }
        return next((why for why, so in reasons.items() if so), None)

    def timed(self, row: Mapping[str, Any], pick: Mapping[str, Any], now: float) -> None:
        """Judge when the pick came."""
        reason, tier = pick["reason"], row["tier"]
        self.expect(pick["timeS"] == now and pick["tier"] == tier, f"{now}: time or tier of the line")
        if self.screen is None or self.skip:
            self.expect(reason == ("start" if self.screen is None else "skip"), f"{now}: {reason}")
            return
        self.expect(not self.held, f"{now}: it was held")
        dwell = now - self.screen["timeS"]
        least = getattr(self.rules.min_dwell_seconds, tier)
        self.expect(dwell >= least, f"{now}: {reason} after {dwell} s of {least} s")
        trusted = row["tempoConfidence"] >= self.rules.min_tempo_confidence
        longest = getattr(self.rules.max_wait_seconds, tier)
        waited = dwell - least
        true_of = {
            "section": row["section"] or (self.section and (row["bar"] or not trusted or waited >= longest)),
            "tier": tier != self.screen["tier"], "phrase": row["phrase"] and trusted,
            "bar": row["bar"] and trusted and waited >= longest / 2, "beat": row["beat"] and waited >= longest,
            "wait": waited >= longest + BEAT_S, "noBeat": not trusted,
        }  # fmt: skip
        self.expect(true_of.get(reason, False), f"{now}: '{reason}' is not so")

    def broken(self, name: str, tier: str, now: float) -> dict[str, float]:
        """Return how far showing a preset now would break each rule, 0 for not at all."""
        entry = self.presets[name]
        recent = [pick["cluster"] for pick in self.picks[::-1][: self.rules.cluster_cooldown_switches]]
        cooling = name in self.left and now - self.left[name] < self.rules.preset_cooldown_seconds
        return {
            "clusterCooldown": len(recent) - recent.index(entry["authorKey"]) if entry["authorKey"] in recent else 0,
            "tier": TIER_DISTANCE[tier, entry["energy"]],
            # The longer ago it left, the less.
            "presetCooldown": self.left[name] + 1 if cooling else 0,
        }

    def chosen(self, pick: Mapping[str, Any], tier: str, now: float, others: Sequence[str]) -> None:
        """Judge what was picked."""
        name = pick["presetId"]
        entry = self.presets[name]
        self.expect(name in others, f"{now}: {name} is blacklisted or on screen")
        self.expect((pick["cluster"], pick["energy"]) == (entry["authorKey"], entry["energy"]), f"{now}: its entry")
        self.odds(pick, now)
        breaks = self.broken(name, tier, now)
        liked = [one for one in others if one in self.favourites]
        liked = [one for one in liked if not self.broken(one, tier, now)["tier"]]
        liked = [one for one in liked if not self.broken(one, tier, now)["presetCooldown"]]
        self.expect(pick["favourite"] == bool(liked), f"{now}: favourites {liked}, favourite {pick['favourite']}")
        if liked:
            self.checked["favourite"] += 1
            self.expect(name in liked and not pick["relaxed"], f"{now}: {name} is no favourite that may come")
            return
        order = list(dict.fromkeys([*self.rules.relax_order, *RELAX_ORDER]))
        told = [rule for rule in order if breaks[rule]]
        self.expect(pick["relaxed"] == told, f"{now}: relaxed {pick['relaxed']}, broken {told}")
        # A rule gives way only as far as it must, one that stands earlier in the order before a later one. The
        # preset cooldown and the cluster cooldown look for the longest ago last of all.
        self.expect(self.rank(breaks, order) == min(self.rank(self.broken(one, tier, now), order) for one in others),
                    f"{now}: {name} breaks {breaks}, others break less")  # fmt: skip
        self.checked["relaxed"] += bool(told)
        kin = [one for one in others if self.presets[one]["authorKey"] == entry["authorKey"]]
        unseen = [one for one in kin if self.presets[one]["energy"] == entry["energy"] and one not in self.shown]
        self.expect(name in unseen or not unseen, f"{now}: {name} again before {unseen[:3]}")

    @staticmethod
    def rank(breaks: Mapping[str, float], order: Sequence[str]) -> tuple[float, ...]:
        gives_way = tuple(breaks[rule] if rule == "tier" else bool(breaks[rule]) for rule in reversed(order))
        return (*gives_way, breaks["clusterCooldown"], breaks["presetCooldown"])

    def odds(self, pick: Mapping[str, Any], now: float) -> None:
        """Judge the probabilities that the line tells."""
        listed = pick["candidates"]
        chances = [one["probability"] for one in listed]
        self.expect(chances == sorted(chances, reverse=True), f"{now}: candidates out of order")
        self.expect(len(listed) == min(8, pick["candidateCount"]), f"{now}: {len(listed)} candidates listed")
        total = sum(chances) + max(0, pick["candidateCount"] - 8) * chances[-1]
        self.expect(total >= 1 - 1e-9 and sum(chances) <= 1 + 1e-9, f"{now}: probabilities sum to {total}")
        own = [one["probability"] for one in listed if one["presetId"] == pick["presetId"]]
        self.expect(own in ([], [pick["probability"]]), f"{now}: {own} for {pick['probability']}")
        self.expect(0 < pick["probability"] <= (1 if own else chances[-1]), f"{now}: its probability")
