"""The selector: hears the music row by row and says which preset comes when, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from aivj_assets.contracts.show_log import ActLine, Candidate, EndLine, EndReason, PickLine, PickReason
from aivj_assets.contracts.style import Energy, RelaxableRule, Selection
from aivj_assets.show.selector.draw import draw
from aivj_assets.show.selector.hearing import Heard, finite, heard
from aivj_assets.show.selector.library import PresetLibrary
from aivj_assets.show.selector.random32 import Random32
from aivj_assets.show.selector.rules import Rules
from aivj_assets.show.selector.stock import Stock
from aivj_assets.show.selector.timing import Timing

Act = Literal["skip", "favourite", "unfavourite", "hold", "release", "blacklist"]
_ACTS: dict[str, Act] = {act: act for act in get_args(Act)}
# Time that goes back by more is a seek; by less, an act and a row that were timed by two clocks.
SEEK_S = 1.0
_ENDED_BY: dict[PickReason, EndReason] = {"section": "section", "tier": "tier", "skip": "skip"}


@dataclass(frozen=True)
class StepResult:
    """What a step changed. Both None: what is on screen stays. `end` without `pick`: it was blacklisted, the last."""

    end: EndLine | None = None
    pick: PickLine | None = None


@dataclass
class _Screen:
    """The preset on screen."""

    preset: int
    number: int
    picked_for: Energy
    since_s: float
    section: bool = False
    """Whether the music came to a new section since the pick."""
    held_since_s: float | None = None
    held_s: float = 0.0
    released_s: float | None = None


class Selector:
    """A show's picks. Deterministic: the same library, rules, seed, observations and acts give the same lines.

    It never stalls: rules give way in the policy's order when they leave nothing, and the pick says which. It raises
    for no observation: a tier that is none counts as the last one heard (groove before any), a feature that is no
    finite number is left out of the line, and time that goes back (a seek, a loop) or is no number counts as no time,
    after which the show's clock, whose times the lines bear, goes on from where it was.
    """

    def __init__(
        self,
        library: PresetLibrary,
        selection: Selection,
        *,
        seed: int,
        index_hash: str,
        favourites: Iterable[str] = (),
        blacklist: Iterable[str] = (),
    ) -> None:
        """Begin a show; ids among `favourites` and `blacklist` that the library has not are ignored."""
        self._library = library
        self._rules = Rules(selection)
        self._timing = Timing.of(selection)
        self._random = Random32(seed)
        self._index_hash = index_hash
        self._stock = Stock(library)
        self._favourites = {library.numbers[name] for name in favourites if name in library.numbers}
        for name in blacklist:
            if name in library.numbers:
                self._stock.ban(library.numbers[name])
        self._screen: _Screen | None = None
        self._picks = 0
        self._skip = False
        self._failed = False
        self._tier: Energy = "groove"
        self._now_s: float | None = None
        self._offset_s = 0.0

    @property
    def problem(self) -> str | None:
        """Why nothing can be shown, in one line for a person; None when something can."""
        if not len(self._library):
            return "The style index has no preset with presetId, authorKey and energy: publish the pack."
        if not self._stock.waiting and self._screen is None:
            return f"All {len(self._library)} presets of the style index are blacklisted."
        return None

    @property
    def on_screen(self) -> str | None:
        """The presetId on screen."""
        return None if self._screen is None else self._library.ids[self._screen.preset]

    def step(self, observation: Mapping[str, Any]) -> StepResult:
        """Hear what comes next (`AudioTimeline.observation`) and return what changes.

        The further key `clusterProbabilities` {cluster: 0..1} is what the audio -> style model says.
        """
        music = heard(observation)
        now = self._advance(music.time_s)
        self._tier = music.tier or self._tier
        reason = self._reason(music, now)
        if reason is None:
            return StepResult()
        self._skip = False
        gone = self._screen is not None and self._stock.is_banned(self._screen.preset)
        if not self._stock.waiting:
            # Nothing else: what is on screen stays, unless the person banned it.
            return StepResult(end=self._leave(now, "skip") if gone else None)
        return self._switch(music, now, reason)

    def act(self, act: str, time_s: float) -> ActLine | None:
        """Note what the person did to the preset on screen; None when there is none, or no such act.

        After skip and blacklist the next step picks at once.
        """
        now = self._advance(finite(time_s))
        screen, known = self._screen, _ACTS.get(act)
        if screen is None or known is None:
            return None
        match known:
            case "hold":
                screen.held_since_s = now if screen.held_since_s is None else screen.held_since_s
            case "release":
                self._release(screen, now)
            case "favourite":
                self._favourites.add(screen.preset)
            case "unfavourite":
                self._favourites.discard(screen.preset)
            case "blacklist":
                self._stock.ban(screen.preset)
                self._skip = True
            case _:
                self._skip = True
        return ActLine(time_s=now, act=known, preset_id=self._library.ids[screen.preset])

    def fail(self, time_s: float, error: str, preset_id: str | None = None) -> EndLine | None:
        """Note that what was picked cannot be shown: it leaves, is never picked again, the next step picks at once.

        A `preset_id` that left the screen before that turned out is only never picked again; None is returned.
        """
        now = self._advance(finite(time_s))
        number = self._library.numbers.get(self.on_screen or "" if preset_id is None else preset_id)
        if number is None:
            return None
        self._stock.ban(number)
        if self._screen is None or self._screen.preset != number:
            return None
        self._failed = True
        end = self._leave(now, "failed")
        return None if end is None else end.model_copy(update={"error": error})

    def finish(self, time_s: float) -> EndLine | None:
        """End the show: what is on screen leaves."""
        now = self._advance(finite(time_s))
        return self._leave(now, "stop")

    def _advance(self, told_s: float | None) -> float:
        """Return the show's time, which never goes back."""
        if told_s is not None and self._now_s is None:
            self._now_s = told_s
        elif told_s is not None and self._now_s is not None:
            if told_s + self._offset_s < self._now_s - SEEK_S:
                self._offset_s = self._now_s - told_s
            self._now_s = max(self._now_s, told_s + self._offset_s)
        return 0.0 if self._now_s is None else self._now_s

    def _reason(self, music: Heard, now: float) -> PickReason | None:
        screen = self._screen
        if screen is None:
            return "failed" if self._failed else "start"
        screen.section = screen.section or music.section
        if self._skip:
            return "skip"
        if screen.held_since_s is not None:
            return None
        return self._timing.why_now(
            music,
            self._tier,
            picked_for=screen.picked_for,
            dwell_s=now - screen.since_s,
            since_release_s=now - (screen.since_s if screen.released_s is None else screen.released_s),
            section=screen.section,
        )

    def _switch(self, music: Heard, now: float, reason: PickReason) -> StepResult:
        library, rules = self._library, self._rules
        offers = rules.favourites(library, self._stock, self._favourites, self._tier, now)
        favourite = bool(offers)
        relaxed: list[RelaxableRule] = []
        if not favourite:
            offers, relaxed = rules.offers(self._stock, self._tier, now)
        drawn = draw(offers, music.cluster_probabilities, self._random)
        end = self._leave(now, _ENDED_BY.get(reason, "switch"))
        cluster = library.clusters[drawn.preset]
        pick = PickLine(
            number=self._picks,
            time_s=now,
            tier=self._tier,
            features=music.features,
            candidate_count=drawn.candidate_count,
            candidates=[
                Candidate(preset_id=library.ids[number], cluster=named, probability=probability)
                for number, named, probability in drawn.likeliest
            ],
            preset_id=library.ids[drawn.preset],
            cluster=cluster,
            energy=library.energies[drawn.preset],
            probability=drawn.probability,
            relaxed=relaxed,
            reason=reason,
            favourite=favourite,
            index_hash=self._index_hash,
        )
        self._stock.take(drawn.preset)
        self._failed = False
        rules.note(cluster)
        self._screen = _Screen(drawn.preset, self._picks, self._tier, now)
        self._picks += 1
        return StepResult(end=end, pick=pick)

    @staticmethod
    def _release(screen: _Screen, now: float) -> None:
        if screen.held_since_s is None:
            return
        screen.held_s += now - screen.held_since_s
        screen.held_since_s = None
        screen.released_s = now
        # What the music did meanwhile was not to change the picture.
        screen.section = False

    def _leave(self, now: float, ended_by: EndReason) -> EndLine | None:
        screen = self._screen
        if screen is None:
            return None
        self._release(screen, now)
        self._stock.put_back(now)
        self._screen = None
        return EndLine(
            number=screen.number,
            time_s=now,
            preset_id=self._library.ids[screen.preset],
            cluster=self._library.clusters[screen.preset],
            dwell_s=now - screen.since_s,
            ended_by=ended_by,
            held_s=screen.held_s,
        )
