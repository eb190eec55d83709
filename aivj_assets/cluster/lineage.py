"""A lineage as presets and their clusters: batches join, come again changed, leave, or all is fitted anew.

Presets are known by the SHA-256 of their content: in whatever batch or pack one comes again, it keeps its cluster. The
arithmetic is `strategies.step`'s; here it is decided which rows are new, which are there already and which have gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from aivj_assets.cluster.births import Birth
from aivj_assets.cluster.libraries import library_versions
from aivj_assets.cluster.match import Migration
from aivj_assets.cluster.rows import Figures, FloatRows, Labels, RowParts, check_unit_rows, content_digest
from aivj_assets.cluster.state import LineageParameters, LineageState, Retired, SeenBatch, baseline, exchanged
from aivj_assets.cluster.strategies import StepResult, step
from aivj_assets.cluster.version import OpenRows, Shas, Version
from aivj_assets.errors import UserError

DECLARED_KINDS = ("minor", "major")
"""Acts that may change published ids, each change in their migration table."""


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
    check_unit_rows(RowParts.of(batch.rows), f"batch {batch.key}")
    _require_same_space(version.state, batch, model)
    plan = _Plan.of(version, batch, held, open_rows)
    if plan.is_nothing:
        return None
    if len(plan.leaving) == len(version):
        raise UserError(
            f"batch {batch.key} has come again with none of its presets, and no other batch of the lineage holds one: "
            "remove it from the lineage, or give its pack another lineage."
        )
    out = np.concatenate([plan.leaving, plan.changed])
    state = exchanged(
        version.state, RowParts.of(_rows_at(version, out, open_rows)), version.numbers[out],
        RowParts.of(batch.rows[plan.placed]), plan.placed_numbers,
        reason=f"batch {batch.key} came again without its presets",
    )  # fmt: skip
    state = replace(state, batches=tuple(seen for seen in state.batches if seen.key != batch.key))
    earlier = state.retired[len(version.state.retired) :]
    if not len(plan.new):
        digest = content_digest(RowParts.of(batch.rows[plan.placed])) if len(plan.placed) else ""
        state = replace(
            state, version=version.state.version + 1, kind="extend", libraries=library_versions(),
            batches=(*state.batches, SeenBatch(batch.key, len(plan.placed), digest)),
        )  # fmt: skip
        return Act(plan.version_of(state), plan.placed, _no_changes(), retirements=earlier)
    kept = _subset(version, plan.keep)
    placed = RowParts.of(batch.rows[plan.placed])
    result = step(
        strategy, state, kept.library(open_rows) + placed if len(kept) else placed,
        np.concatenate([kept.numbers, plan.placed_numbers]), RowParts.of(batch.rows[plan.new]), batch=batch.key,
        model=model, parameters=parameters,
    )  # fmt: skip
    made = plan.version_of(result.state, published=result.published, new_numbers=result.new_labels)
    changes = IdChanges(made.shas[result.changes.rows], result.changes.old, result.changes.new, result.changes.gain)
    return Act(
        made, np.concatenate([plan.placed, plan.new]), changes, result.births, earlier + result.retirements,
        result.migration,
    )  # fmt: skip


@dataclass(frozen=True)
class _Plan:
    """What a batch brings to a version.

    Places in the version: `keep` stays as it is, `changed` gets other rows, `leaving` goes. Places in the batch:
    `placed` are rows whose cluster is known (`placed_numbers`): first those of `changed`, then of returning presets;
    `new` are all others. `back` are the places of the returning ones among the version's `left`.
    """

    version: Version
    batch: BatchRows
    keep: Labels
    changed: Labels
    leaving: Labels
    placed: Labels
    placed_numbers: Labels
    back: Labels
    new: Labels
    is_nothing: bool

    @classmethod
    def of(cls, version: Version, batch: BatchRows, held: Mapping[str, Shas], open_rows: OpenRows) -> _Plan:
        once = _once(batch)
        shas = batch.shas[once]
        places = version.places_of(shas)
        known, unknown = np.flatnonzero(places >= 0), np.flatnonzero(places < 0)
        again = batch.key in held
        leaving = _leaving(version, held, batch.key, staying=shas)
        changed = _changed_rows(version, batch, once, places, open_rows) if again else np.empty(0, np.int64)
        at = dict(zip(places[known].tolist(), once[known].tolist(), strict=True))
        replacing = np.array([at[place] for place in changed.tolist()], dtype=np.int64)
        left = version.left.known(shas[unknown])
        lives = (
            (left >= 0) & np.isin(version.left.numbers[left], version.state.numbers)
            if len(version.left.shas)
            else left >= 0
        )
        back, returning, new = left[lives], once[unknown[lives]], once[unknown[~lives]]
        same = again and np.array_equal(np.unique(held[batch.key]), np.sort(shas))
        return cls(
            version, batch, keep=np.setdiff1d(np.arange(len(version)), np.concatenate([leaving, changed])),
            changed=changed, leaving=leaving, placed=np.concatenate([replacing, returning]),
            placed_numbers=np.concatenate([version.numbers[changed], version.left.numbers[back]]), back=back, new=new,
            is_nothing=same and not len(unknown) and not len(leaving) and not len(changed),
        )  # fmt: skip

    def version_of(
        self, state: LineageState, *, published: Labels | None = None, new_numbers: Labels | None = None
    ) -> Version:
        """Return the next version: kept rows where they were, all others among the new version's rows.

        `published` int64 are the clusters of kept and placed presets after the act, by default as before.
        """
        version, left = self.version, self.version.left
        numbers = np.concatenate([version.numbers[self.keep], self.placed_numbers]) if published is None else published
        fresh_numbers = np.empty(0, np.int64) if new_numbers is None else new_numbers
        fresh = len(self.placed) + len(self.new)
        first = [version.first_numbers[self.keep], version.first_numbers[self.changed], left.first_numbers[self.back]]
        return Version(
            state,
            np.concatenate([version.shas[self.keep], self.batch.shas[self.placed], self.batch.shas[self.new]]),
            np.concatenate([numbers, fresh_numbers]).astype(np.int64),
            np.concatenate([*first, fresh_numbers]).astype(np.int64),
            np.concatenate([version.homes[self.keep], np.full(fresh, state.version, np.int64)]),
            np.concatenate([version.rows[self.keep], np.arange(fresh)]),
            left.without(left.known(self.batch.shas)).with_presets(version, self.leaving),
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
    made = replace(_subset(version, keep), state=state, left=version.left.with_presets(version, leaving))
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


def _no_changes() -> IdChanges:
    nothing = np.empty(0, np.int64)
    return IdChanges(np.empty(0, "S64"), nothing, nothing, np.empty(0))
