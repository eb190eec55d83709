"""A sweep of k for a person: a table in the terminal, curves, and a page that needs nothing but itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from rich import box
from rich.console import Console
from rich.table import Table

from aivj_assets.contracts.k_report import K_NOTES, KFigures, KNote, KReport, Measured
from aivj_assets.contracts.style import ENERGIES, Energy
from aivj_assets.report.curves import Curve, line_plot
from aivj_assets.report.html import render_template, write_html

_CONTROL = "random clusters"


@dataclass(frozen=True)
class KPlot:
    """A picture of one or two figures over k, and what they can and cannot tell."""

    note: KNote
    picture: Image.Image
    words: str
    """What the picture shows, for those who do not see it."""


@dataclass(frozen=True)
class Column:
    """A column of the table: heading, its second line, and a figure's text with its control's or none."""

    heading: str
    unit: str
    value: Callable[[KFigures], str]
    control: Callable[[KFigures], str] | None = None


def _pair(of: Callable[[KFigures], Measured], form: str) -> dict[str, Any]:
    return {
        "value": lambda figure: format(of(figure).value, form),
        "control": lambda figure: format(of(figure).control, form),
    }


def _clusters_of(energy: Energy) -> Callable[[KFigures], str]:
    return lambda figure: f"{figure.clusters_by_energy.get(energy, 0)}"


USE_COLUMNS = (
    Column("presets", "a cluster", lambda figure: f"{figure.presets_per_cluster:,.1f}"),
    Column("smallest", "cluster", lambda figure: f"{figure.smallest_cluster:,}"),
    Column("largest", "cluster", lambda figure: f"{figure.largest_cluster:,}"),
    Column("full", "sheets", lambda figure: f"{figure.full_sheets_fraction * 100:.0f}%"),
    *(Column("clusters", energy, _clusters_of(energy)) for energy in ENERGIES),
    Column("balance", "of sizes", lambda figure: f"{figure.balance:.3f}"),
)
"""What a person and a show get of a k."""
FIGURE_COLUMNS = (
    Column("explained", "beyond chance", lambda figure: f"{figure.explained_fraction * 100:.1f}%"),
    Column("cohesion", "median", **_pair(lambda figure: figure.cohesion_median, "z.3f")),
    Column("cohesion", "worst tenth", **_pair(lambda figure: figure.cohesion_worst_decile, "z.3f")),
    Column("silhouette", "cosine", **_pair(lambda figure: figure.silhouette, "z.3f")),
    Column("stability", "ARI", **_pair(lambda figure: figure.stability_ari, "z.3f")),
    Column("Davies-", "Bouldin", **_pair(lambda figure: figure.davies_bouldin, ".2f")),
    Column("inertia", "", **_pair(lambda figure: figure.inertia, ",.0f")),
)
"""What the clusters are like, beside random ones."""
COLUMNS = (*USE_COLUMNS, *FIGURE_COLUMNS)


def k_plots(report: KReport) -> list[KPlot]:
    """Return the curves over k, a vertical line at the recommended one, in the order of the notes."""
    figures, ks = report.figures, [figure.k for figure in report.figures]

    def curve(name: str, of: Callable[[KFigures], float], *, is_control: bool = False) -> Curve:
        return Curve(name, [of(figure) for figure in figures], is_control)

    def beside(name: str, of: Callable[[KFigures], Measured]) -> list[Curve]:
        return [
            curve(name, lambda figure: of(figure).value),
            curve(_CONTROL, lambda figure: of(figure).control, is_control=True),
        ]

    sheet = report.use.sheet_presets
    curves: dict[str, list[Curve]] = {
        "explained": [
            curve("fraction explained", lambda figure: figure.explained_fraction),
            curve(_CONTROL, lambda _figure: 0.0, is_control=True),
        ],
        "cohesion": [
            curve("median cluster", lambda figure: figure.cohesion_median.value),
            curve("worst tenth", lambda figure: figure.cohesion_worst_decile.value),
            curve(f"{_CONTROL}, median", lambda figure: figure.cohesion_median.control, is_control=True),
        ],
        "use": [
            curve(f"fraction of clusters with {sheet} presets", lambda figure: figure.full_sheets_fraction),
            curve(
                "fraction that count for every energy",
                lambda figure: min(figure.clusters_by_energy.values()) / figure.k,
            ),
        ],
        "balance": [
            curve("entropy of sizes / log k", lambda figure: figure.balance),
            curve("share of the largest cluster", lambda figure: figure.largest_share_fraction),
        ],
        "silhouette": beside("silhouette", lambda figure: figure.silhouette),
        "stability": beside("mean ARI between fits", lambda figure: figure.stability_ari),
        "daviesBouldin": beside("Davies-Bouldin", lambda figure: figure.davies_bouldin),
        "inertia": beside("inertia", lambda figure: figure.inertia),
    }
    return [
        KPlot(
            note,
            line_plot(ks, curves[note.name], note.title, "k", marked=report.recommendation.k),
            _words(note, ks, curves[note.name]),
        )
        for note in K_NOTES
    ]


def _words(note: KNote, ks: Sequence[int], curves: Sequence[Curve]) -> str:
    told = [
        f"{curve.name} goes from {curve.values[0]:.3g} at k {ks[0]} to {curve.values[-1]:.3g} at k {ks[-1]}"
        for curve in curves
    ]
    return f"{note.title}: {'; '.join(told)}."


# ---------------------------------------------------------------------- the terminal


def print_k_report(console: Console, report: KReport) -> None:
    """Print what was counted, the table (controls in grey below their figures) and the recommendation."""
    for batch, why in report.left_out.items():
        _line(console, f"Batch {batch} is left out: {why.rstrip('.')}.")
    _line(console, f"{report.pack}: {report.presets:,} presets of {_batches(report)}, {report.model}")
    console.print(_table(report, "What each k gives to a person and a show", USE_COLUMNS))
    console.print(_table(report, "What its clusters are like", FIGURE_COLUMNS))
    _line(console, "Second lines: random clusters of the same sizes, what the figure would be without structure.")
    for left in report.ks_left_out:
        _line(console, f"k {left.k} is left out: {left.why}.")
    for line in report.recommendation.against:
        _line(console, f"Not {line}.")
    _line(console, f"Suggested: k {report.recommendation.k}, {report.recommendation.reason}")


def _table(report: KReport, title: str, columns: Sequence[Column]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    table.add_column("\nk", justify="right", style="bold")
    for column in columns:
        table.add_column(f"{column.heading}\n{column.unit}", justify="right")
    for figure in report.figures:
        cells = [
            column.value(figure) + (f"\n[dim]{column.control(figure)}[/]" if column.control else "")
            for column in columns
        ]
        table.add_row(f"{figure.k}", *cells, style="green" if figure.k == report.recommendation.k else None)
    return table


def _batches(report: KReport) -> str:
    return f"{len(report.batches)} batch{'es' if len(report.batches) > 1 else ''}"


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


# ---------------------------------------------------------------------- the page


def write_k_page(path: Path, report: KReport) -> None:
    """Write the page whole; raises `UserError` when it cannot be written."""
    write_html(path, render_k_page(report))


def render_k_page(report: KReport) -> str:
    """Return the page as HTML, its curves inside as pictures. All values are escaped."""
    values = {"report": report, "plots": k_plots(report), "columns": COLUMNS, "batches": _batches(report)}
    return render_template("k_report.html.j2", {"data_uri": _data_uri}, **values)


def _data_uri(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    # Few colours and straight lines: without loss it is smaller than a photograph's compression.
    picture.save(buffer, "WEBP", lossless=True)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
