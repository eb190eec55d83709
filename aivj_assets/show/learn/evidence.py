"""What persons said in shows, as pairs of what was heard and a style that did or did not fit.

What counts, and why no more:
- A favourite or a hold: the style was liked.
- A skip: another style would have fitted, the surer the sooner it came. A skip of what was a favourite or was held
  says only that it was enough; one together with a blacklisting is about the preset.
- A preset that left by the timer of its dwell or because the music changed is censored: nobody said anything, perhaps
  nobody was there. Counted as liked, even a little, it would teach the model the selector's own picks.
- Rehearsals are the rule talking to itself and never count.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aivj_assets.contracts.show_log import ActLine, EndLine, PickLine, SessionLine, parse_show_line
from aivj_assets.contracts.style import Energy
from aivj_assets.errors import UserError

SKIP_HALF_LIFE_S = 16.0
"""A skip after so long weighs half of one at once."""
SMALLEST_SKIP_WEIGHT = 0.05
"""A skip that would weigh less is of a preset that fitted long enough (70 s)."""

NOT_JSON, TORN = "lines that are not JSON", "last lines cut short"
NOT_AGREED, NO_SESSION = "lines not as agreed", "lines of a log without its first line"
REHEARSAL, OTHER_PACK = "logs of rehearsals", "logs of other packs"
COPY, UNREADABLE = "logs that are copies of others", "logs that cannot be read"
CENSORED = "picks that nobody judged (ended by {})"
LATE_SKIP = "skips after a long time, which say that it was enough"
ENOUGH = "skips of what was liked, which say that it was enough"
BLACKLISTED = "skips of blacklisted presets, which are about the preset"
NO_END, NO_PICK = "picks without an end", "ends without their pick"
ELSEWHERE = "acts on a preset that was not on screen"
UNKNOWN_CLUSTER = "judged picks of clusters that the pack no longer has"


@dataclass(frozen=True)
class Judged:
    """A pick that a person judged. `group` names the track: what is held out is held out by it."""

    features: Mapping[str, float]
    tier: Energy
    cluster: str
    preset_id: str
    liked: bool
    weight: float
    group: str
    time_s: float
    track_sha256: str | None
    index_hash: str


@dataclass
class Logs:
    """What the logs of a pack's shows tell: judged picks in the order of the logs, and what does not count and why."""

    judged: list[Judged] = field(default_factory=list)
    read: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass
class _OnScreen:
    pick: PickLine
    liked: bool = False
    blacklisted: bool = False


def read_logs(paths: Iterable[Path], pack: str) -> Logs:
    """Read the logs of shows; what is torn or not as agreed is counted with its reason and passed over."""
    found, seen = Logs(), set[str]()
    for path in sorted(paths):
        try:
            data = path.read_bytes()
        except OSError:
            found.left_out[UNREADABLE] += 1
            continue
        digest = hashlib.sha256(data).hexdigest()
        if digest in seen:
            found.left_out[COPY] += 1
            continue
        seen.add(digest)
        _read_log(data.decode("utf-8", errors="replace"), pack, found)
    return found


def _read_log(text: str, pack: str, found: Logs) -> None:
    lines = _lines(text, found.left_out)
    session = next(lines, None)
    if not isinstance(session, SessionLine):
        found.left_out[NO_SESSION] += sum(1 for _ in lines) + (session is not None)
        return
    if session.source != "show" or session.pack != pack:
        found.left_out[REHEARSAL if session.source != "show" else OTHER_PACK] += 1
        return
    found.read += 1
    found.judged += _judged(session, lines, found.left_out)


def _lines(text: str, left_out: Counter[str]) -> Iterator[SessionLine | PickLine | ActLine | EndLine]:
    whole, _, torn = text.rpartition("\n")
    if torn.strip():
        left_out[TORN] += 1
    for line in whole.split("\n"):
        if not line.strip():
            continue
        try:
            yield parse_show_line(json.loads(line))
        except UserError:
            left_out[NOT_AGREED] += 1
        except (ValueError, RecursionError):
            left_out[NOT_JSON] += 1


def _judged(
    session: SessionLine, lines: Iterable[SessionLine | PickLine | ActLine | EndLine], left_out: Counter[str]
) -> Iterator[Judged]:
    shown: _OnScreen | None = None
    for line in lines:
        if isinstance(line, PickLine):
            if shown is not None:
                yield from _without_end(session, shown, left_out)
            shown = _OnScreen(line)
        elif isinstance(line, ActLine):
            _act(line, shown, left_out)
        elif isinstance(line, EndLine):
            if shown is None or (shown.pick.number, shown.pick.preset_id) != (line.number, line.preset_id):
                left_out[NO_PICK] += 1
                continue
            yield from _ended(session, shown, line, left_out)
            shown = None
        else:
            left_out[NOT_AGREED] += 1
    if shown is not None:
        yield from _without_end(session, shown, left_out)


def _act(line: ActLine, shown: _OnScreen | None, left_out: Counter[str]) -> None:
    if shown is None or shown.pick.preset_id != line.preset_id:
        left_out[ELSEWHERE] += 1
    elif line.act in {"favourite", "hold"}:
        shown.liked = True
    elif line.act == "unfavourite":
        shown.liked = False
    elif line.act == "blacklist":
        shown.blacklisted = True


def _ended(session: SessionLine, shown: _OnScreen, end: EndLine, left_out: Counter[str]) -> Iterator[Judged]:
    skipped = end.ended_by == "skip"
    if shown.blacklisted:
        left_out[BLACKLISTED] += 1
    elif shown.liked or end.held_s > 0:
        left_out.update([ENOUGH] if skipped else [])
        yield _pair(session, shown.pick, liked=True, weight=1.0)
    elif not skipped:
        left_out[CENSORED.format(end.ended_by)] += 1
    else:
        weight = 0.5 ** (end.dwell_s / SKIP_HALF_LIFE_S)
        if weight < SMALLEST_SKIP_WEIGHT:
            left_out[LATE_SKIP] += 1
        else:
            yield _pair(session, shown.pick, liked=False, weight=weight)


def _without_end(session: SessionLine, shown: _OnScreen, left_out: Counter[str]) -> Iterator[Judged]:
    if shown.liked and not shown.blacklisted:
        yield _pair(session, shown.pick, liked=True, weight=1.0)
    else:
        left_out[NO_END] += 1


def _pair(session: SessionLine, pick: PickLine, *, liked: bool, weight: float) -> Judged:
    track = session.track
    return Judged(
        features=pick.features, tier=pick.tier, cluster=pick.cluster, preset_id=pick.preset_id, liked=liked,
        weight=weight, group=f"sha256:{track.sha256}" if track.sha256 else f"name:{track.name}",
        time_s=pick.time_s if pick.track_time_s is None else pick.track_time_s,
        track_sha256=track.sha256, index_hash=pick.index_hash,
    )  # fmt: skip


def of_known_clusters(judged: Sequence[Judged], clusters: Sequence[str], left_out: Counter[str]) -> list[Judged]:
    """Return the pairs whose cluster is one of `clusters`; the others are counted."""
    known = set(clusters)
    kept = [pair for pair in judged if pair.cluster in known]
    if len(kept) < len(judged):
        left_out[UNKNOWN_CLUSTER] += len(judged) - len(kept)
    return kept
