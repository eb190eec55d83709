"""`rehearsal`: a track played through the selector over a pack's published index, judged, as a page."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from aivj_assets.contracts.progress import WorkProgress
from aivj_assets.contracts.rehearsal import PLAY_NAMES, RULE_NOTES, Rehearsal
from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot, check_pack_name
from aivj_assets.orchestration.check_specs import partitioned_check
from aivj_assets.orchestration.file_lock import held_lock
from aivj_assets.orchestration.partitions import PACKS
from aivj_assets.orchestration.pictures import markdown_table
from aivj_assets.orchestration.resources import DataRootResource
from aivj_assets.orchestration.step import user_errors
from aivj_assets.qa.swap import rebuilt_folder
from aivj_assets.show.audio.source import read_track
from aivj_assets.show.generate import generate_set
from aivj_assets.show.rehearsal.figures import Truth
from aivj_assets.show.rehearsal.material import published_material
from aivj_assets.show.rehearsal.page import PAGE_NAME
from aivj_assets.show.rehearsal.page_tables import comparison_rows
from aivj_assets.show.rehearsal.rehearse import (
    FACTS_NAME,
    PICKS_NAME,
    Performance,
    Progress,
    rehearse,
    sections_of,
    write_rehearsal,
)
from aivj_assets.show.rehearsal.verdict import REHEARSAL_CLEAN, rehearsal_finding
from aivj_assets.show.timeline import analyse

DEFAULT_MINUTES, MAX_MINUTES = 60.0, 360.0
# What the bar shows: stages by the share of the time that they take, in hundredths.
STAGES: dict[str, int] = {"track": 20, "hearing": 60, "picks": 5, "pictures": 5, "video": 10}
_TELL_EVERY_S = 0.5
# A second rehearsal of a pack waits for the first.
_LOCK_TIMEOUT_S = 3600.0
_SHOWN_VIOLATIONS = 10


class RehearsalConfig(dg.Config):
    """What is played."""

    audio: str | None = Field(default=None, description="path of a wav, flac, ogg or mp3 file; null: a generated set")
    minutes: float = Field(
        default=DEFAULT_MINUTES, gt=0, le=MAX_MINUTES, description="length of the generated set; a file is played whole"
    )
    seed: int = Field(default=1, ge=0, description="of the picks, and of the generated set")
    video: bool = Field(default=False, description="make preview.mp4 too, where ffmpeg is on PATH")


@dg.asset(partitions_def=PACKS, deps=["publication"], group_name="pack", kinds={"html"})
def rehearsal(
    context: dg.AssetExecutionContext, config: RehearsalConfig, data_root: DataRootResource
) -> dg.MaterializeResult[Any]:
    """Play a track through the selector; the judge's findings, figures beside two other ways of picking, a page."""
    root = data_root.get()
    with user_errors():
        pack = check_pack_name(context.partition_key)
        made = make_rehearsal(root, pack, config)
        if made.video_note is not None:
            context.log.warning(made.video_note)
        return dg.MaterializeResult(metadata=_facts(root, made))


_CLEAN = partitioned_check(
    REHEARSAL_CLEAN,
    asset="rehearsal",
    partitions_def=PACKS,
    description="No rule was broken, by a judge that reads the log against index and policy; of libraries of 300 "
    "presets and more at most 1 % of the picks relaxed a rule. If not: look at the page's list, and at what the "
    "policy's selection asks of so many presets.",
)


@dg.multi_asset_check(name=REHEARSAL_CLEAN, specs=[_CLEAN])
def rehearsal_clean(
    context: dg.AssetCheckExecutionContext, data_root: DataRootResource
) -> Iterator[dg.AssetCheckResult]:
    """Say whether the last rehearsal of the pack was clean, with what was not."""
    try:
        folder = data_root.get().rehearsal_dir(check_pack_name(context.partition_key))
        made = Rehearsal.load(folder / FACTS_NAME)
        finding = rehearsal_finding(made)
    except UserError as error:
        yield dg.AssetCheckResult(
            asset_key="rehearsal", check_name=REHEARSAL_CLEAN, passed=False, severity=dg.AssetCheckSeverity.ERROR,
            description=f"{REHEARSAL_CLEAN}: {error}",
        )  # fmt: skip
        return
    yield dg.AssetCheckResult(
        asset_key="rehearsal",
        check_name=REHEARSAL_CLEAN,
        passed=finding.passed,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{REHEARSAL_CLEAN}: {finding.detail}",
        metadata={
            **{name: round(value, 6) for name, value in finding.figures.items()},
            "broken": dg.MetadataValue.md(_violations_table(made)),
        },
    )


def make_rehearsal(root: DataRoot, pack: str, config: RehearsalConfig) -> Rehearsal:
    """Rehearse a pack and write its folder; raises `UserError`, an earlier rehearsal then stays."""
    progress_file, tell = root.rehearsal_progress(pack), _telling(root.rehearsal_progress(pack))
    with held_lock(root.rehearsal_lock(pack), timeout_s=_LOCK_TIMEOUT_S):
        try:
            material = published_material(root, pack)
            performance = _performance(config, tell)
            played = rehearse(material, performance, seed=config.seed, progress=tell)
            with rebuilt_folder(root.rehearsal_dir(pack)) as new:
                return write_rehearsal(new, material, performance, played, video=config.video, progress=tell)
        finally:
            progress_file.unlink(missing_ok=True)


def _performance(config: RehearsalConfig, tell: Progress) -> Performance:
    """Read or generate the track and hear it; raises `UserError`."""
    truth, started = None, time.monotonic()
    tell("track", 0, 1)
    if config.audio is None:
        made = generate_set(60 * config.minutes, config.seed)
        track, truth = made.track(), Truth(sections_of(made.sections), made.beats_s)
    else:
        track = read_track(Path(config.audio).expanduser(), progress=lambda done, total: tell("track", done, total))
    timeline = analyse(track, progress=lambda done, total: tell("hearing", done, total))
    return Performance(track, timeline, truth, time.monotonic() - started)


def _telling(path: Path) -> Progress:
    """Return what writes how far the work has come, twice a second at most."""
    begins = dict(zip(STAGES, (sum(list(STAGES.values())[:number]) for number in range(len(STAGES))), strict=True))
    told = [0.0]

    def tell(stage: str, done: int, total: int) -> None:
        if time.monotonic() - told[0] < _TELL_EVERY_S:
            return
        told[0] = time.monotonic()
        done_share = begins[stage] + round(STAGES[stage] * done / max(1, total))
        WorkProgress(done=done_share, total=sum(STAGES.values())).save(path)

    return tell


def stage_of(state: WorkProgress) -> str:
    """Return which stage a rehearsal is at."""
    end = 0
    for stage, share in STAGES.items():
        end += share
        if state.done < end:
            return stage
    return next(reversed(STAGES))


def _violations_table(made: Rehearsal) -> str:
    if not made.violations:
        return "none"
    rows = [(f"{one.time_s:.1f} s", one.rule, one.preset_id, one.detail) for one in made.violations]
    more = f"\n\nand {len(rows) - _SHOWN_VIOLATIONS} more" if len(rows) > _SHOWN_VIOLATIONS else ""
    return markdown_table(("time", "rule", "preset", "what happened"), rows[:_SHOWN_VIOLATIONS]) + more


def _facts(root: DataRoot, made: Rehearsal) -> dict[str, Any]:
    ours = made.figures("selector")
    folder = root.rehearsal_dir(made.pack)
    compared = [(row.name, row.note, *row.values) for row in comparison_rows(made)]
    return {
        "track": made.track.name,
        "track_duration_s": made.track.duration_s,
        "generated": made.generated,
        "picks": ours.picks,
        "presets_shown": ours.presets_shown,
        "clusters_shown": ours.clusters_shown,
        "violations": ours.violation_count,
        "violations_by_rule": dg.MetadataValue.md(
            markdown_table(
                ("rule", "count", "what it means"),
                [(rule, count, RULE_NOTES[rule]) for rule, count in ours.violations.items()],
            )
            if ours.violations
            else "none"
        ),
        "relaxed_fraction": ours.relaxed_fraction,
        "tier_match_fraction": dg.MetadataValue.null()
        if ours.tier_match_fraction is None
        else ours.tier_match_fraction,
        "comparison": dg.MetadataValue.md(markdown_table(("figure", "", *PLAY_NAMES), compared)),
        "without_picture": made.without_picture,
        "index_hash": made.index_hash,
        "seed": made.seed,
        "page_bytes": made.page_bytes,
        "folder_bytes": made.folder_bytes,
        "duration_s": made.duration_s,
        "page": dg.MetadataValue.path(str(folder / PAGE_NAME)),
        "open": dg.MetadataValue.url((folder / PAGE_NAME).resolve().as_uri()),
        "picks_file": dg.MetadataValue.path(str(folder / PICKS_NAME)),
        "video": dg.MetadataValue.null() if made.video is None else dg.MetadataValue.path(str(folder / made.video)),
    }
