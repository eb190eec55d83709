"""`aivj rehearse`: a track played through the selector, judged, as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aivj_assets.cli.options import AsJsonOption, RootOption, data_root
from aivj_assets.cli.terminal import console


def rehearse(
    pack: Annotated[str, typer.Argument(help="Pack; it has to be published.")],
    audio: Annotated[
        Path | None, typer.Argument(help="Track: a wav, flac, ogg or mp3 file; without one a set is generated.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0.1, max=360, help="Length of the generated set, by default 60.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of the picks and of a generated set.")] = None,
    video: Annotated[
        bool, typer.Option("--video", help="Make a preview video of the captured frames; needs ffmpeg.")
    ] = False,
    as_json: AsJsonOption = False,
    root: RootOption = None,
) -> None:
    """Play a track through the selector, count broken rules, compare; exit status 1 when a rule was broken."""
    from aivj_assets.errors import UserError
    from aivj_assets.orchestration.commands.rehearsal import rehearse_and_show

    if audio is not None and minutes is not None:
        raise UserError("--minutes is for a generated set; a file is played whole.")
    status = rehearse_and_show(
        console, data_root(root), pack, audio=audio, minutes=minutes, seed=seed, video=video, as_json=as_json
    )
    raise typer.Exit(status)
