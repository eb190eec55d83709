"""Tracks that were never heard and libraries that were never rendered, for rehearsals in tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from aivj_assets.contracts.audio_timeline import EVENTS, ROW_FEATURES, ROW_S, WINDOW_FEATURES, AudioTimeline, TrackFacts
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.rehearsal import RehearsalSection
from aivj_assets.contracts.style import ENERGIES, Energy, Selection, StyleEntry, StyleIndex, StylePolicy
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.packs.rendered import RenderedBatch
from aivj_assets.packs.run_manifest import build_run_manifest
from aivj_assets.show.audio.source import track_of_samples
from aivj_assets.show.rehearsal.figures import Truth
from aivj_assets.show.rehearsal.heard import Heard, Shown
from aivj_assets.show.rehearsal.rehearse import Material, Performance
from aivj_assets_tests.builders import NOW, write_frames_meta, write_index, write_manifest

BEAT_S = 0.5
Section = tuple[Energy, float]
"""Tier and length, s."""


def entries_of(presets: int, clusters: int) -> list[StyleEntry]:
    """Return an index whose presets go through energies first and clusters then."""
    listed = []
    for number in range(presets):
        cluster, energy = f"c{(number // 3) % clusters:02d}", ENERGIES[number % 3]
        tags = [f"cluster:{cluster}", f"energy:{energy}"]
        listed.append(StyleEntry(preset_id=f"p{number:04d}", author_key=cluster, energy=energy, tags=tags))
    return listed


def timeline_of(sections: Sequence[Section], *, beats: bool = True, name: str = "track") -> AudioTimeline:
    """Return a track of sections at 120 bpm whose tiers and sections are heard without delay."""
    starts = np.cumsum([0.0, *(length for _, length in sections)])
    rows = round(float(starts[-1]) / ROW_S)
    times = np.round((np.arange(rows) + 1) * ROW_S, 6)
    columns = {name: np.full(rows, 0.25) for name in (*ROW_FEATURES, *EVENTS, *WINDOW_FEATURES)}
    per_beat = round(BEAT_S / ROW_S)
    for event, every in (("beat", 1), ("bar", 4), ("phrase", 16)):
        columns[event] = ((np.arange(rows) % (every * per_beat) == 0) & beats).astype(float)
    place = np.clip(np.searchsorted(starts, times - 1e-9, side="right") - 1, 0, len(sections) - 1)
    columns["section"] = np.concatenate(([0.0], (np.diff(place) > 0).astype(float)))
    columns["tempoBpm"], columns["tempoConfidence"] = np.full(rows, 120.0 * beats), np.full(rows, 0.9 * beats)
    columns["timeS"] = times
    facts = TrackFacts(name=name, duration_s=float(starts[-1]), sample_rate_hz=4000, channels=1)
    tiers: list[Energy] = [sections[at][0] for at in place.tolist()]
    return AudioTimeline(track=facts, columns={key: value.tolist() for key, value in columns.items()}, tiers=tiers)


def heard_of(sections: Sequence[Section], *, beats: bool = True) -> Heard:
    return Heard.of(timeline_of(sections, beats=beats))


def performance_of(sections: Sequence[Section], *, beats: bool = True, name: str = "track") -> Performance:
    """Return a track of noise, as loud as its tiers, that is heard as it was made."""
    timeline = timeline_of(sections, beats=beats, name=name)
    level = np.repeat([{"calm": 0.1, "groove": 0.4, "peak": 0.9}[tier] for tier in timeline.tiers], round(4000 * ROW_S))
    samples = (np.random.default_rng(1).uniform(-1, 1, level.size) * level).astype(np.float32)
    starts = np.cumsum([0.0, *(length for _, length in sections)])
    made = [
        RehearsalSection(name=f"part {number}", start_s=starts[number], end_s=starts[number + 1], tier=tier)
        for number, (tier, _) in enumerate(sections)
    ]
    truth = Truth(made, np.arange(0, float(starts[-1]), BEAT_S))
    return Performance(track_of_samples(samples, 4000, name), timeline, truth)


def set_of(minutes: float) -> list[Section]:
    """Return the sections of a set: two minutes of all tiers, again and again."""
    form: list[Section] = [("calm", 32.0), ("groove", 40.0), ("peak", 32.0), ("calm", 16.0)]
    return form * max(1, round(minutes / 2))


def shown_every(seconds: float, entries: Sequence[StyleEntry]) -> list[Shown]:
    """Return presets shown one after the other, so long each, from the first row on."""
    return [
        Shown(round(ROW_S + number * seconds, 6), entry.preset_id, entry.author_key, entry.energy, entry.energy)
        for number, entry in enumerate(entries)
    ]


def material_of(presets: int = 300, clusters: int = 24, *, selection: Selection | None = None) -> Material:
    return Material("pack", "a" * 64, entries_of(presets, clusters), selection or Selection.model_validate({}))


def write_pictures(folder: Path, names: Sequence[str]) -> dict[str, list[Path]]:
    """Write two captures for each preset, each preset of a colour of its own."""
    frames: dict[str, list[Path]] = {}
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        frames[name] = [folder / f"{number:04d}-{capture}.webp" for capture in range(2)]
        for capture, path in enumerate(frames[name]):
            colour = ((number * 53) % 200 + 40, (number * 97) % 200 + 40, 60 + 60 * capture)
            Image.new("RGB", (32, 32), colour).save(path, "WEBP", quality=80)
    return frames


def publish(root: DataRoot, pack: str, presets: int, clusters: int, *, selection: Selection | None = None) -> None:
    """Write what publication writes of a pack of one rendered batch, without running it."""
    ids = [entry.preset_id for entry in entries_of(presets, clusters)]
    write_manifest(root, pack, ids, labels={name: f"Author {name[-1]} - Title of {name}" for name in ids})
    write_index(root, pack, ids, captures=2)
    write_frames_meta(root, pack)
    policy, clusters_path, _, index = root.published_files(pack)
    StyleIndex(version="v1", generated_at=NOW, pack=pack, entries=entries_of(presets, clusters)).save(index)
    StylePolicy(
        generated_at=NOW, pack=pack, prefer_same_author_chance=0, selection=selection or Selection.model_validate({})
    ).save(policy)
    listed = [{"id": f"c{number:02d}", "label": f"style {number}"} for number in range(clusters)]
    clusters_path.write_text(json.dumps({"clusters": listed}), encoding="utf-8")
    batch = RenderedBatch.read(root, BatchKey(pack))
    build_run_manifest(root, pack, [batch]).save(root.run_manifest(pack))
    assert len(Manifest.load(root.manifest(BatchKey(pack))).presets) == presets
