"""A lineage as presets and their clusters: batches join, come again changed, leave, or all is fitted anew.

Presets are known by the SHA-256 of their content: in whatever batch or pack one comes again, it keeps its cluster. The
arithmetic is `strategies.step`'s; here it is decided which rows are new, which are there already and which have gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from aivj_assets.cluster.births import Birth
from aivj_assets.cluster.libraries import library_versions
from aivj_assets.cluster.match import Migration
from aivj_assets.cluster.rows import Figures, FloatRows, Labels, RowParts, check_unit_rows, content_digest
from aivj_assets.cluster.state import LineageParameters, LineageState, Retired, SeenBatch, baseline, exchanged
from aivj_assets.cluster.strategies import StepResult, step
from aivj_assets.errors import UserError

Shas = npt.NDArray[np.bytes_]
OpenRows = Callable[[int], FloatRows]

DECLARED_KINDS = ("minor", "major")
"""Acts that may change published ids, each change in their migration table."""


@dataclass(frozen=True)
class Version:
    """A clustering and the presets in it, sorted by where their rows lie.

    `shas` S64 [n] (hex), `numbers` int64 [n] their clusters, `first_numbers` int64 [n] the clusters of their first
    version; `homes` int64 [n] the version with which the row came, and `rows` int64 [n] its place among that one's.
    """

    state: LineageState
    shas: Shas
    numbers: Labels
    first_numbers: Labels
    homes: Labels
    rows: Labels

    def __len__(self) -> int:
        return len(self.shas)

    def library(self, open_rows: OpenRows) -> RowParts:
        """Return all rows in order, memory-mapped where every row of a part still counts."""
        parts = []
        for home in np.unique(self.homes).tolist():
            own = self.rows[self.homes == home]
            part = open_rows(home)
            parts.append(part if np.array_equal(own, np.arange(len(part))) else np.ascontiguousarray(part[own]))
        return RowParts.of(*parts)

    def places_of(self, shas: Shas) -> Labels:
        """Return the place of each preset, -1 where it is unknown."""
        where = {sha: place for place, sha in enumerate(self.shas.tolist())}
        return np.array([where.get(sha, -1) for sha in shas.tolist()], dtype=np.int64)

    def to_plain(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Return (facts that fit into JSON, arrays by name)."""
        facts, arrays = self.state.to_plain()
        own = {
            "preset_sha256": self.shas, "preset_numbers": self.numbers, "preset_first_numbers": self.first_numbers,
            "preset_homes": self.homes, "preset_rows": self.rows,
        }  # fmt: skip
        return facts, {**arrays, **own}

    @classmethod
    def from_plain(cls, facts: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Version:
        """Make a version of what `to_plain` returned; raises `UserError` when its parts contradict each other."""
        state = LineageState.from_plain(facts, arrays)
        try:
            names = ("numbers", "first_numbers", "homes", "rows")
            figures = [np.asarray(arrays[f"preset_{name}"], np.int64) for name in names]
            made = cls(state, np.asarray(arrays["preset_sha256"], dtype="S64"), *figures)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"the lineage's list of presets is broken ({error}); bring it back from a backup."
            ) from None
        lengths = {len(made.shas), len(made.numbers), len(made.first_numbers), len(made.homes), len(made.rows)}
        if len(lengths) > 1 or not np.array_equal(
            np.bincount(state.places(made.numbers), minlength=state.k), state.sizes
        ):
            raise UserError(
                f"version {state.version} of the lineage contradicts itself: its presets are not those that its "
                "clusters count; bring it back from a backup."
            )
        return made


@dataclass(frozen=True)
class BatchRows:
    """A batch's presets: `shas` S64 [m], unit `rows` float32 [m, d] in the same order."""

    key: str
    shas: Shas
    rows: FloatRows


@dataclass(frozen=True)
class IdChanges:
    """Published presets whose cluster changed, [m]: `shas`, cluster numbers before and after, gain in cosine."""

    shas: Shas
    old: Labels
    new: Labels
    gain: Figures


@dataclass(frozen=True)
class Act:
    """The next version, and what it did. `brought` are the places in the batch of the rows that came with it."""

    version: Version
    brought: Labels
    changes: IdChanges
    births: tuple[Birth, ...] = ()
    retirements: tuple[Retired, ...] = ()
    migration: tuple[Migration, ...] = ()

    @property
    def declared(self) -> bool:
        """Whether the act may change published ids."""
        return self.version.state.kind in DECLARED_KINDS


def shas_of(hexes: Sequence[str]) -> Shas:
    """Return SHA-256 hex digests as an array S64 [n]."""
    return np.array([text.encode("ascii") for text in hexes], dtype="S64")


def found(
    batch: BatchRows,
    *,
    model: str,
    parameters: LineageParameters,
    after: Version | None = None,
    labels: npt.ArrayLike | None = None,
    reason: str = "the lineage began anew",
) -> Act:
    """Begin a lineage with a batch; with `labels` int [m] its clusters are taken as they are, by number.

    After an earlier lineage that ends here (`after`), versions and ids count on: an id never names two styles.
    """
    once = _once(batch)
    rows = RowParts.of(batch.rows[once])
    if labels is None:
        first = step("lineage", None, rows, [], rows, batch=batch.key, model=model, parameters=parameters)
        state, numbers = first.state, first.new_labels
    else:
        check_unit_rows(rows, f"batch {batch.key}")
        numbers = np.asarray(labels, dtype=np.int64)[once]
        state = baseline(rows, numbers, model=model, parameters=parameters, batch=batch.key)
    gone: tuple[Retired, ...] = ()
    if after is not None:
        offset, number = after.state.next_number, after.state.version + 1
        gone = tuple(Retired(int(old), number, reason, None) for old in after.state.numbers)
        numbers = numbers + offset
        state = replace(
            state, version=number, kind="anew", numbers=state.numbers + offset, next_number=state.next_number + offset,
            retired=after.state.retired + gone,
        )  # fmt: skip
    version = Version(
        state, batch.shas[once], numbers, numbers, np.full(len(once), state.version, np.int64), np.arange(len(once))
    )
    return Act(version, once, _no_changes(), retirements=gone)


def join(
    version: Version,
    batch: BatchRows,
    *,
    strategy: str,
    open_rows: OpenRows,
    held: Mapping[str, Shas],
    model: str,
    parameters: LineageParameters,
) -> Act | None:
    """Let a batch join, or come again: presets that are known keep their cluster; None when there is nothing to do.

    `held` are the presets of every batch of the lineage, by key: what a batch no longer has leaves, unless another
    has it. Raises `UserError` as `step` does, and for rows of another model or dimension than the lineage's.
    """
    once = _once(batch)
    shas = batch.shas[once]
    check_unit_rows(RowParts.of(batch.rows), f"batch {batch.key}")
    _require_same_space(version.state, batch, model)
    places = version.places_of(shas)
    new, known = once[places < 0], places[places >= 0]
    again = batch.key in held
    leaving = _leaving(version, held, batch.key, staying=shas)
    changed = _changed_rows(version, batch, once, places, open_rows) if again else np.empty(0, np.int64)
    same = again and np.array_equal(np.unique(held[batch.key]), np.sort(shas))
    if same and not len(new) and not len(leaving) and not len(changed):
        return None
    if len(leaving) == len(version):
        raise UserError(
            f"batch {batch.key} has come again with none of its presets, and no other batch of the lineage holds one: "
            "remove it from the lineage, or give its pack another lineage."
        )
    # Places in the version of the rows that are replaced, and in the batch of those that replace them.
    at = dict(zip(known.tolist(), once[places >= 0].tolist(), strict=True))
    replacing = np.array([at[place] for place in changed.tolist()], dtype=np.int64)
    out = np.concatenate([leaving, changed])
    state = exchanged(
        version.state, RowParts.of(_rows_at(version, out, open_rows)), version.numbers[out],
        RowParts.of(batch.rows[replacing]), version.numbers[changed],
        reason=f"batch {batch.key} came again without its presets",
    )  # fmt: skip
    state = replace(state, batches=tuple(seen for seen in state.batches if seen.key != batch.key))
    keep = np.setdiff1d(np.arange(len(version)), np.concatenate([leaving, changed]))
    if len(new):
        return _with_new(version, state, batch, keep=keep, changed=changed, replacing=replacing, new=new,
                         strategy=strategy, open_rows=open_rows, model=model, parameters=parameters)  # fmt: skip
    digest = content_digest(RowParts.of(batch.rows[replacing])) if len(replacing) else ""
    state = replace(
        state, version=version.state.version + 1, kind="extend", libraries=library_versions(),
        batches=(*state.batches, SeenBatch(batch.key, len(replacing), digest)),
    )  # fmt: skip
    made = _assembled(version, state, keep=keep, numbers=version.numbers, changed=changed, new=new, new_numbers=new)
    retired = state.retired[len(version.state.retired) :]
    return Act(made, replacing, _no_changes(), retirements=retired)


def _with_new(
    version: Version, state: LineageState, batch: BatchRows, *, keep: Labels, changed: Labels, replacing: Labels,
    new: Labels, strategy: str, open_rows: OpenRows, model: str, parameters: LineageParameters,
) -> Act:  # fmt: skip
    kept = _subset(version, keep)
    library = (
        kept.library(open_rows) + RowParts.of(batch.rows[replacing])
        if len(keep)
        else RowParts.of(batch.rows[replacing])
    )
    published = np.concatenate([kept.numbers, version.numbers[changed]])
    result = step(
        strategy, state, library, published, RowParts.of(batch.rows[new]), batch=batch.key, model=model,
        parameters=parameters,
    )  # fmt: skip
    after = version.numbers.copy()
    after[np.concatenate([keep, changed])] = result.published
    made = _assembled(
        version, result.state, keep=keep, numbers=after, changed=changed, new=new, new_numbers=result.new_labels,
        new_shas=batch.shas[new],
    )  # fmt: skip
    order = np.concatenate([version.shas[keep], version.shas[changed]])
    changes = IdChanges(order[result.changes.rows], result.changes.old, result.changes.new, result.changes.gain)
    earlier = state.retired[len(version.state.retired) :]
    return Act(
        made, np.concatenate([replacing, new]), changes, result.births, earlier + result.retirements, result.migration
    )


def refit(version: Version, kind: str, *, open_rows: OpenRows, parameters: LineageParameters | None = None) -> Act:
    """Make a `minor` or `major` of the whole lineage, without a batch. Raises `UserError` as `step` does."""
    library = version.library(open_rows)
    nothing = RowParts.of(library.parts[0][:0])
    result: StepResult = step(
        kind, version.state, library, version.numbers, nothing, batch=None, model=version.state.model,
        parameters=parameters,
    )  # fmt: skip
    made = replace(version, state=result.state, numbers=result.published)
    changes = IdChanges(version.shas[result.changes.rows], result.changes.old, result.changes.new, result.changes.gain)
    return Act(made, np.empty(0, np.int64), changes, result.births, result.retirements, result.migration)


def leave(version: Version, key: str, *, open_rows: OpenRows, held: Mapping[str, Shas]) -> Act:
    """Take a batch out: presets that no other batch has leave, no other preset changes its cluster.

    Raises `UserError` when the lineage has no such batch, or no other preset.
    """
    if key not in held:
        known = ", ".join(held)
        raise UserError(f"the lineage has no batch {key} (it has: {known}); nothing was removed.")
    leaving = _leaving(version, held, key, staying=np.empty(0, "S64"))
    if len(leaving) == len(version):
        raise UserError(f"batch {key} holds every preset of the lineage; nothing was removed.")
    state = exchanged(
        version.state, RowParts.of(_rows_at(version, leaving, open_rows)), version.numbers[leaving],
        RowParts.of(np.empty((0, version.state.dim), np.float32)), np.empty(0, np.int64),
        reason=f"batch {key} was removed",
    )  # fmt: skip
    state = replace(
        state, version=version.state.version + 1, kind="removal", libraries=library_versions(),
        batches=tuple(seen for seen in state.batches if seen.key != key),
    )  # fmt: skip
    keep = np.setdiff1d(np.arange(len(version)), leaving)
    made = replace(_subset(version, keep), state=state)
    return Act(made, np.empty(0, np.int64), _no_changes(), retirements=state.retired[len(version.state.retired) :])


def unaccounted(before: Version | None, after: Version, table: Mapping[str, tuple[str, str]], kind: str) -> list[str]:
    """Return the SHA-256 of published presets whose cluster changed and that no declared act accounts for.

    `table` is {SHA-256: (old id, new id)} of the version's migration. Lines of the table that did not happen count too.
    """
    moved: dict[str, tuple[str, str]] = {}
    if before is not None:
        places = after.places_of(before.shas)
        there = np.flatnonzero(places >= 0)
        for place in there[before.numbers[there] != after.numbers[places[there]]].tolist():
            ids = (f"c{before.numbers[place]:02d}", f"c{after.numbers[places[place]]:02d}")
            moved[before.shas[place].decode()] = ids
    if kind == "anew":
        # Its lineage began again, by a person's choice of model, k or seed: no id goes on.
        return []
    allowed = dict(table) if kind in DECLARED_KINDS else {}
    return sorted(sha for sha in moved.keys() | allowed.keys() if moved.get(sha) != allowed.get(sha))


def _once(batch: BatchRows) -> Labels:
    """Return the places of the first of each preset, in order: a batch may hold copies of one."""
    return np.sort(np.unique(batch.shas, return_index=True)[1]).astype(np.int64)


def _require_same_space(state: LineageState, batch: BatchRows, model: str) -> None:
    if model != state.model:
        raise UserError(f"batch {batch.key} was embedded by another model than the lineage; embed it with that model.")
    if batch.rows.shape[1] != state.dim:
        raise UserError(
            f"batch {batch.key} has embeddings of {batch.rows.shape[1]} dimensions, the lineage of {state.dim}."
        )


def _leaving(version: Version, held: Mapping[str, Shas], key: str, staying: Shas) -> Labels:
    """Return the places of presets that a batch had, has no longer, and no other batch has."""
    if key not in held:
        return np.empty(0, np.int64)
    others = [shas for other, shas in held.items() if other != key]
    gone = np.setdiff1d(held[key], np.concatenate([staying, *others]) if others else staying)
    places = version.places_of(gone)
    return np.sort(places[places >= 0])


def _changed_rows(version: Version, batch: BatchRows, once: Labels, places: Labels, open_rows: OpenRows) -> Labels:
    """Return the places of presets whose row is another now: rendered again, or embedded on another device."""
    known = np.flatnonzero(places >= 0)
    order = known[np.argsort(places[known])]
    theirs = _rows_at(version, places[order], open_rows)
    differ = (theirs != batch.rows[once[order]]).any(axis=1)
    return np.sort(places[order[differ]])


def _rows_at(version: Version, places: Labels, open_rows: OpenRows) -> FloatRows:
    found_rows = np.empty((len(places), version.state.dim), np.float32)
    for home in np.unique(version.homes[places]).tolist():
        here = np.flatnonzero(version.homes[places] == home)
        found_rows[here] = open_rows(home)[version.rows[places[here]]]
    return found_rows


def _subset(version: Version, places: Labels) -> Version:
    return replace(
        version, shas=version.shas[places], numbers=version.numbers[places],
        first_numbers=version.first_numbers[places], homes=version.homes[places], rows=version.rows[places],
    )  # fmt: skip


def _assembled(
    version: Version, state: LineageState, *, keep: Labels, numbers: Labels, changed: Labels, new: Labels,
    new_numbers: Labels, new_shas: Shas | None = None,
) -> Version:  # fmt: skip
    """Return the next version: kept rows where they were, changed and new ones among the new version's rows."""
    stay = np.concatenate([keep, changed])
    fresh = len(changed) + len(new)
    return Version(
        state,
        np.concatenate([version.shas[stay], new_shas if new_shas is not None else np.empty(0, "S64")]),
        np.concatenate([numbers[stay], new_numbers]).astype(np.int64),
        np.concatenate([version.first_numbers[stay], new_numbers]).astype(np.int64),
        np.concatenate([version.homes[keep], np.full(fresh, state.version, np.int64)]),
        np.concatenate([version.rows[keep], np.arange(fresh)]),
    )


def _no_changes() -> IdChanges:
    nothing = np.empty(0, np.int64)
    return IdChanges(np.empty(0, "S64"), nothing, nothing, np.empty(0))
