"""What a version of a lineage costs: time and memory of each act at libraries of several sizes.

For each size a library of that many presets is simulated (see `growth`) and clustered; then a batch comes in which all
late styles appear, so that clusters are founded. Rows are memory-mapped, as an embedding room leaves them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from aivj_assets.cluster.growth import Growth, GrowthPlan
from aivj_assets.cluster.libraries import library_versions
from aivj_assets.cluster.memory import PeakMemory
from aivj_assets.cluster.rows import FloatRows, Labels, RowParts
from aivj_assets.cluster.state import LineageParameters, LineageState
from aivj_assets.cluster.strategies import DEFAULT_STRATEGY, StepResult, step
from aivj_assets.contracts.base import ContractModel, utc_now

ACTS = ("first", DEFAULT_STRATEGY, "minor", "major")
TARGET_BATCH_S, TARGET_MAJOR_S, TARGET_PEAK_BYTES = 2.0, 60.0, 1.5 * 2**30
_MODEL = "simulated"


class ScaleFigures(ContractModel):
    """One act on a library of one size."""

    act: str = Field(description="first: a fit; lineage and minor: a batch; major: without a batch, after one")
    presets: int = Field(description="published before; of the first fit, those it clusters")
    batch: int = Field(description="rows that come with it")
    k: int
    births: int
    changed: int
    time_s: float
    peak_memory_bytes: int = Field(description="resident memory of the process meanwhile, mapped rows included")


class ScaleBench(ContractModel):
    """All acts on libraries of all sizes."""

    at: str
    plan: dict[str, Any]
    k: int
    figures: list[ScaleFigures]
    libraries: dict[str, str]

    def of(self, act: str) -> list[ScaleFigures]:
        """Return an act's figures, the smallest library first."""
        return sorted((one for one in self.figures if one.act == act), key=lambda one: one.presets)


def bench_scale(
    plan: GrowthPlan,
    *,
    sizes: Sequence[int],
    batch_rows: int,
    parameters: LineageParameters,
    progress: Callable[[str], None] = lambda _: None,
) -> ScaleBench:
    """Measure each act once at each size; of `plan` only what says how styles lie is used, not how many presets.

    Raises `UserError` for a size below the number of styles or k.
    """
    figures: list[ScaleFigures] = []
    for size in sorted(set(sizes)):
        grown = replace(plan, steps=2, first=size, middle=size, final=size + batch_rows)
        with tempfile.TemporaryDirectory(prefix="aivj-bench-", ignore_cleanup_errors=True) as folder:
            progress(f"rows of {size:,} presets")
            library, batch = (
                _mapped(Path(folder) / f"{one.step}.npy", one.rows) for one in Growth.draw(grown).batches()
            )
            figures += _acts(library, batch, parameters, progress)
    return ScaleBench(
        at=utc_now(), plan=asdict(plan), k=parameters.k, figures=figures, libraries=library_versions()
    )  # fmt: skip


def _mapped(path: Path, rows: FloatRows) -> RowParts:
    np.save(path, rows, allow_pickle=False)
    return RowParts.of(np.load(path, mmap_mode="r", allow_pickle=False))


def _acts(
    library: RowParts, batch: RowParts, parameters: LineageParameters, progress: Callable[[str], None]
) -> list[ScaleFigures]:
    figures: list[ScaleFigures] = []
    nothing = RowParts.of(batch.parts[0][:0])

    def act(name: str, state: LineageState | None, known: RowParts, labels: Labels, new: RowParts) -> StepResult:
        progress(f"{name} at {len(known) or len(new):,} presets")
        with PeakMemory() as memory:
            started = time.perf_counter()
            result = step(
                DEFAULT_STRATEGY if name == "first" else name, state, known, labels, new,
                batch=f"of {len(new)} rows" if len(new) else None, model=_MODEL, parameters=parameters,
            )  # fmt: skip
            time_s = time.perf_counter() - started
        figures.append(
            ScaleFigures(
                act=name, presets=len(known) or len(new), batch=len(new) if len(known) else 0, k=result.state.k,
                births=len(result.births), changed=len(result.changes), time_s=time_s,
                peak_memory_bytes=memory.peak_bytes,
            )
        )  # fmt: skip
        return result

    first = act("first", None, nothing, np.empty(0, np.int64), library)
    extended = act(DEFAULT_STRATEGY, first.state, library, first.new_labels, batch)
    act("minor", first.state, library, first.new_labels, batch)
    labels = np.concatenate([extended.published, extended.new_labels])
    act("major", extended.state, library + batch, labels, nothing)
    return figures
