"""The k that a sweep suggests. Use decides: full sheets, clusters for the show's cooldown, what more would bring."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from aivj_assets.contracts.k_report import KFigures, KRecommendation, KUse

# A tenth of the clusters may be rare styles, too small to fill a sheet.
FULL_SHEETS_MIN_FRACTION = 0.9
# Twice the sheets to look at for less than so much more of the presets' differences are not worth their while.
GAIN_MIN_FRACTION = 0.02


def recommend_k(figures: Sequence[KFigures], use: KUse) -> KRecommendation:
    """Return the largest k of a sweep whose clusters serve their use and still bring something.

    At least 90% of the clusters fill a sheet, each energy has more clusters than the cooldown has switches, and up to
    that k each doubling of k explains 2 points more of how presets differ beyond chance. Where no k serves, it is the
    one with most full sheets. Figures are in the order of k.
    """
    gains = [math.inf] + [
        (figure.explained_fraction - below.explained_fraction) / math.log2(figure.k / below.k)
        for below, figure in pairwise(figures)
    ]
    flat = next((number for number, gain in enumerate(gains) if gain < GAIN_MIN_FRACTION), len(figures))
    problems = {
        figure.k: _use_problem(figure, use) or (_flat_problem(figures, flat, gains[flat]) if number >= flat else None)
        for number, figure in enumerate(figures)
    }
    serving = [figure for figure in figures if problems[figure.k] is None]
    if not serving:
        best = max(figures, key=lambda figure: (figure.full_sheets_fraction, -figure.k))
        return KRecommendation(
            k=best.k,
            reason=f"no k of the sweep serves its use (k {best.k}: {problems[best.k]}); it has most full sheets. "
            "Try smaller ones, or wait for more presets.",
            against=_against(figures, best.k, problems),
        )
    taken = serving[-1]
    return KRecommendation(k=taken.k, reason=_reason(figures, taken, use), against=_against(figures, taken.k, problems))


def _use_problem(figure: KFigures, use: KUse) -> str | None:
    if figure.full_sheets_fraction < FULL_SHEETS_MIN_FRACTION:
        return (
            f"only {_percent(figure.full_sheets_fraction)} of its clusters fill a sheet of {use.sheet_presets} presets "
            f"({_percent(FULL_SHEETS_MIN_FRACTION)} wanted)"
        )
    energy, clusters = min(figure.clusters_by_energy.items(), key=lambda item: item[1])
    if clusters <= use.cluster_cooldown_switches:
        return (
            f"only {clusters} of its clusters hold {use.tier_presets} presets of energy {energy}, too few for one to "
            f"stay away for {use.cluster_cooldown_switches} switches"
        )
    return None


def _flat_problem(figures: Sequence[KFigures], number: int, gain: float) -> str:
    return (
        f"from k {figures[number - 1].k} to {figures[number].k} a doubling explains {gain * 100:.1f} points more "
        f"beyond chance, less than {GAIN_MIN_FRACTION * 100:g}"
    )


def _reason(figures: Sequence[KFigures], taken: KFigures, use: KUse) -> str:
    fewest = min(taken.clusters_by_energy.values())
    said = (
        f"the largest k of the sweep that serves: {_percent(taken.full_sheets_fraction)} of its clusters fill a sheet "
        f"of {use.sheet_presets} ({taken.presets_per_cluster:,.1f} presets each on average), every energy has at least "
        f"{fewest} clusters to change among, and it explains {_percent(taken.explained_fraction)} of how presets "
        "differ beyond chance"
    )
    below = [figure for figure in figures if figure.k < taken.k]
    if not below:
        return f"{said}."
    gained = (taken.explained_fraction - below[-1].explained_fraction) * 100
    return f"{said}, {gained:.1f} points more than k {below[-1].k}."


def _against(figures: Sequence[KFigures], k: int, problems: dict[int, str | None]) -> list[str]:
    return [f"k {figure.k}: {problems[figure.k]}" for figure in figures if figure.k > k]


def _percent(fraction: float) -> str:
    return f"{fraction * 100:.0f}%"
