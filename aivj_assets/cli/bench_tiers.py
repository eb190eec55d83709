"""`aivj bench tiers`: how right the energy tier is on sets whose sections are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from aivj_assets.cli.bench import JsonOption, finish
from aivj_assets.cli.terminal import console
from aivj_assets.errors import UserError


def bench_tiers_command(
    track: Annotated[Path | None, typer.Argument(help="A sound file of yours, in place of generated sets.")] = None,
    labels: Annotated[
        Path | None, typer.Argument(help="Its sections, as Audacity exports labels: calm, groove or peak.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=200, help="Sets of each style.")] = 10,
    minutes: Annotated[float, typer.Option("--minutes", min=1, max=120, help="Length of a set.")] = 10.0,
    fit: Annotated[
        bool, typer.Option("--fit", help="Fit the weights of the tier anew on the tuning seeds and print them.")
    ] = False,
    json_file: JsonOption = None,
) -> None:
    """Measure the energy tier, tempo and beats on generated sets against thresholds of the level and its rank."""
    from aivj_assets.show.tier_bench import TierBench, bench_tiers, score_labelled, tune_baselines
    from aivj_assets.show.tier_bench_tables import print_tier_bench

    if (track is None) != (labels is None):
        raise UserError("Name both a track and its labels, or neither: aivj bench tiers TRACK LABELS.")
    with Console(stderr=True).status("Measuring the energy tier ...") as status:
        if fit:
            _fit(console, lambda done: status.update(f"Fitting: {done} sets heard"))
            return
        if track is not None and labels is not None:
            from aivj_assets.show.audio.source import read_track
            from aivj_assets.show.section_labels import read_section_labels

            heard = read_track(track)
            sections = read_section_labels(labels, heard.duration_s)
            bench = TierBench(heard.duration_s / 60, tune_baselines())
            bench.tracks.append(score_labelled(heard, sections, bench.tuned))
        else:
            bench = bench_tiers(
                seeds, minutes, progress=lambda text: status.update(f"Measuring the energy tier: {text}")
            )
    print_tier_bench(console, bench)
    finish(bench.to_json(), json_file, interrupted=False)


def _fit(console: Console, progress: Callable[[int], None]) -> None:
    from aivj_assets.show.tier import MORE_THAN_CALM, PEAK, WEIGHTS
    from aivj_assets.show.tier_fit import fit_weights

    found = fit_weights(progress=progress)
    for title, names, ours, new, at in (
        ("more than calm", MORE_THAN_CALM, WEIGHTS.more_than_calm, found.more_than_calm, found.more_than_calm_at),
        ("peak", PEAK, WEIGHTS.peak, found.peak, found.peak_at),
    ):
        console.print(f"{title}: intercept {at:g}", highlight=False)
        for name, before, after in zip(names, ours, new, strict=True):
            console.print(f"  {name}: {before:g} in use, {after:g} fitted", highlight=False)
