"""`reactivity`: which presets of a sample move with the sound; opt-in, as it renders each of them four times."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg
from pydantic import Field

from aivj_assets.contracts.base import utc_now
from aivj_assets.contracts.manifest import Manifest, ManifestPreset
from aivj_assets.contracts.reactivity import Reactivity, ReactivityEntry, ReactivityFailure, ReactivityMethod
from aivj_assets.contracts.render_parameters import SILENCE, pixel_parameters
from aivj_assets.contracts.sound_file import SOUND_RATE_HZ
from aivj_assets.contracts.style import StyleEntry
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot, check_pack_name
from aivj_assets.orchestration.assets.publication import publishable_batches
from aivj_assets.orchestration.batch_lock import parent_is_alive
from aivj_assets.orchestration.file_lock import held_lock
from aivj_assets.orchestration.fleet.settings import RENDER_TAGS
from aivj_assets.orchestration.instance import BROWSER_POOL
from aivj_assets.orchestration.partitions import PACKS
from aivj_assets.orchestration.pictures import markdown_table
from aivj_assets.orchestration.reactivity_render import (
    HeardSound,
    RenderedSample,
    SampleRendering,
    choose_sounds,
    hear,
    sample_parameters,
)
from aivj_assets.orchestration.resources import DataRootResource, RendererResource
from aivj_assets.orchestration.step import run_owner, user_errors
from aivj_assets.show.published import read_index
from aivj_assets.show.reactivity.envelopes import ENVELOPES, Captures, Envelopes, envelopes_at_captures
from aivj_assets.show.reactivity.pictures import movement
from aivj_assets.show.reactivity.sample import draw_sample
from aivj_assets.show.reactivity.score import ALPHA, MAX_LAG, MIN_DIFFERENCE, SHIFTS
from aivj_assets.show.reactivity.verdict import Tried, by_cluster, judge

DEFAULT_SAMPLE = 60
DEFAULT_SEED = 1
_LISTED = 20
# Another run of the same pack takes minutes; its pictures would be removed under this one.
_LOCK_TIMEOUT_S = 5.0


class ReactivityConfig(dg.Config):
    """How many presets are tried, and with what."""

    sample: int = Field(default=DEFAULT_SAMPLE, ge=1, description="presets, as many of each cluster")
    audio: list[str] = Field(
        default=[],
        description="sounds: values of the rendering parameter audio (synthetic:pulse, …) or paths of files; "
        "filled up to three with synthetic ones",
    )
    seed: int = Field(default=DEFAULT_SEED, ge=0, lt=2**32, description="of the sample, the sounds and the control")


@dg.asset(
    partitions_def=PACKS,
    # What is published says which presets there are; the guard decides which of their batches still count.
    deps=["publication"],
    group_name="pack",
    kinds={"playwright", "chromium"},
    pool=BROWSER_POOL,
    op_tags=RENDER_TAGS,
)
def reactivity(
    context: dg.AssetExecutionContext,
    config: ReactivityConfig,
    data_root: DataRootResource,
    renderer: RendererResource,
) -> dg.MaterializeResult[Any]:
    """Render a sample of published presets under several sounds and silence; score how their pictures follow the sound.

    One browser after the other; what an interrupted run rendered is kept. The pictures go when they are scored.
    """
    root = data_root.get()
    with user_errors():
        pack = check_pack_name(context.partition_key)
        sample = _Sample.draw(context.instance, root, pack, config)
        for batch, why in sample.left_out.items():
            context.log.warning(f"Batch {batch} does not count: {why}")
        owner = run_owner()
        with _alone(root, pack):
            page, sounds = hear(root, renderer.get(), choose_sounds(config.audio), config.seed)
            rendering = SampleRendering(
                root=root, pack=pack, environment=renderer.get(), page=page, seed=config.seed, say=context.log.info,
                should_stop=lambda: None if parent_is_alive(owner) else "the run that started it no longer lives",
            )  # fmt: skip
            try:
                rendered = rendering.render([sample.presets[preset_id] for preset_id in sample.ids], sounds)
                made = _report(sample, rendering, rendered, sounds)
            finally:
                root.reactivity_progress(pack).unlink(missing_ok=True)
            made.save(root.reactivity(pack))
            rendering.tidy()
        return dg.MaterializeResult(data_version=dg.DataVersion(made.digest), metadata=_facts(root, made))


@contextmanager
def _alone(root: DataRoot, pack: str) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(held_lock(root.reactivity_lock(pack), timeout_s=_LOCK_TIMEOUT_S))
        except UserError:
            raise UserError(f"Pack '{pack}': another run measures its reactivity; wait for it.") from None
        yield


@dataclass(frozen=True)
class _Sample:
    """The presets that are tried, in the order of the draw."""

    pack: str
    requested: int
    seed: int
    ids: list[str]
    entries: Mapping[str, StyleEntry]
    presets: Mapping[str, ManifestPreset]
    batches: list[BatchKey]
    left_out: dict[str, str]

    @classmethod
    def draw(cls, instance: dg.DagsterInstance, root: DataRoot, pack: str, config: ReactivityConfig) -> "_Sample":
        """Draw it from what is published of batches that are accepted now; raises `UserError` when there is nothing."""
        index = read_index(root, pack)
        batches, left_out = publishable_batches(instance, root, pack)
        presets = {preset.id: preset for batch in batches for preset in Manifest.load(root.manifest(batch)).presets}
        entries = {entry.preset_id: entry for entry in index.entries if entry.preset_id in presets}
        if not entries:
            raise UserError(f"Pack '{pack}' has no published preset of an accepted batch: aivj publish {pack} first.")
        clusters = {preset_id: entry.author_key for preset_id, entry in entries.items()}
        ids = draw_sample(clusters, config.sample, config.seed)
        return cls(pack, config.sample, config.seed, ids, entries, presets, batches, left_out)


def _entries(
    sample: _Sample, rendered: RenderedSample, sounds: Sequence[HeardSound], captures: Captures
) -> list[ReactivityEntry]:
    envelopes: dict[str, Envelopes] = {
        one.facts.name: envelopes_at_captures(one.sound.mono(), SOUND_RATE_HZ, captures, MAX_LAG) for one in sounds
    }
    tried = [_tried(sample, rendered, preset_id) for preset_id in sample.ids if preset_id not in rendered.failed]
    return judge(tried, envelopes, spacing_s=captures.spacing_s, seed=sample.seed)


def _report(
    sample: _Sample, rendering: SampleRendering, rendered: RenderedSample, sounds: Sequence[HeardSound]
) -> Reactivity:
    parameters = sample_parameters(SILENCE, sample.seed)
    # The last warm-up frame is not stored: the first difference is that of the second capture.
    captures = Captures(
        fps=parameters.fixed_step_fps,
        warmup_frames=parameters.warmup_frames + parameters.capture_every,
        every=parameters.capture_every,
        count=parameters.capture_count - 1,
    )
    entries = _entries(sample, rendered, sounds, captures)
    pixels = pixel_parameters(parameters, rendering.page)
    return Reactivity(
        generated_at=utc_now(),
        pack=sample.pack,
        seed=sample.seed,
        requested=sample.requested,
        batches=[batch.key for batch in sample.batches],
        left_out=sample.left_out,
        parameters={name: value for name, value in pixels.items() if name != "audio"},
        audios=[one.facts for one in sounds],
        method=ReactivityMethod(
            envelopes=list(ENVELOPES),
            lags_s=[round(lag * captures.spacing_s, 6) for lag in range(MAX_LAG + 1)],
            shifts=SHIFTS,
            alpha=ALPHA,
            min_difference=MIN_DIFFERENCE,
            seed=sample.seed,
        ),
        entries=entries,
        failed=[
            ReactivityFailure(preset_id=preset_id, cluster=sample.entries[preset_id].author_key, reasons=reasons)
            for preset_id, reasons in rendered.failed.items()
        ],
        clusters=by_cluster(entries),
        reactive_fraction=round(sum(entry.reactive for entry in entries) / max(1, len(entries)), 6),
        duration_s=rendering.duration_s,
    )


def _tried(sample: _Sample, rendered: RenderedSample, preset_id: str) -> Tried:
    entry = sample.entries[preset_id]
    sounds = {name: of_presets[preset_id] for name, of_presets in rendered.pictures.items() if name != SILENCE}
    moved = movement(sounds, rendered.pictures[SILENCE][preset_id])
    return Tried(preset_id, entry.author_key, entry.energy, moved)


def _facts(root: DataRoot, made: Reactivity) -> dict[str, Any]:
    least = sorted(made.entries, key=lambda entry: (-entry.p, entry.score, entry.preset_id))
    still = [entry for entry in least if not entry.reactive][:_LISTED]
    return {
        "reactive_fraction": made.reactive_fraction,
        "presets": len(made.entries),
        "failed": len(made.failed),
        "clusters": dg.MetadataValue.md(
            markdown_table(
                ("cluster", "presets", "reactive", "mean score"),
                [(one.cluster, one.presets, one.reactive, f"{one.mean_score:.2f}") for one in made.clusters],
            )
        ),
        "not_reactive": dg.MetadataValue.md(
            markdown_table(
                ("preset", "score", "by chance", "q", "differs from silence"),
                [
                    (one.preset_id, f"{one.score:.2f}", f"{one.control:.2f}", f"{one.q:.3f}", f"{one.difference:.4f}")
                    for one in still
                ],
            )
            if still
            else "none"
        ),
        "sounds": dg.MetadataValue.md(
            markdown_table(("sound", "parameter", "s"), [(a.name, a.audio, f"{a.duration_s:.1f}") for a in made.audios])
        ),
        "seed": made.seed,
        "duration_s": made.duration_s,
        "file": dg.MetadataValue.path(str(root.reactivity(made.pack))),
    }
