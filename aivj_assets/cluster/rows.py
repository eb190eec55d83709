"""Rows of a library that lies in several parts, one a batch: float32 [n, d], memory-mapped or not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from aivj_assets.errors import UserError

FloatRows = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Figures = npt.NDArray[np.float64]
Result = TypeVar("Result")

CHUNK_ROWS = 8192
_UNIT_TOLERANCE = 1e-3
# Equal pictures that went through the model in different batches differ by about 1e-6 a component.
_DISTINCT_DECIMALS = 5
_WORKERS: ContextVar[ThreadPoolExecutor | None] = ContextVar("workers", default=None)


@dataclass(frozen=True)
class RowParts:
    """Unit rows in parts that count as one array, in the order of the parts."""

    parts: tuple[FloatRows, ...]

    @classmethod
    def of(cls, *parts: npt.NDArray[Any]) -> RowParts:
        """Take arrays [n, d]; raises `UserError` when they are not float32 of one dimension."""
        kept = tuple(part for part in parts if len(part))
        for part in kept or parts:
            if part.ndim != 2 or part.dtype != np.float32:
                raise UserError(f"embeddings must be float32 rows [n, d], not {part.dtype} of shape {part.shape}.")
            if part.shape[1] != (kept or parts)[0].shape[1]:
                dims = sorted({other.shape[1] for other in kept})
                raise UserError(
                    f"embeddings of {' and '.join(map(str, dims))} dimensions cannot be clustered together."
                )
        return cls(kept or parts[:1])

    def __add__(self, other: RowParts) -> RowParts:
        """Return these rows and then those of `other`."""
        return RowParts.of(*self.parts, *other.parts)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def dim(self) -> int:
        """Length of a row."""
        return int(self.parts[0].shape[1]) if self.parts else 0

    @cached_property
    def _starts(self) -> Labels:
        return np.concatenate([[0], np.cumsum([len(part) for part in self.parts])]).astype(np.int64)

    def chunks(self) -> Iterator[tuple[int, FloatRows]]:
        """Yield (number of its first row, rows), at most `CHUNK_ROWS` at once and never across parts."""
        for start, part in zip(self._starts, self.parts, strict=False):
            for begin in range(0, len(part), CHUNK_ROWS):
                yield int(start) + begin, np.asarray(part[begin : begin + CHUNK_ROWS])

    def take(self, rows: npt.ArrayLike) -> FloatRows:
        """Return the rows of these numbers, in their order, as one array in memory."""
        wanted = np.asarray(rows, dtype=np.int64)
        found = np.empty((len(wanted), self.dim), dtype=np.float32)
        owner = np.searchsorted(self._starts, wanted, side="right") - 1
        for number in np.unique(owner):
            mine = np.flatnonzero(owner == number)
            found[mine] = self.parts[number][wanted[mine] - self._starts[number]]
        return found

    def map_chunks(self, work: Callable[[int, FloatRows], Result]) -> list[Result]:
        """Return `work(first row, rows)` of every chunk, in order.

        Chunks are spread over the processors while BLAS stays on one thread a chunk: what is computed, and so every
        bit of the result, is the same however many there are.
        """
        with one_thread_each() as workers:
            return list(workers.map(lambda chunk: work(*chunk), self.chunks()))


@contextmanager
def one_thread_each() -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of as many threads as BLAS may use, and hold BLAS to one thread each meanwhile.

    OpenMP, which scikit-learn uses, is held to one thread in the calling thread. Inside another such context, that
    one's pool is yielded: looking for the libraries that have threads takes some 5 ms.
    """
    around = _WORKERS.get()
    if around is not None:
        yield around
        return
    import sklearn.cluster  # noqa: F401 - loads OpenMP and BLAS, which must be there before they can be limited
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    controller = ThreadpoolController()
    count = max((pool["num_threads"] for pool in controller.info()), default=1)
    with controller.limit(limits=1), ThreadPoolExecutor(max(1, count)) as workers:
        token = _WORKERS.set(workers)
        try:
            yield workers
        finally:
            _WORKERS.reset(token)


def check_unit_rows(rows: RowParts, what: str) -> None:
    """Raise `UserError` when a row is not finite or not of length 1."""

    def bad_rows(start: int, chunk: FloatRows) -> Labels:
        lengths = np.sqrt(np.einsum("ij,ij->i", chunk, chunk, dtype=np.float64))
        # Written so that NaN counts as bad.
        return start + np.flatnonzero(~(np.abs(lengths - 1) <= _UNIT_TOLERANCE))

    bad = np.concatenate([np.empty(0, np.int64), *rows.map_chunks(bad_rows)])
    if len(bad):
        raise UserError(
            f"{len(bad)} of {len(rows)} embeddings of {what} are not finite rows of unit length (the first is row "
            f"{int(bad[0])}); materialise embeddings again."
        )


def row_hashes(rows: RowParts) -> npt.NDArray[np.void]:
    """Return 16 bytes [n] that stand for each row's content: an order of rows that does not depend on their places."""

    def hashes(_: int, chunk: FloatRows) -> list[bytes]:
        # Adding zero turns -0.0 into 0.0, which is equal and would have other bytes.
        return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in chunk + np.float32(0)]

    found = b"".join(digest for part in rows.map_chunks(hashes) for digest in part)
    return np.frombuffer(found, dtype=np.dtype((np.void, 16)))


def canonical_order(rows: RowParts, among: Sequence[int] | Labels | None = None) -> Labels:
    """Return row numbers (all, or those `among`) sorted by content."""
    numbers = np.arange(len(rows)) if among is None else np.asarray(among, dtype=np.int64)
    hashes = row_hashes(rows if among is None else RowParts.of(rows.take(numbers)))
    # Void compares as bytes; text of 16 bytes sorts the same and much faster, but drops trailing zeros.
    halves = np.frombuffer(hashes.tobytes(), dtype=">u8").reshape(-1, 2)
    return numbers[np.lexsort((halves[:, 1], halves[:, 0]))]


def content_digest(rows: RowParts) -> str:
    """Return a hex digest of the rows as a set with repetitions: their order does not matter."""
    halves = np.frombuffer(row_hashes(rows).tobytes(), dtype=">u8").reshape(-1, 2)
    order = np.lexsort((halves[:, 1], halves[:, 0]))
    return hashlib.sha256(halves[order].tobytes()).hexdigest()


def count_distinct(rows: FloatRows) -> int:
    """Return how many rows of float32 [n, d] differ by more than rounding to five decimals."""
    # Adding zero turns -0.0 into 0.0: their bytes would differ.
    return len({np.add(np.round(row, _DISTINCT_DECIMALS), np.float32(0)).tobytes() for row in rows})
