"""The tier benchmark as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aivj_assets.contracts.style import ENERGIES
from aivj_assets.show.generate import HELD_OUT_SEED
from aivj_assets.show.tier_bench import METHODS, Method, TierBench, TrackScore

_NAMES: dict[Method, str] = {
    "ours": "ours",
    "absoluteRms": "absolute RMS",
    "rmsRank": "RMS rank, whole track",
    "commonest": "always the commonest",
}


def print_tier_bench(console: Console, bench: TierBench) -> None:
    """Print a table of methods a style, of beats, and of every track."""
    console.print(_methods(bench))
    for style in bench.styles():
        best, (mean, low, high) = bench.lead(style)
        verdict = "ahead" if low > 0 else "behind" if high < 0 else "no clear difference"
        lead = f"{mean:+.3f} ({low:+.3f}..{high:+.3f}): {verdict}"
        text = f"{style}: ours less {_NAMES[best]}, the best of the others: {lead}"
        console.print(escape(text), highlight=False)
    if any(track.beats for track in bench.tracks):
        console.print(_beats(bench))
    console.print(_tracks(bench))
    if bench.speed:
        console.print(
            f"Features of {bench.speed['minutes']:g} minutes at {bench.speed['sampleRateHz']:,.0f} Hz: "
            f"{bench.speed['timesRealtime']:.0f} times faster than played by processor time "
            f"({bench.speed['cpuS']:.1f} s), {bench.speed['timesRealtimeClock']:.0f} by the clock",
            highlight=False,
        )


def _methods(bench: TierBench) -> Table:
    sets = "" if bench.styles() == ["labelled"] else f", seeds from {HELD_OUT_SEED}"
    table = Table(
        title=f"Share of 50 ms rows with the true tier, {bench.minutes:.3g} minutes a track{sets}; "
        "mean and 95 % interval over tracks",
        title_justify="left",
    )
    for head in ("style", "method", "accuracy", "interval", "balanced", *ENERGIES, "delay s", "changes\nan hour"):
        table.add_column(head, justify="left" if head in {"style", "method"} else "right")
    for style in bench.styles():
        tracks = bench.of(style)
        for method in METHODS:
            mean, low, high = bench.interval(style, method)
            scores = [track.methods[method] for track in tracks]
            delays = [score.delay_s for score in scores if score.delay_s is not None]
            table.add_row(
                f"{style} ({len(tracks)})" if method == "ours" else "",
                _NAMES[method],
                f"{mean:.3f}",
                f"{low:.3f}..{high:.3f}",
                f"{np.mean([score.balanced for score in scores]):.3f}",
                *(_mean([score.recall.get(tier) for score in scores]) for tier in ENERGIES),
                f"{np.median(delays):.1f}" if delays else "-",
                f"{np.mean([score.changes_an_hour for score in scores]):.0f}",
            )
        table.add_section()
    return table


def _beats(bench: TierBench) -> Table:
    table = Table(title="Tempo and beats (70 ms)", title_justify="left")
    for head in ("style", "tempo right", "or half, double", "tempo error", "beats F", "worst", "bars F"):
        table.add_column(head, justify="left" if head == "style" else "right")
    for style in bench.styles():
        beats = [track.beats for track in bench.of(style) if track.beats]
        if beats:
            table.add_row(
                style,
                f"{np.mean([one.tempo_right for one in beats]):.3f}",
                f"{np.mean([one.tempo_right_octave for one in beats]):.3f}",
                f"{np.median([one.tempo_error for one in beats]):.2%}",
                f"{np.mean([one.f_measure for one in beats]):.3f}",
                f"{min(one.f_measure for one in beats):.3f}",
                f"{np.mean([one.bar_f_measure for one in beats]):.3f}",
            )
    return table


def _tracks(bench: TierBench) -> Table:
    table = Table(title="Accuracy by track", title_justify="left")
    table.add_column("track")
    for method in METHODS:
        table.add_column(_NAMES[method], justify="right")
    table.add_column("beats F", justify="right")
    for track in bench.tracks:
        table.add_row(escape(track.name), *_accuracies(track), f"{track.beats.f_measure:.3f}" if track.beats else "-")
    return table


def _accuracies(track: TrackScore) -> list[str]:
    return [f"{track.methods[method].accuracy:.3f}" for method in METHODS]


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{np.mean(known):.2f}" if known else "-"
