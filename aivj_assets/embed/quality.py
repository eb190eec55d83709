"""Figures of how good embeddings are: do a preset's frames find each other, are rows near-identical, do they collapse.

Nothing here holds more than about 200 MB beside its arguments, however many rows there are; rows may be memory-mapped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

DEFAULT_QUERIES = 2000
DEFAULT_PAIRS = 20_000
NEAR_IDENTICAL_COSINE = 0.999
ALL_GROUPS = "all"
"""Name of the group of all presets."""

_BLOCK_BYTES = 48 * 2**20
_TIE = 1e-6  # cosines closer than this are equal: what fp32 sums of up to 1,536 products can tell apart
_NO_VARIANCE = 1e-13  # share of variance in the rows' squared length; rounding to fp32 alone makes 4e-15


@dataclass(frozen=True)
class RetrievalFigure:
    """Same-preset retrieval: `value` in 0..1, None when no picture could be asked for."""

    value: float | None
    queries: int
    """Pictures asked for."""
    frames: int
    """Frames in the database, copies included."""
    pictures: int
    """Distinct pictures among them."""


@dataclass(frozen=True)
class GroupFigures:
    """The figures of one group of presets. Retrieval and near-identical share look for neighbours in *all* groups."""

    presets: int
    retrieval_at_1: RetrievalFigure
    near_identical_fraction: float
    effective_dimension: float


def retrieval_at_1(
    frame_vectors: Rows,
    preset_of: npt.ArrayLike,
    *,
    content_of: npt.ArrayLike | None = None,
    of_presets: npt.ArrayLike | None = None,
    queries: int = DEFAULT_QUERIES,
    seed: int = 1,
) -> RetrievalFigure:
    """Return how often a picture's nearest other picture (by cosine) is of the same preset: R@1, recall at 1.

    `frame_vectors` is float32 [m, d] of unit rows, `preset_of` int [m] says whose frame each is. The database is all
    frames; `queries` pictures whose preset has another picture are drawn by `seed` (all when there are fewer), with
    `of_presets` only pictures of those presets.

    `content_of`, any ints [m], is equal where two frames are byte-identical (e.g. by the files' SHA-1). Such frames
    are one picture that belongs to each of their presets: a preset that the pack holds twice is found when either is,
    a still preset's copies of its one picture are no queries, and all black frames together are one query.
    Without it every frame is a picture of its own. A tie (within 1e-6) with a picture of another preset is a miss, so
    that a model that maps everything to one point scores 0. Raises `ValueError` when lengths differ.
    """
    presets, contents = _frame_facts(len(frame_vectors), preset_of, content_of)
    pictures, picture_of = np.unique(contents, return_index=True, return_inverse=True)[1:]
    picture_of = picture_of.astype(np.int64)
    # Two neighbour lists: a picture's presets and a preset's pictures. Most have one and three.
    pairs = np.unique(np.stack([presets, picture_of], axis=1), axis=0)
    asked_presets = np.unique(presets) if of_presets is None else np.unique(np.asarray(of_presets, np.int64))
    counts = np.bincount(pairs[:, 0], minlength=int(presets.max(initial=-1)) + 1)
    eligible = np.unique(pairs[np.isin(pairs[:, 0], asked_presets) & (counts[pairs[:, 0]] > 1), 1])
    asked = _sample(eligible, queries, seed)
    if not len(asked):
        return RetrievalFigure(None, 0, len(frame_vectors), len(pictures))
    owners, mates = _mates(asked, pairs)
    hits = _hits(frame_vectors, pictures, asked, owners, mates)
    return RetrievalFigure(float(hits.mean()), len(asked), len(frame_vectors), len(pictures))


def near_identical_fraction(
    rows: Rows,
    numbers: npt.ArrayLike | None = None,
    *,
    threshold: float = NEAR_IDENTICAL_COSINE,
    queries: int = DEFAULT_QUERIES,
    seed: int = 1,
) -> float:
    """Return the share (0..1) of rows whose nearest other row has a cosine above `threshold`; 0 for fewer than two.

    `rows` is float32 [n, d] of unit length, of which `numbers`, if given, says which are asked for. Of more than
    `queries` so many are drawn by `seed`; each is compared with all rows.
    """
    asked = _sample(np.arange(len(rows)) if numbers is None else np.asarray(numbers, np.int64), queries, seed)
    if len(rows) < 2 or not len(asked):
        return 0.0
    cosines = nearest_neighbours(rows, asked, 1)[1]
    return float((cosines[:, 0] > threshold).mean())


def effective_dimension(rows: Rows, numbers: npt.ArrayLike | None = None) -> float:
    """Return the participation ratio (Σλ)² / Σλ² of the eigenvalues λ of the rows' covariance: 0..min(n - 1, d).

    It is d when all directions vary alike and 1 when one alone does (Gao et al., "A theory of multineuronal
    dimensionality, dynamics and measurement", bioRxiv 214262, 2017). Rows that do not vary, or fewer than two, give 0.
    `rows` is [n, d] of any length, of which `numbers`, if given, says which count. No eigenvalue is computed: Σλ is
    the trace of the covariance and Σλ² the sum of its squared entries.
    """
    chosen = None if numbers is None else np.asarray(numbers, np.int64)
    count, dim = len(rows) if chosen is None else len(chosen), rows.shape[1]
    if count < 2:
        return 0.0
    mean = np.zeros(dim)
    squares = 0.0
    for block in _blocks(rows, chosen):
        mean += block.sum(axis=0, dtype=np.float64)
        squares += float(np.einsum("ij,ij->", block, block, dtype=np.float64))
    mean /= count
    if count <= dim:  # the Gram matrix has the same eigenvalues and is the smaller one
        centred = np.concatenate([block - mean for block in _blocks(rows, chosen)])
        scatter = centred @ centred.T
    else:
        scatter = np.zeros((dim, dim))
        for block in _blocks(rows, chosen):
            part = (block - mean).astype(np.float32)
            scatter += part.T @ part
    total = float(np.trace(scatter))
    if not total > _NO_VARIANCE * squares:
        return 0.0
    return total**2 / float(np.einsum("ij,ij->", scatter, scatter))


def pairwise_cosines(rows: Rows, *, pairs: int = DEFAULT_PAIRS, seed: int = 1) -> Rows:
    """Return the cosines, float32 [p], of `pairs` different pairs of rows drawn by `seed`, or of all if fewer.

    `rows` is float32 [n, d] of unit length; no row is paired with itself and no pair comes twice.
    """
    count = len(rows)
    drawn = _sample(count * (count - 1) // 2, pairs, seed)
    # Pair number k joins row k mod n with the one k // n + 1 further on, around the end: each pair exactly once.
    first = drawn % max(count, 1)
    second = (first + drawn // max(count, 1) + 1) % max(count, 1)
    cosines = np.empty(len(drawn), np.float32)
    step = _rows_a_block(rows)
    for start in range(0, len(drawn), step):
        part = slice(start, start + step)
        cosines[part] = np.einsum("ij,ij->i", rows[first[part]], rows[second[part]])
    return np.clip(cosines, -1, 1)


def nearest_neighbours(rows: Rows, queries: npt.ArrayLike, count: int) -> tuple[Indices, Rows]:
    """Return the `count` nearest other rows of some rows: their indices [q, count] and cosines [q, count], best first.

    `rows` is float32 [n, d] of unit length, `queries` int [q]. A row is never its own neighbour; of rows equally near
    the first counts; there are n - 1 columns when `count` is more. Brute force; meant for a `count` of a few dozen.
    """
    asked = np.asarray(queries, np.int64)
    wanted = max(0, min(count, len(rows) - 1))
    indices = np.zeros((len(asked), 0), np.int64)
    cosines = np.zeros((len(asked), 0), np.float32)
    for start, similar in _similarities(rows, rows[asked]):
        own = (asked >= start) & (asked < start + similar.shape[1])
        similar[np.flatnonzero(own), asked[own] - start] = -np.inf
        found, values = _largest(similar, min(wanted, similar.shape[1]))
        indices = np.concatenate([indices, found + start], axis=1)
        cosines = np.concatenate([cosines, values], axis=1)
        # Stable: of equal cosines the one of the earlier block, which has the lower index, stays in front.
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :wanted]
        indices, cosines = np.take_along_axis(indices, order, 1), np.take_along_axis(cosines, order, 1)
    return indices, np.clip(cosines, -1, 1)


def figures_by_group(
    rows: Rows,
    groups: Sequence[str],
    frame_vectors: Rows,
    preset_of: npt.ArrayLike,
    *,
    content_of: npt.ArrayLike | None = None,
    more_groups: Mapping[str, Sequence[int]] | None = None,
    queries: int = DEFAULT_QUERIES,
    seed: int = 1,
) -> dict[str, GroupFigures]:
    """Return the figures of all presets, under `all`, and of each group (e.g. `source_library`) by name.

    `rows` is float32 [n, d], one unit row a preset; `groups` names the group of each row; `preset_of` says for each
    frame vector [m, d] which row it went into. Neighbours are looked for among all presets, whatever their group:
    figures of a small group are as hard to reach as those of a large one. With one group there is only `all`.
    `more_groups` are rows by the name of a group that is no source library.
    """
    if len(groups) != len(rows):
        raise ValueError(f"{len(rows)} rows, but {len(groups)} groups")
    names = np.asarray(groups, dtype=object)
    members = {ALL_GROUPS: np.arange(len(rows))}
    members |= {name: np.asarray(numbers, np.int64) for name, numbers in (more_groups or {}).items()}
    if len(set(groups)) > 1:
        members |= {name: np.flatnonzero(names == name) for name in sorted(set(groups))}
    figures = {}
    for name, numbers in members.items():
        figures[name] = GroupFigures(
            presets=len(numbers),
            retrieval_at_1=retrieval_at_1(
                frame_vectors, preset_of, content_of=content_of, of_presets=numbers, queries=queries, seed=seed
            ),
            near_identical_fraction=near_identical_fraction(rows, numbers, queries=queries, seed=seed),
            effective_dimension=effective_dimension(rows, None if name == ALL_GROUPS else numbers),
        )
    return figures


def source_library(rel_path: str, pack: str) -> str:
    """Return the library a preset came from, as far as its path tells: top folder and file type, `projectm (.milk)`.

    `rel_path` is the manifest's, below `public/presets/`; the pack's own folders (`<pack>/`, `files/`) do not count.
    An imported pack lies flat in `files/`, so there the type alone is left: `.milk`.
    """
    path = PurePosixPath(rel_path)
    folders = list(path.parent.parts)
    for own in (pack, "files"):
        if folders and folders[0] == own:
            del folders[0]
    kind = path.suffix.lower() or "no type"
    return f"{folders[0]} ({kind})" if folders else kind


def _frame_facts(frames: int, preset_of: npt.ArrayLike, content_of: npt.ArrayLike | None) -> tuple[Indices, Indices]:
    presets = np.asarray(preset_of, np.int64)
    contents = np.arange(frames) if content_of is None else np.asarray(content_of, np.int64)
    if presets.shape != (frames,) or contents.shape != (frames,):
        raise ValueError(f"{frames} frames, but {presets.shape} presets and {contents.shape} contents")
    return presets, contents


def _sample(population: Indices | int, size: int, seed: int) -> Indices:
    """Return at most `size` members of a population (int: of 0..population - 1), without repetition, in its order."""
    total = population if isinstance(population, int) else len(population)
    if total <= size:
        drawn = np.arange(total)
    else:
        drawn = np.sort(np.random.default_rng(seed).choice(total, size, replace=False, shuffle=False))
    return drawn if isinstance(population, int) else population[drawn]


def _mates(asked: Indices, pairs: Indices) -> tuple[Indices, Indices]:
    """Return (position in `asked`, picture) for all pictures that share a preset with an asked one, itself left out.

    `pairs` is [(preset, picture)], sorted, each once.
    """
    by_picture = pairs[np.argsort(pairs[:, 1], kind="stable")]
    positions, presets = _expand(by_picture[:, 1], asked)
    presets = by_picture[presets, 0]
    owners, found = _expand(pairs[:, 0], presets)
    both = np.unique(np.stack([positions[owners], pairs[found, 1]], axis=1), axis=0)
    both = both[asked[both[:, 0]] != both[:, 1]]
    return both[:, 0], both[:, 1]


def _expand(keys: Indices, wanted: Indices) -> tuple[Indices, Indices]:
    """Return (position in `wanted`, position in the sorted `keys`) of all equal pairs."""
    starts, ends = np.searchsorted(keys, wanted), np.searchsorted(keys, wanted, side="right")
    lengths = ends - starts
    positions = np.repeat(np.arange(len(wanted)), lengths)
    before = np.concatenate([[0], np.cumsum(lengths)[:-1]]) if len(lengths) else lengths
    found = np.arange(int(lengths.sum())) - np.repeat(before - starts, lengths)
    return positions, found


def _hits(vectors: Rows, pictures: Indices, asked: Indices, owners: Indices, mates: Indices) -> npt.NDArray[np.bool_]:
    """Return [q] whether the best mate is nearer than every other picture; `pictures` are rows, one a picture."""
    is_picture = np.zeros(len(vectors), bool)
    is_picture[pictures] = True
    mate_rows, own_rows = pictures[mates], pictures[asked]
    best_mate = np.full(len(asked), -np.inf, np.float32)
    best_other = np.full(len(asked), -np.inf, np.float32)
    for start, similar in _similarities(vectors, vectors[own_rows]):
        end = start + similar.shape[1]
        similar[:, ~is_picture[start:end]] = -np.inf
        here = (mate_rows >= start) & (mate_rows < end)
        rows, columns = owners[here], mate_rows[here] - start
        np.maximum.at(best_mate, rows, similar[rows, columns])
        similar[rows, columns] = -np.inf
        own = (own_rows >= start) & (own_rows < end)
        similar[np.flatnonzero(own), own_rows[own] - start] = -np.inf
        np.maximum(best_other, similar.max(axis=1), out=best_other)
    return best_mate > best_other + _TIE


def _similarities(rows: Rows, queries: Rows) -> Iterator[tuple[int, Rows]]:
    """Yield (first row, cosines [q, b] of the queries with b rows) over all rows; the caller may write into them."""
    width = max(64, _BLOCK_BYTES // (4 * max(len(queries), rows.shape[1], 1)))
    for start in range(0, len(rows), width):
        yield start, queries @ np.asarray(rows[start : start + width]).T


def _largest(values: Rows, count: int) -> tuple[Indices, Rows]:
    """Return columns and values of the `count` largest of each row, the first of equal ones first; spoils `values`."""
    lines = np.arange(len(values))
    columns = np.zeros((len(values), count), np.int64)
    largest = np.zeros((len(values), count), np.float32)
    for position in range(count):
        columns[:, position] = values.argmax(axis=1)
        largest[:, position] = values[lines, columns[:, position]]
        values[lines, columns[:, position]] = -np.inf
    return columns, largest


def _rows_a_block(rows: Rows) -> int:
    dim: int = rows.shape[1]
    return max(1, _BLOCK_BYTES // (8 * max(1, dim)))


def _blocks(rows: Rows, numbers: Indices | None) -> Iterator[Rows]:
    step = _rows_a_block(rows)
    for start in range(0, len(rows) if numbers is None else len(numbers), step):
        part = slice(start, start + step)
        yield np.asarray(rows[part if numbers is None else numbers[part]])
