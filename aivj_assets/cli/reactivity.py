"""`aivj reactivity`: which presets of a sample move with the sound."""

from __future__ import annotations

from typing import Annotated

import typer

from aivj_assets.cli.options import AsJsonOption, RootOption, data_root
from aivj_assets.cli.terminal import console


def reactivity(
    pack: Annotated[str, typer.Argument(help="Pack; a sample of its published presets is rendered.")],
    sample: Annotated[int, typer.Option("--sample", min=1, help="So many presets, as many of each cluster.")] = 60,
    audio: Annotated[
        list[str] | None,
        typer.Option(
            "--audio",
            help="A sound file, or synthetic, synthetic:pulse, synthetic:bursts, synthetic:sweep; may be given several "
            "times. Filled up to three with synthetic ones.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of the sample and of the sounds.")] = None,
    as_json: AsJsonOption = False,
    root: RootOption = None,
) -> None:
    """Render a sample under several sounds and silence; tell which presets' pictures follow the sound."""
    from aivj_assets.orchestration.commands.reactivity import reactivity_and_show

    place = data_root(root)
    raise typer.Exit(
        reactivity_and_show(console, place, pack, sample=sample, audio=audio or (), seed=seed, as_json=as_json)
    )
