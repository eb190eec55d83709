"""Strategies measured on a library that grows: what an id is worth, how good the clusters are, what they cost.

Every figure is defined once and taken the same way for every strategy, after each batch:

- churn: share of the presets published before whose cluster number the step changed; `since_first` is the share of all
  of them whose number is no longer that of their first publication;
- inertia ratio: mean squared distance of the unit rows to their own cluster's mean direction, over the same of a full
  re-fit (k-means++ with restarts, Lloyd to convergence) with the same k;
- late styles found: of the styles that appeared after the first batch, the share that has a cluster with an F1 of at
  least 0.5 (harmonic mean of the share of the style that is in it and its share of the cluster);
- ARI and NMI of the clusters with the true styles, and of published presets' clusters with those of the version before;
- size balance: entropy of the shares of the clusters over log k (1: all equal), and the largest share.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from aivj_assets.cluster.growth import Growth, GrowthPlan
from aivj_assets.cluster.libraries import library_versions
from aivj_assets.cluster.lloyd import exact_sums, fit_anew, inertia
from aivj_assets.cluster.memory import PeakMemory
from aivj_assets.cluster.rows import Figures, Labels, RowParts
from aivj_assets.cluster.state import LineageParameters, LineageState
from aivj_assets.cluster.strategies import DEFAULT_STRATEGY, STRATEGIES, StepResult, step
from aivj_assets.contracts.base import ContractModel, utc_now
from aivj_assets.errors import UserError

FOUND_F1 = 0.5
COMPARED = tuple(name for name in STRATEGIES if name != "major")
TARGET_INERTIA_RATIO, TARGET_MAJOR_CHURN = 1.026, 0.05
_MODEL = "simulated"


class StepFigures(ContractModel):
    """One version of one strategy."""

    step: int
    kind: str
    presets: int
    k: int
    births: int
    retired: int
    churn: float = Field(description="0 for the first version")
    since_first: float
    inertia: float
    inertia_ratio: float
    late_styles: int
    late_found: float | None = Field(None, description="share; None while no late style has appeared")
    late_found_refit: float | None = Field(None, description="by the re-fit with the same k")
    ari_truth: float
    nmi_truth: float
    ari_before: float | None = None
    nmi_before: float | None = None
    size_entropy: float
    largest_fraction: float
    smallest: int
    time_s: float
    peak_memory_bytes: int = Field(description="resident memory of the process during the step, mapped rows included")


class StrategyFigures(ContractModel):
    """One strategy over all steps."""

    strategy: str
    steps: list[StepFigures]

    def batches(self) -> list[StepFigures]:
        """Return the versions of batches after the first: without a `major` that came between two batches."""
        return [figures for figures in self.steps[1:] if figures.kind != "major" or self.strategy == "major"]

    def majors(self) -> list[StepFigures]:
        """Return the versions of a `major` between two batches."""
        return [figures for figures in self.steps if figures.kind == "major" and self.strategy != "major"]


class GrowthBench(ContractModel):
    """All strategies on one growth."""

    at: str
    plan: dict[str, Any]
    k: int
    k_limit: int
    major_at: int
    batches: list[int]
    strategies: list[StrategyFigures]
    refit_s: float = Field(description="time of all re-fits that the strategies were held against")
    libraries: dict[str, str]


@dataclass(frozen=True)
class _Refit:
    inertia: float
    labels: Labels


class _Library:
    """The grown library in files, and the re-fits of it, each made once."""

    def __init__(self, growth: Growth, folder: Path, seed: int, progress: Callable[[str], None]) -> None:
        self.growth = growth
        self.seed = seed
        self.refit_s = 0.0
        self._progress = progress
        self._parts: list[RowParts] = []
        truths: list[Labels] = []
        self._refits: dict[tuple[int, int], _Refit] = {}
        for batch in growth.batches():
            path = folder / f"batch-{batch.step:03d}.npy"
            np.save(path, batch.rows, allow_pickle=False)
            self._parts.append(RowParts.of(np.load(path, mmap_mode="r", allow_pickle=False)))
            truths.append(batch.truth)
            progress(f"rows of batch {batch.step + 1}")
        self._truth = np.concatenate(truths)

    def batch(self, number: int) -> RowParts:
        return self._parts[number]

    def upto(self, number: int) -> RowParts:
        """Return the rows of the batches before this one."""
        return RowParts.of(*(array for part in self._parts[:number] for array in part.parts))

    def truth(self, count: int) -> Labels:
        return self._truth[:count]

    def refit(self, number: int, k: int) -> _Refit:
        """Return a full re-fit of the library after a step."""
        if (number, k) not in self._refits:
            started = time.perf_counter()
            rows = self.upto(number + 1)
            fit = fit_anew(rows, k, seed=self.seed + 1000 + number)
            self._refits[number, k] = _Refit(inertia(fit.sums, len(rows)), fit.labels)
            self.refit_s += time.perf_counter() - started
            self._progress(f"re-fit of {len(rows)} presets, k {k}")
        return self._refits[number, k]


def bench_growth(
    plan: GrowthPlan,
    *,
    strategies: Sequence[str] = COMPARED,
    parameters: LineageParameters,
    major_at: int,
    progress: Callable[[str], None] = lambda _: None,
) -> GrowthBench:
    """Grow a library by `plan` and cluster it by each strategy.

    `lineage` has one `major`, after the first batch with which the library reaches `major_at` presets (0: none).
    Raises `UserError` for a strategy that there is not, or a first batch of fewer rows than k.
    """
    for name in strategies:
        if name not in STRATEGIES:
            raise UserError(f"no clustering strategy is named '{name}'; there are {', '.join(STRATEGIES)}.")
    # Windows removes no file that is mapped: what is left there goes with the folder of temporary files.
    with tempfile.TemporaryDirectory(prefix="aivj-bench-", ignore_cleanup_errors=True) as folder:
        library = _Library(Growth.draw(plan), Path(folder), plan.seed, progress)
        measured = [_run(name, library, parameters, major_at, progress) for name in dict.fromkeys(strategies)]
        return GrowthBench(
            at=utc_now(), plan={name: getattr(plan, name) for name in plan.__dataclass_fields__}, k=parameters.k,
            k_limit=parameters.limit, major_at=major_at, batches=[len(library.batch(n)) for n in range(plan.steps)],
            strategies=measured, refit_s=library.refit_s,
            libraries={**library_versions(), "scipy": version("scipy")},
        )  # fmt: skip


def _run(
    strategy: str, library: _Library, parameters: LineageParameters, major_at: int, progress: Callable[[str], None]
) -> StrategyFigures:
    state: LineageState | None = None
    labels = np.empty(0, dtype=np.int64)
    first = labels
    figures: list[StepFigures] = []
    for number in range(library.growth.plan.steps):
        acts = [(strategy, library.batch(number))]
        reached = len(library.upto(number)) < major_at <= len(library.upto(number + 1))
        if strategy == DEFAULT_STRATEGY and number and reached:
            acts.append(("major", RowParts.of(library.batch(number).parts[0][:0])))
        for act, new_rows in acts:
            progress(f"{strategy}: batch {number + 1}")
            known = library.upto(number) if len(new_rows) else library.upto(number + 1)
            with PeakMemory() as memory:
                started = time.perf_counter()
                result = step(
                    act, state, known, labels, new_rows, batch=f"batch-{number + 1:04d}" if len(new_rows) else None,
                    model=_MODEL, parameters=parameters,
                )  # fmt: skip
                time_s = time.perf_counter() - started
            after = np.concatenate([result.published, result.new_labels])
            first = np.concatenate([first, result.new_labels])
            figures.append(
                _figures(number, library, result, labels, after, first=first, time_s=time_s, peak=memory.peak_bytes)
            )
            state, labels = result.state, after
    return StrategyFigures(strategy=strategy, steps=figures)


def _figures(
    number: int, library: _Library, result: StepResult, before: Labels, after: Labels, *,
    first: Labels, time_s: float, peak: int,
) -> StepFigures:  # fmt: skip
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    state, rows = result.state, library.upto(number + 1)
    truth, places = library.truth(len(after)), state.places(after)
    first_step = library.growth.first_step
    late = np.flatnonzero((first_step > 0) & (first_step <= number))
    own = inertia(exact_sums(rows, places, state.k), len(rows))
    refit = library.refit(number, state.k)
    shares = state.sizes / state.sizes.sum()
    kept = after[: len(before)]
    return StepFigures(
        step=number + 1, kind=state.kind, presets=len(after), k=state.k, births=len(result.births),
        retired=len(result.retirements), churn=float((kept != before).mean()) if len(before) else 0.0,
        since_first=float((after != first).mean()), inertia=own, inertia_ratio=own / refit.inertia,
        late_styles=len(late), late_found=_found(truth, places, late, len(first_step)),
        late_found_refit=_found(truth, refit.labels, late, len(first_step)),
        ari_truth=float(adjusted_rand_score(truth, after)), nmi_truth=float(normalized_mutual_info_score(truth, after)),
        ari_before=float(adjusted_rand_score(before, kept)) if len(before) else None,
        nmi_before=float(normalized_mutual_info_score(before, kept)) if len(before) else None,
        size_entropy=_entropy(shares), largest_fraction=float(shares.max()), smallest=int(state.sizes.min()),
        time_s=time_s, peak_memory_bytes=peak,
    )  # fmt: skip


def _entropy(shares: Figures) -> float:
    return float(-(shares * np.log(shares)).sum() / np.log(len(shares))) if len(shares) > 1 else 1.0


def _found(truth: Labels, places: Labels, wanted: Labels, styles: int) -> float | None:
    """Return the share of the `wanted` of all styles that some cluster stands for with an F1 of 0.5."""
    if not len(wanted):
        return None
    k = int(places.max()) + 1
    both = np.bincount(truth * k + places, minlength=styles * k).reshape(styles, k)
    f1 = 2 * both / np.maximum(1, both.sum(axis=1, keepdims=True) + both.sum(axis=0, keepdims=True))
    return float((f1.max(axis=1) >= FOUND_F1)[wanted].mean())
