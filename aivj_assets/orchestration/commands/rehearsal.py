"""What `aivj rehearse` does: the asset of the pack in a run of its own, and its result in the terminal."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from aivj_assets.contracts.progress import WorkProgress
from aivj_assets.contracts.rehearsal import Rehearsal
from aivj_assets.layout import DataRoot
from aivj_assets.orchestration.assets.rehearsal import stage_of
from aivj_assets.orchestration.commands.pack import make_pack_asset
from aivj_assets.report.console import require_pack
from aivj_assets.show.audio.source import require_sound
from aivj_assets.show.rehearsal.material import published_material
from aivj_assets.show.rehearsal.page import PAGE_NAME
from aivj_assets.show.rehearsal.rehearse import FACTS_NAME
from aivj_assets.show.rehearsal.verdict import rehearsal_finding

_STAGE_WORDS = {
    "track": "reading the track", "hearing": "hearing it", "picks": "picking", "pictures": "pictures",
    "video": "preview video",
}  # fmt: skip


def rehearse_and_show(
    console: Console,
    root: DataRoot,
    pack: str,
    *,
    audio: Path | None,
    minutes: float | None,
    seed: int | None,
    video: bool,
    as_json: bool,
) -> int:
    """Rehearse a pack and say what came of it; returns the exit status, 1 where a rule was broken.

    Raises `UserError`, before a run is begun, for an unknown pack, one that is not published, no sound.
    """
    require_pack(root, pack)
    published_material(root, pack)
    if audio is not None:
        require_sound(audio)
    config = {
        "audio": None if audio is None else str(audio.resolve()),
        "minutes": minutes,
        "seed": seed,
        "video": video,
    }
    made = make_pack_asset(
        console, root, pack, "rehearsal", config, progress_file=root.rehearsal_progress(pack),
        title=_title, stopped="An earlier rehearsal stays as it was.", quiet=as_json,
    )  # fmt: skip
    if not made:
        return 1
    folder = root.rehearsal_dir(pack)
    facts = Rehearsal.load(folder / FACTS_NAME)
    if as_json:
        console.file.write(json.dumps(facts.to_json(), indent=2) + "\n")
    else:
        for line in [*summary(facts), f"Page: {folder / PAGE_NAME}"]:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0 if rehearsal_finding(facts).passed else 1


def _title(state: WorkProgress) -> str:
    return f"Rehearsal: {_STAGE_WORDS[stage_of(state)]}"


def summary(made: Rehearsal) -> list[str]:
    """Return what is said of a rehearsal, a line each."""
    ours, in_list, chance = (made.figures(name) for name in ("selector", "listOrder", "random"))
    what = f"{made.track.name}, {made.track.duration_s / 60:.1f} min"
    shown = f"{ours.presets_shown:,} of {made.presets:,} presets, {ours.clusters_shown} of {made.clusters} clusters"
    found = rehearsal_finding(made).detail
    lines = [
        f"Rehearsal of '{made.pack}' with {what}: {ours.picks:,} picks, {shown}, made in {made.duration_s:.0f} s.",
        f"{found[0].upper()}{found[1:]}.",
    ]
    if ours.tier_match_fraction is not None and ours.on_beat_fraction is not None:
        lines.append(
            f"Energy fits the music {ours.tier_match_fraction:.0%} of the time (next in list "
            f"{in_list.tier_match_fraction or 0:.0%}, random {chance.tier_match_fraction or 0:.0%}); "
            f"{ours.on_beat_fraction:.0%} of the switches on a beat."
        )
    lines += [f"  {one.time_s:.1f} s: {one.rule}: {one.detail}" for one in made.violations[:5]]
    lines += made.track.warnings
    if made.video_note is not None:
        lines.append(made.video_note)
    if made.without_picture:
        lines.append(f"{made.without_picture:,} presets have no picture that can be read.")
    return lines
