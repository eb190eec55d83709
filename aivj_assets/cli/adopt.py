"""`aivj adopt`: what an earlier tool made for a pack becomes the baseline of its lineage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aivj_assets.cli.options import PretrainedOption, RootOption, data_root
from aivj_assets.cli.terminal import console
from aivj_assets.errors import UserError


def adopt(
    pack: Annotated[str, typer.Argument(help="Pack, whose library-manifest.json lies under public/presets.")],
    folder: Annotated[
        Path,
        typer.Option(
            "--from",
            help="Folder with frames-index.jsonl and its frames, embeddings.npy, ids.txt and clusters.v0.json.",
        ),
    ],
    embedder: Annotated[
        str | None,
        typer.Option(
            "--embedder",
            help="Model of the rows, as aivj run takes it, where the folder has no whole embeddings.meta.json: it is "
            "loaded and held against a few rows; may be named later.",
        ),
    ] = None,
    pretrained: PretrainedOption = None,
    card: Annotated[
        Path | None,
        typer.Option(
            "--card",
            help="In place of --embedder, unchecked: the embeddings.meta.json of a batch of the same model.",
        ),
    ] = None,
    reason: Annotated[
        str | None, typer.Option("--lineage-reason", help="Why; kept with the lineage's first version.")
    ] = None,
    root: RootOption = None,
) -> None:
    """Take in what an earlier tool made for a pack: nothing is rendered or embedded again, cluster ids stay."""
    from aivj_assets.orchestration.adopt.adoption import AdoptOptions
    from aivj_assets.orchestration.adopt.model import NamedModel
    from aivj_assets.orchestration.commands.adopt import adopt_and_report

    if pretrained is not None and embedder is None:
        raise UserError("--pretrained goes with --embedder NAME.")
    model = None if embedder is None else NamedModel(embedder, pretrained)
    why = " ".join(reason.split()) if reason is not None else None
    options = AdoptOptions(folder=folder, card=card, model=model, reason=why or None)
    raise typer.Exit(adopt_and_report(console, data_root(root), pack, options))
