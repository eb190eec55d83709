"""A whole rehearsal: play, judge, compare, and write the log, the figures, the page and the preview into a folder."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aivj_assets.contracts.audio_timeline import AudioTimeline
from aivj_assets.contracts.base import utc_now
from aivj_assets.contracts.rehearsal import PlayName, Rehearsal, RehearsalSection
from aivj_assets.contracts.show_log import EndLine, PickLine, SessionLine, show_lines
from aivj_assets.contracts.style import Selection, StyleEntry
from aivj_assets.errors import UserError
from aivj_assets.layout import write_text_atomic
from aivj_assets.show.audio.source import Track
from aivj_assets.show.rehearsal.baselines import at_random, next_in_list
from aivj_assets.show.rehearsal.figures import Truth, figures_of
from aivj_assets.show.rehearsal.heard import Heard, Shown, shown_of
from aivj_assets.show.rehearsal.judge import Rules, judge, judge_log
from aivj_assets.show.rehearsal.page import PICTURES_NAME, PageInput, write_page
from aivj_assets.show.rehearsal.pictures import peaks_of, write_sheets
from aivj_assets.show.rehearsal.play import ClusterModel, play
from aivj_assets.show.rehearsal.video import VIDEO_NAME, find_ffmpeg, write_video
from aivj_assets.show.selector.library import PresetLibrary
from aivj_assets.show.selector.selector import Selector

PICKS_NAME, SELECTION_LOG_NAME, FACTS_NAME = "picks.jsonl", "selection.log", "rehearsal.json"
NO_FFMPEG = "There is no preview video: ffmpeg is not on PATH. Install it (https://ffmpeg.org) and rehearse again."
# The capture that stands for a preset, as on the review page: the first may still look like an initial state.
_SHOWN_CAPTURE = 1

Progress = Callable[[str, int, int], None]
"""Hears (what is done, done, all)."""


@dataclass(frozen=True)
class Material:
    """A published pack as a rehearsal needs it."""

    pack: str
    index_hash: str
    entries: Sequence[StyleEntry]
    """Of the published index, in its order."""
    selection: Selection
    blacklist: Collection[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    cluster_labels: Mapping[str, str] = field(default_factory=dict)
    frames: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    """Captures of presets."""
    motion: Mapping[str, float] = field(default_factory=dict)
    quality_tiers: Mapping[str, str] = field(default_factory=dict)
    model: ClusterModel | None = None
    """The published audio -> style model, where there is one."""
    model_hash: str | None = None

    @property
    def library(self) -> dict[str, StyleEntry]:
        """{presetId: entry}; of two with one id the first."""
        found: dict[str, StyleEntry] = {}
        for entry in self.entries:
            found.setdefault(entry.preset_id, entry)
        return found


@dataclass(frozen=True)
class Performance:
    """A track and what was heard of it; `truth` where it was generated."""

    track: Track
    timeline: AudioTimeline
    truth: Truth | None = None
    prepared_in_s: float = 0.0
    """How long it took to read or generate the track and to hear it."""


@dataclass(frozen=True)
class Played:
    """What was shown by each way of picking, judged, and the selector's log."""

    rehearsal: Rehearsal
    lines: list[SessionLine | PickLine | EndLine]
    shown: dict[PlayName, list[Shown]]
    heard: Heard


def rehearse(material: Material, performance: Performance, *, seed: int, progress: Progress | None = None) -> Played:
    """Play a track through the selector and judge it beside the two others; writes nothing.

    The others change as often as the selector does in the mean. Raises `UserError` when nothing can be shown.
    """
    started = time.monotonic()
    timeline, truth = performance.timeline, performance.truth
    library, tell = material.library, progress or (lambda _what, _done, _all: None)
    presets = PresetLibrary(
        ((entry.preset_id, entry.author_key, entry.energy) for entry in material.entries),
        motion=material.motion, quality_tiers=material.quality_tiers,
    )  # fmt: skip
    selector = Selector(
        presets, material.selection, seed=seed, index_hash=material.index_hash, blacklist=material.blacklist
    )
    if selector.problem is not None:
        raise UserError(f"Pack '{material.pack}': {selector.problem}")
    log = play(timeline, selector, model=material.model, progress=lambda done, total: tell("picks", done, total))
    session = SessionLine(
        source="rehearsal", started_at=utc_now(), pack=material.pack, index_hash=material.index_hash, seed=seed,
        track=timeline.track, model_hash=material.model_hash,
    )  # fmt: skip
    heard, rules = Heard.of(timeline), Rules(library, material.selection, material.blacklist)
    ours = shown_of(log)
    dwell_s = heard.end_s / max(1, len(ours))
    may_be_shown = [entry for entry in library.values() if entry.preset_id not in material.blacklist]
    shown: dict[PlayName, list[Shown]] = {
        "selector": ours,
        "listOrder": next_in_list(may_be_shown, dwell_s, heard.end_s),
        "random": at_random(may_be_shown, dwell_s, heard.end_s, seed),
    }
    broken = {name: judge(play_shown, heard, rules) for name, play_shown in shown.items()}
    broken["selector"] = sorted([*broken["selector"], *judge_log(log, rules)], key=lambda one: one.time_s)
    rehearsal = Rehearsal(
        generated_at=utc_now(),
        pack=material.pack,
        index_hash=material.index_hash,
        model_hash=material.model_hash,
        presets=len(library),
        clusters=len({entry.author_key for entry in library.values()}),
        seed=seed,
        track=timeline.track,
        generated=truth is not None,
        sections=[] if truth is None else list(truth.sections),
        selection=material.selection,
        fixed_dwell_s=round(dwell_s, 3),
        plays=[
            figures_of(name, play_shown, violations=broken[name], heard=heard, rules=rules, truth=truth)
            for name, play_shown in shown.items()
        ],
        violations=broken["selector"],
        duration_s=round(performance.prepared_in_s + time.monotonic() - started, 3),
    )
    return Played(rehearsal, [session, *log], shown, heard)


def write_rehearsal(
    folder: Path,
    material: Material,
    performance: Performance,
    played: Played,
    *,
    video: bool = False,
    progress: Progress | None = None,
) -> Rehearsal:
    """Write a rehearsal's files into `folder` and return its facts, which `rehearsal.json` holds.

    Without ffmpeg there is no preview; the facts say so.
    """
    started = time.monotonic()
    tell = progress or (lambda _what, _done, _all: None)
    picks = [line for line in played.lines if isinstance(line, PickLine)]
    write_text_atomic(folder / PICKS_NAME, show_lines(played.lines))
    write_text_atomic(folder / SELECTION_LOG_NAME, _selection_log(material, picks))
    sprites = list(dict.fromkeys(pick.preset_id for pick in picks))
    unread = write_sheets(
        [_shown_capture(material.frames.get(name, ())) for name in sprites], folder / PICTURES_NAME,
        progress=lambda done, total: tell("pictures", done, total),
    )  # fmt: skip
    made = played.rehearsal.model_copy(update={"without_picture": len(unread)})
    if video:
        note = _make_video(folder, material, performance, played, lambda done, total: tell("video", done, total))
        made = made.model_copy(update={"video": None if note else VIDEO_NAME, "video_note": note})
    page = PageInput(
        made, performance.timeline, played.heard, peaks_of(performance.track, performance.timeline.rows), played.lines,
        played.shown, material.labels, material.cluster_labels,
        Counter(entry.author_key for entry in material.library.values()),
        sprites,
    )  # fmt: skip
    page_bytes = write_page(folder, page)
    made = made.model_copy(
        update={
            "page_bytes": page_bytes,
            "folder_bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
            "duration_s": round(made.duration_s + time.monotonic() - started, 3),
        }
    )
    made.save(folder / FACTS_NAME)
    return made


def _make_video(
    folder: Path, material: Material, performance: Performance, played: Played, progress: Callable[[int, int], None]
) -> str | None:
    ffmpeg = find_ffmpeg()
    if ffmpeg is None:
        return NO_FFMPEG
    return write_video(
        ffmpeg, folder / VIDEO_NAME, played.shown["selector"], played.heard.end_s, frames=material.frames,
        track=performance.track, progress=progress,
    )  # fmt: skip


def _shown_capture(frames: Sequence[Path]) -> Path | None:
    return frames[min(_SHOWN_CAPTURE, len(frames) - 1)] if frames else None


def _selection_log(material: Material, picks: Sequence[PickLine]) -> str:
    library = PresetLibrary([], motion=material.motion, quality_tiers=material.quality_tiers)
    return "".join(f"{library.log_line(pick.preset_id)}\n" for pick in picks)


def sections_of(sections: Sequence[Any]) -> list[RehearsalSection]:
    """Return the sections of a generated set as they are kept."""
    return [RehearsalSection(name=one.name, start_s=one.start_s, end_s=one.end_s, tier=one.tier) for one in sections]
