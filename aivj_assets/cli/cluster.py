"""`aivj bench growth`: clustering strategies measured on a library that grows."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from aivj_assets.cli.bench import JsonOption, finish
from aivj_assets.cli.terminal import console
from aivj_assets.errors import UserError


def growth(
    overlap: Annotated[
        float, typer.Option("--overlap", min=0, max=0.99, help="Cosine of two styles of a family, 0..1.")
    ] = 0.5,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the simulation.")] = 1,
    steps: Annotated[int, typer.Option("--steps", min=2, help="Batches.")] = 12,
    first: Annotated[int, typer.Option("--first", min=2, help="Presets of the first batch.")] = 2_000,
    middle: Annotated[
        int, typer.Option("--middle", min=2, help="Presets after the first third of the steps.")
    ] = 15_000,
    final: Annotated[int, typer.Option("--final", min=2, help="Presets in the end.")] = 130_000,
    styles: Annotated[int, typer.Option("--styles", min=2, help="True styles.")] = 100,
    late: Annotated[float, typer.Option("--late", min=0, max=0.99, help="Share of them that appears later.")] = 0.36,
    drift: Annotated[float, typer.Option("--drift", min=0, help="How far styles move over all steps, of 1.")] = 0.3,
    dim: Annotated[int, typer.Option("--dim", min=2, help="Dimensions of an embedding.")] = 512,
    k: Annotated[int, typer.Option("--k", min=1, help="Clusters of the first version.")] = 64,
    k_limit: Annotated[int | None, typer.Option("--k-limit", min=1, help="By default twice k.")] = None,
    major_at: Annotated[
        int, typer.Option("--major-at", min=0, help="Presets at which the lineage has its major; 0 for none.")
    ] = 15_000,
    strategies: Annotated[
        str | None, typer.Option("--strategies", help="Names with commas between them; by default all but major.")
    ] = None,
    scale: Annotated[
        bool, typer.Option("--scale", help="Measure time and memory at an eighth of --final, a half, and all of it.")
    ] = False,
    json_file: JsonOption = None,
) -> None:
    """Compare clustering strategies on a simulated library that grows: changed ids, quality, new styles, cost."""
    from aivj_assets.cluster.growth import GrowthPlan
    from aivj_assets.cluster.growth_bench import COMPARED, GrowthBench, bench_growth
    from aivj_assets.cluster.growth_scale import ScaleBench, bench_scale
    from aivj_assets.cluster.growth_tables import print_growth_bench, print_scale_bench
    from aivj_assets.cluster.state import LineageParameters

    names = [name.strip() for name in strategies.split(",") if name.strip()] if strategies is not None else COMPARED
    if not names:
        raise UserError("--strategies names none; for example --strategies lineage,hungarian.")
    plan = GrowthPlan(
        seed=seed, overlap=overlap, styles=styles, late_fraction=late, drift=drift, steps=steps, first=first,
        middle=min(max(middle, first), final), final=final, dim=dim, intrinsic_dim=min(GrowthPlan.intrinsic_dim, dim),
    )  # fmt: skip
    parameters = LineageParameters(k=k, k_limit=k_limit, seed=seed)
    figures: ScaleBench | GrowthBench
    with Console(stderr=True).status("Growing a library ...") as status:

        def tell(text: str) -> None:
            status.update(f"Growing a library: {text}")

        if scale:
            sizes = (final // 8, final // 2, final)
            figures = bench_scale(
                plan, sizes=sizes, batch_rows=max(1, final // 13), parameters=parameters, progress=tell
            )
        else:
            figures = bench_growth(plan, strategies=names, parameters=parameters, major_at=major_at, progress=tell)
    if isinstance(figures, ScaleBench):
        print_scale_bench(console, figures)
    else:
        print_growth_bench(console, figures)
    finish(figures.to_json(), json_file, interrupted=False)
