"""`aivj bench scale`: what a library of 130,000 presets asks of everything but the renderer."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from aivj_assets.cli.bench import JsonOption, finish
from aivj_assets.cli.options import data_root
from aivj_assets.cli.terminal import console, say
from aivj_assets.layout import resolve_data_root


def bench_scale(
    batches: Annotated[int, typer.Option("--batches", min=1, max=99, help="Batches of the library.")] = 13,
    batch_size: Annotated[int, typer.Option("--batch-size", min=20, help="Presets a batch.")] = 10_000,
    out_size: Annotated[int, typer.Option("--out-size", min=16, max=512, help="Side of a picture, in pixels.")] = 64,
    root: Annotated[
        Path | None,
        typer.Option("--root", help="Folder of the library; by default .aivj/bench-scale under the data root."),
    ] = None,
    json_file: JsonOption = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the library there when all is measured.")] = False,
    ui: Annotated[bool, typer.Option("--ui/--no-ui", help="Open the UI's pages in a browser at the end.")] = True,
) -> None:
    """Run a large library through the real graph with a stand-in for the browser: times, memory, sizes, the UI."""
    from aivj_assets.orchestration.bench.scale.at_end import measure_end
    from aivj_assets.orchestration.bench.scale.rehearse import ScaleOptions, rehearse
    from aivj_assets.orchestration.bench.scale.report import print_report, report

    folder = root or resolve_data_root(os.environ).own_dir / "bench-scale"
    place = data_root(folder)
    state = rehearse(console, place, ScaleOptions(batches, batch_size, out_size))
    say("Looking at the UI and the sensors ..." if ui else "Looking at the sensors ...")
    figures = report(state, measure_end(place, state, ui=ui))
    print_report(console, state, figures)
    if keep:
        say(f"The library stays in {place.path}.")
    else:
        shutil.rmtree(place.path, ignore_errors=True)
    finish(figures, json_file, interrupted=False)
