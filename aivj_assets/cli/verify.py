"""`aivj verify`: whether what is stored can be rendered again."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

from aivj_assets.cli.options import AsJsonOption, RootOption, data_root
from aivj_assets.cli.terminal import EXIT_FAILED, counting, nothing_is_made, say
from aivj_assets.layout import BatchKey

MAX_WORKERS = 64


def verify(
    batch: Annotated[str, typer.Argument(help="Batch: <pack> or <pack>/batch-0001.")],
    sample: Annotated[int, typer.Option("--sample", min=1, help="So many random presets.")] = 50,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Draw the sample of an earlier call again.")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, max=MAX_WORKERS, help="Browsers at once; by default one a core.")
    ] = None,
    as_json: AsJsonOption = False,
    root: RootOption = None,
) -> None:
    """Render a random sample of a batch again and compare with what is stored; exit status 1 when anything differs."""
    from aivj_assets.render.machine import default_workers, this_machine
    from aivj_assets.render.verify import verify_batch
    from aivj_assets.report.console import require_batch

    place, key = data_root(root), BatchKey.parse(batch)
    require_batch(place, key)
    with nothing_is_made(), counting("Rendering again", quiet=as_json) as progress:
        report = verify_batch(
            place, key, this_machine(os.environ), sample=sample, seed=seed, workers=workers or default_workers(),
            progress=progress,
        )  # fmt: skip
    if as_json:
        typer.echo(json.dumps({**report.to_json(), "equal": report.equal}, indent=2))
    else:
        for line in report.lines():
            say(line)
    raise typer.Exit(0 if report.equal else EXIT_FAILED)
