"""`aivj map`: every preset of a pack as a point, what looks alike together; and what that costs."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from aivj_assets.cli.bench import JsonOption, finish
from aivj_assets.cli.options import RootOption, data_root
from aivj_assets.cli.terminal import console


def style_map(
    pack: Annotated[str, typer.Argument(help="Pack; all of its accepted batches are on the map.")],
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of the places.")] = None,
    root: RootOption = None,
) -> None:
    """Draw a pack's style map: colours by cluster, energy or batch, thumbnails, search, selection."""
    from aivj_assets.orchestration.commands.style_map import map_and_show

    raise typer.Exit(map_and_show(console, data_root(root), pack, seed=seed))


def bench_map(
    points: Annotated[int, typer.Option("--points", min=100, help="Presets of a simulated library.")] = 15_000,
    seed: Annotated[int, typer.Option("--seed", min=1, help="Seed of the simulation.")] = 1,
    frames: Annotated[int, typer.Option("--frames", min=5, help="Frames that the browser draws.")] = 60,
    json_file: JsonOption = None,
) -> None:
    """Measure a style map of simulated presets: places, how far they move, the page, drawing in a browser."""
    from aivj_assets.orchestration.bench.map import bench_style_map, print_map_bench

    with Console(stderr=True).status("Measuring a style map ...") as status:
        figures = bench_style_map(
            points, seed=seed, frames=frames, progress=lambda text: status.update(f"Measuring a style map: {text}")
        )
    print_map_bench(console, figures)
    finish(figures, json_file, interrupted=False)
