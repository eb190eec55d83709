"""`aivj adopt`: what an earlier tool made for a pack becomes the baseline of its lineage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from aivj_assets.cli_options import RootOption


def adopt(
    pack: Annotated[str, typer.Argument(help="Pack, whose library-manifest.json lies under public/presets.")],
    folder: Annotated[
        Path,
        typer.Option(
            "--from",
            help="Folder with frames-index.jsonl and its frames, embeddings.npy, ids.txt and clusters.v0.json.",
        ),
    ],
    card: Annotated[
        Path | None,
        typer.Option(
            "--card",
            help="File with the model card of the rows, where the folder has no embeddings.meta.json: that of any "
            "batch which was embedded with the same model. May also be named later.",
        ),
    ] = None,
    reason: Annotated[
        str | None, typer.Option("--lineage-reason", help="Why; kept with the lineage's first version.")
    ] = None,
    root: RootOption = None,
) -> None:
    """Take in what an earlier tool made for a pack: nothing is rendered or embedded again, cluster ids stay."""
    from aivj_assets.cli import data_root
    from aivj_assets.orchestration.adopt import AdoptOptions
    from aivj_assets.orchestration.adopt_command import adopt_and_report

    why = " ".join(reason.split()) if reason is not None else None
    options = AdoptOptions(folder=folder, card=card, reason=why or None)
    raise typer.Exit(adopt_and_report(Console(soft_wrap=False), data_root(root), pack, options))
