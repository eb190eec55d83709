"""`aivj k-report`: figures that help to choose how many clusters a pack gets."""

from __future__ import annotations

from typing import Annotated

import typer

from aivj_assets.cli.options import AsJsonOption, RootOption, data_root
from aivj_assets.cli.terminal import console


def k_report(
    pack: Annotated[str, typer.Argument(help="Pack; all of its accepted batches count together.")],
    k: Annotated[
        str | None,
        typer.Option(
            "--k",
            help="Numbers of clusters to compare, by default 16,24,32,48,64,96,128; those with fewer than 8 presets a "
            "cluster are left out.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of samples and fits.")] = None,
    as_json: AsJsonOption = False,
    root: RootOption = None,
) -> None:
    """Compare numbers of clusters: cohesion, stability and use beside random clusters; suggests one, you choose."""
    from aivj_assets.cluster.k_report import parse_ks
    from aivj_assets.orchestration.commands.k_report import k_report_and_show

    ks = None if k is None else parse_ks(k)
    raise typer.Exit(k_report_and_show(console, data_root(root), pack, ks=ks, seed=seed, as_json=as_json))
