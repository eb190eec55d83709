"""`aivj worker`: a machine joins the cluster profile."""

from __future__ import annotations

from typing import Annotated

import typer

from aivj_assets.cli.options import RootOption, data_root
from aivj_assets.cli.terminal import console


def worker(
    queues: Annotated[
        str,
        typer.Option(
            "--queues",
            help="What this machine does: render, embed, default (all other steps), runs (leads runs; on one machine "
            "at least), separated by commas.",
        ),
    ],
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency", min=1, max=64, help="Steps at once; by default one, with render as many as browsers suit."
        ),
    ] = None,
    root: RootOption = None,
) -> None:
    """Work on steps of the cluster profile until Ctrl-C, which ends after the steps at work; twice gives them back."""
    from aivj_assets.orchestration.fleet.worker import serve_worker

    raise typer.Exit(serve_worker(console, data_root(root), queues=queues, concurrency=concurrency))
