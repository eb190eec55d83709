"""Renders a sample of presets under several sounds and under silence, for `reactivity`; what is rendered is kept."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aivj_assets.contracts.audio_timeline import WINDOW_FEATURES
from aivj_assets.contracts.frames_index import FailedRecord, OkRecord, read_records
from aivj_assets.contracts.manifest import ManifestPreset
from aivj_assets.contracts.progress import WorkProgress
from aivj_assets.contracts.reactivity import ReactivityAudio
from aivj_assets.contracts.render_parameters import (
    FILE_PREFIX,
    SILENCE,
    SOUNDS,
    SYNTHETIC,
    PageDescription,
    RenderParameters,
    fingerprint,
    pixel_parameters,
)
from aivj_assets.contracts.sound_file import SOUND_RATE_HZ, Sound
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir, BatchKey, DataRoot
from aivj_assets.orchestration.sounds import decode_file, keep_sound
from aivj_assets.render.environment import RenderEnvironment
from aivj_assets.render.probe import simulated_s
from aivj_assets.render.resume import finish_index, plan_rendering
from aivj_assets.render.session import RenderSession
from aivj_assets.render.shard import render_shard
from aivj_assets.show.audio.features import FeatureExtractor

MIN_SOUNDS = 3
DEFAULT_SOUNDS = SOUNDS[1:]
_PROGRESS_S = 0.5


def sample_parameters(audio: str, seed: int) -> RenderParameters:
    """Return what a sample is rendered with: 97 small pictures 1/15 s apart, after 2 s.

    A quarter of a batch's pixels, as only differences count; without loss, as webp's rounding would differ too.
    """
    return RenderParameters(
        width=128, height=72, out_size=64, format="png", warmup_frames=60, capture_count=97, capture_every=2,
        audio=audio, audio_seed=seed, refresh_every=100, timeout_ms=60_000,
    )  # fmt: skip


@dataclass(frozen=True)
class HeardSound:
    """A sound that the sample is rendered under."""

    facts: ReactivityAudio
    sound: Sound


@dataclass(frozen=True)
class RenderedSample:
    """The pictures of a sample: by rendering (a sound's name, or silence) and preset, or why there are none."""

    pictures: dict[str, dict[str, list[Path]]]
    failed: dict[str, list[str]]


def choose_sounds(asked: Sequence[str]) -> list[str]:
    """Return the sounds of `audio` values and paths of files, filled up to three with synthetic ones, each once."""
    named = [value if value in SOUNDS or value.startswith(FILE_PREFIX) else f"{FILE_PREFIX}{value}" for value in asked]
    chosen = list(dict.fromkeys(named))
    more = [sound for sound in DEFAULT_SOUNDS if sound not in chosen]
    return chosen + more[: max(0, MIN_SOUNDS - len(chosen))]


def hear(
    root: DataRoot, environment: RenderEnvironment, sounds: Sequence[str], seed: int
) -> tuple[PageDescription, list[HeardSound]]:
    """Return what the render page is and the sounds as it lets presets hear them; those of files are kept.

    Raises `UserError`: no browser, a file that holds no sound, two sounds that are the same.
    """
    parameters = sample_parameters(SYNTHETIC, seed)
    seconds = simulated_s(parameters)
    files = {value: decode_file(_path_of(value), seconds) for value in sounds if value.startswith(FILE_PREFIX)}
    with RenderSession(environment, parameters) as session:
        page = session.describe().page
        made = {value: session.synthetic_sound(value, seconds) for value in sounds if value not in files}
    heard: list[HeardSound] = []
    for value in sounds:
        of_file = files.get(value)
        sound = made[value] if of_file is None else of_file.sound
        name = _name_of(value, [one.facts.name for one in heard])
        if of_file is not None:
            keep_sound(root, of_file.sound)
        facts = ReactivityAudio(
            name=name,
            audio=value if of_file is None else of_file.audio,
            sha256=sound.sha256,
            file_sha256=None if of_file is None else of_file.file_sha256,
            start_s=0.0 if of_file is None else of_file.start_s,
            duration_s=sound.duration_s,
            features=_features(sound),
        )
        heard.append(HeardSound(facts, sound))
    digests = [one.facts.sha256 for one in heard]
    if len(set(digests)) < len(digests):
        raise UserError("Two of the sounds are the same: name different ones.")
    return page, heard


def _path_of(value: str) -> Path:
    return Path(value.removeprefix(FILE_PREFIX))


def _name_of(value: str, taken: Sequence[str]) -> str:
    stem = _path_of(value).stem if value.startswith(FILE_PREFIX) else value.partition(":")[2] or "techno"
    name, number = stem, 2
    while name in {*taken, SILENCE}:
        name, number = f"{stem}-{number}", number + 1
    return name


def _features(sound: Sound) -> dict[str, float]:
    rows = FeatureExtractor(SOUND_RATE_HZ).push(sound.mono())
    return {name: float(rows[-1][name]) for name in WINDOW_FEATURES}


@dataclass(frozen=True)
class SampleRendering:
    """What renders a sample of a pack."""

    root: DataRoot
    pack: str
    environment: RenderEnvironment
    page: PageDescription
    seed: int
    say: Callable[[str], None]
    should_stop: Callable[[], str | None]
    started_s: float = field(default_factory=time.monotonic)

    @property
    def duration_s(self) -> float:
        """How long ago it was begun."""
        return round(time.monotonic() - self.started_s, 3)

    def render(self, presets: Sequence[ManifestPreset], sounds: Sequence[HeardSound]) -> RenderedSample:
        """Render presets under silence and every sound, one browser after the other; raises `UserError`.

        What an interrupted call rendered is kept in the pack's work folder and not rendered again.
        """
        audios = {SILENCE: SILENCE, **{one.facts.name: one.facts.audio for one in sounds}}
        done = 0
        pictures: dict[str, dict[str, list[Path]]] = {}
        failed: dict[str, list[str]] = {}
        for name, audio in audios.items():
            folder, records = self._render_one(presets, audio, name, done, len(presets) * len(audios))
            done += len(presets)
            pictures[name] = {}
            for preset_id, record in records.items():
                if isinstance(record, FailedRecord):
                    failed.setdefault(preset_id, [f"{name}: {reason}" for reason in record.reasons])
                else:
                    pictures[name][preset_id] = [folder.path / frame for frame in record.frames]
        return RenderedSample(pictures, failed)

    def tidy(self) -> None:
        """Remove the pictures of all samples of the pack."""
        shutil.rmtree(self.root.reactivity_work_dir(self.pack), ignore_errors=True)

    def _render_one(
        self, presets: Sequence[ManifestPreset], audio: str, name: str, done: int, total: int
    ) -> tuple[BatchDir, Mapping[str, OkRecord | FailedRecord]]:
        parameters = sample_parameters(audio, self.seed)
        digest = fingerprint(pixel_parameters(parameters, self.page))
        folder = BatchDir(self.root.reactivity_work_dir(self.pack) / digest)
        plan = plan_rendering(
            presets, root=self.root, batch=BatchKey(self.pack), batch_dir=folder, parameters=parameters, page=self.page
        )
        tell = _Teller(self.root.reactivity_progress(self.pack), done + len(plan.kept), total)
        tell(0)
        self.say(f"{name}: {len(plan.kept)} of {len(presets)} presets are rendered already.")
        for shard in plan.shards:
            render_shard(
                shard,
                environment=self.environment,
                on_record=lambda _record: tell(1),
                should_stop=self.should_stop,
                say=lambda _text: None,
            )
        if not finish_index(folder, presets, plan.fingerprint).complete:
            raise UserError(f"Pack '{self.pack}': rendering under {name} was stopped; run again to go on.")
        records = read_records(folder.frames_index)
        return folder, {preset.id: records[preset.id] for preset in presets}


class _Teller:
    """Writes how many renderings are done, at most twice a second."""

    def __init__(self, path: Path, done: int, total: int) -> None:
        self._path = path
        self._done = done
        self._total = total
        self._told_s = 0.0

    def __call__(self, more: int) -> None:
        self._done += more
        if time.monotonic() - self._told_s >= _PROGRESS_S:
            self._told_s = time.monotonic()
            WorkProgress(done=self._done, total=self._total).save(self._path)
