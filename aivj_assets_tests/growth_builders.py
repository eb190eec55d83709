"""Small libraries of known styles that grow, and a lineage that is led through them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from aivj_assets.cluster.births import BirthRules
from aivj_assets.cluster.rows import FloatRows, Labels, RowParts
from aivj_assets.cluster.state import LineageParameters, LineageState, baseline
from aivj_assets.cluster.strategies import StepResult, step

MODEL = "a" * 64
DIM = 24
SMALL_BIRTHS = BirthRules(min_members=12)


def unit(vectors: npt.ArrayLike) -> FloatRows:
    array = np.asarray(vectors, dtype=np.float64)
    rows: FloatRows = (array / np.linalg.norm(array, axis=-1, keepdims=True)).astype(np.float32)
    return rows


def style_rows(
    styles: dict[int, int], *, seed: int, dim: int = DIM, noise: float = 0.5, cone: float = 0.0
) -> tuple[FloatRows, Labels]:
    """Unit rows, shuffled, and the style of each: style i, of that many rows, lies around axis i.

    `noise` is the length of what is added to an axis; `cone` pulls all styles towards one common direction.
    """
    random = np.random.default_rng(seed)
    truth = random.permutation(np.repeat(list(styles), list(styles.values())))
    centres = np.eye(dim)[truth] + cone * np.eye(dim)[dim - 1]
    return unit(centres + random.normal(size=(len(truth), dim)) * noise / np.sqrt(dim)), truth.astype(np.int64)


def small_parameters(k: int = 4, **others: object) -> LineageParameters:
    return LineageParameters(**{"k": k, "births": SMALL_BIRTHS, **others})  # type: ignore[arg-type]


class Lineage:
    """Versions one after the other, with the rows and assignments that go with the last."""

    def __init__(self, parameters: LineageParameters | None = None, model: str = MODEL) -> None:
        self.parameters = parameters or small_parameters()
        self.model = model
        self.state: LineageState | None = None
        self.library = RowParts.of()
        self.labels: Labels = np.empty(0, np.int64)

    @property
    def now(self) -> LineageState:
        assert self.state is not None
        return self.state

    def start_with(self, rows: FloatRows, labels: npt.ArrayLike) -> Lineage:
        """Begin with clusters that are there already."""
        self.labels = np.asarray(labels, np.int64)
        self.library = RowParts.of(rows)
        self.state = baseline(self.library, self.labels, model=self.model, parameters=self.parameters, batch="start")
        return self

    def tried(self, strategy: str, rows: FloatRows | None, batch: str | None) -> StepResult:
        """Return what a step would make, and keep nothing."""
        new = RowParts.of(np.empty((0, self.library.dim), np.float32) if rows is None else rows)
        return step(
            strategy, self.state, self.library, self.labels, new,
            batch=batch, model=self.model, parameters=self.parameters,
        )  # fmt: skip

    def add(self, strategy: str, rows: FloatRows | None, batch: str | None) -> StepResult:
        result = self.tried(strategy, rows, batch)
        self.state = result.state
        self.labels = np.concatenate([result.published, result.new_labels])
        if rows is not None:
            self.library += RowParts.of(rows)
        return result
