"""A lineage keeps presets by content: what joins, comes again, leaves, begins anew."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from aivj_assets.cluster.lineage import Act, BatchRows, found, join, leave, refit, unaccounted
from aivj_assets.cluster.lloyd import exact_sums
from aivj_assets.cluster.rows import FloatRows
from aivj_assets.cluster.version import Version, shas_of
from aivj_assets.errors import UserError
from aivj_assets_tests.lineage_builders import MODEL, PARAMETERS, batch_of, names, sha, style_rows


class Kept:
    """A lineage with the rows that each version brought, as files keep them."""

    def __init__(self) -> None:
        self.version: Version | None = None
        self.rows: dict[int, FloatRows] = {}
        self.held: dict[str, Any] = {}

    def open_rows(self, number: int) -> FloatRows:
        return self.rows[number]

    def take(self, act: Act, batch: BatchRows | None = None) -> Act:
        self.version = act.version
        if batch is not None:
            self.rows[act.version.state.version] = batch.rows[act.brought]
            self.held[batch.key] = np.unique(batch.shas)
        return act

    def join(self, batch: BatchRows, **more: Any) -> Act | None:
        if self.version is None:
            return self.take(found(batch, model=MODEL, parameters=PARAMETERS), batch)
        arguments: dict[str, Any] = {"strategy": "lineage", "model": MODEL, "parameters": PARAMETERS} | more
        act = join(self.version, batch, open_rows=self.open_rows, held=self.held, **arguments)
        return None if act is None else self.take(act, batch)

    @property
    def head(self) -> Version:
        assert self.version is not None
        return self.version

    def cluster(self, name: str) -> int:
        (place,) = self.head.places_of(shas_of([sha(name)]))
        return int(self.head.numbers[place])

    def require_sums_of_rows(self) -> None:
        """The state counts exactly the rows that the presets have."""
        head = self.head
        places = head.state.places(head.numbers)
        sums = exact_sums(head.library(self.open_rows), places, head.state.k)
        assert np.array_equal(sums, head.state.sums)
        assert np.array_equal(np.bincount(places, minlength=head.state.k), head.state.sizes)


STYLES = [0] * 20 + [1] * 20 + [2] * 20 + [3] * 20
FIRST = batch_of("small", names("a", 80), style_rows(STYLES, seed=1))


@pytest.fixture
def kept() -> Kept:
    made = Kept()
    made.join(FIRST)
    return made


def test_the_same_preset_in_another_pack_keeps_its_cluster_and_counts_once(kept: Kept) -> None:
    # The larger pack holds the small one whole, in another order and under its own ids, and 40 presets more.
    old = [*range(80)]
    np.random.default_rng(5).shuffle(old)
    rows = np.concatenate([style_rows([0] * 40, seed=2), FIRST.rows[old]])
    before = {name: kept.cluster(name) for name in names("a", 80)}
    act = kept.join(batch_of("large", [*names("b", 40), *(f"a{number:03d}" for number in old)], rows))
    assert act is not None
    assert np.array_equal(act.brought, np.arange(40))
    assert {name: kept.cluster(name) for name in names("a", 80)} == before
    assert {kept.cluster(name) for name in names("b", 40)} == {kept.cluster("a000")}
    assert (len(kept.head), int(kept.head.state.sizes.sum())) == (120, 120)
    kept.require_sums_of_rows()


def test_a_batch_that_comes_again_as_it_was_makes_no_version(kept: Kept) -> None:
    order = np.random.default_rng(3).permutation(80)
    assert kept.join(BatchRows("small", FIRST.shas[order], FIRST.rows[order])) is None


def test_a_pack_of_known_presets_only_joins_without_a_row(kept: Kept) -> None:
    act = kept.join(batch_of("copy", names("a", 30), FIRST.rows[:30]))
    assert act is not None
    assert (len(act.brought), act.version.state.version, len(act.version)) == (0, 2, 80)
    assert [seen.key for seen in act.version.state.batches] == ["small", "copy"]
    # What both have stays when one leaves.
    left = kept.take(leave(kept.head, "copy", open_rows=kept.open_rows, held=kept.held))
    assert len(left.version) == 80


def test_a_preset_rendered_again_keeps_its_cluster_and_has_its_new_row(kept: Kept) -> None:
    again = FIRST.rows.copy()
    again[:10] = style_rows([2] * 10, seed=9)
    before = kept.cluster("a000")
    act = kept.join(BatchRows("small", FIRST.shas, again))
    assert act is not None
    assert len(act.brought) == 10
    assert not len(act.changes.shas)
    assert kept.cluster("a000") == before
    kept.require_sums_of_rows()


def test_presets_taken_out_and_put_in(kept: Kept) -> None:
    keep = [*range(10, 80)]
    grown = [*(f"a{number:03d}" for number in keep), *names("n", 5)]
    rows = np.concatenate([FIRST.rows[keep], style_rows([1] * 5, seed=4)])
    before = {name: kept.cluster(name) for name in grown[:70]}
    assert kept.join(batch_of("small", grown, rows)) is not None
    assert (kept.head.places_of(FIRST.shas[:10]) == -1).all()
    assert {name: kept.cluster(name) for name in grown[:70]} == before
    kept.require_sums_of_rows()


def test_a_cluster_whose_presets_have_all_gone_is_retired_for_ever(kept: Kept) -> None:
    gone = kept.cluster("a000")
    keep = [place for place in range(80) if kept.head.numbers[place] != gone]
    act = kept.join(batch_of("small", [f"a{place:03d}" for place in keep], FIRST.rows[keep]))
    assert act is not None
    assert [line.number for line in act.retirements] == [gone]
    # The style comes again: it founds a new cluster.
    again = kept.join(batch_of("more", names("z", 60), style_rows([0] * 60, seed=8)))
    assert again is not None
    assert kept.cluster("z000") not in {gone, *range(4)}
    assert gone not in kept.head.state.numbers


def test_a_batch_leaves_and_what_it_founded_goes_with_it(kept: Kept) -> None:
    before = kept.head
    act = kept.join(batch_of("late", names("l", 60), style_rows([7] * 60, seed=6)))
    assert act is not None
    (born,) = act.births
    assert kept.cluster("l000") == born.number == 4
    left = kept.take(leave(kept.head, "late", open_rows=kept.open_rows, held=kept.held))
    del kept.held["late"]
    assert [line.number for line in left.retirements] == [4]
    assert np.array_equal(kept.head.state.sums, before.state.sums)
    assert np.array_equal(kept.head.numbers, before.numbers)
    kept.require_sums_of_rows()
    # It may come again, under another number.
    assert kept.join(batch_of("late", names("l", 60), style_rows([7] * 60, seed=6))) is not None
    assert kept.cluster("l000") == 5
    with pytest.raises(UserError, match="has no batch other"):
        leave(kept.head, "other", open_rows=kept.open_rows, held=kept.held)
    with pytest.raises(UserError, match="holds every preset"):
        leave(before, "small", open_rows=kept.open_rows, held={"small": FIRST.shas})


def test_presets_that_come_back_have_their_clusters_again(kept: Kept) -> None:
    # Between two styles: where they lie is decided by what else is there.
    between = style_rows([0] * 30, seed=11) + style_rows([1] * 30, seed=12)
    rows = (between / np.linalg.norm(between, axis=1, keepdims=True)).astype(np.float32)
    batch = batch_of("middle", names("m", 30), rows)
    no_births = replace(PARAMETERS, k_limit=4)
    kept.join(batch, parameters=no_births)
    before = {name: kept.cluster(name) for name in names("m", 30)}
    kept.take(leave(kept.head, "middle", open_rows=kept.open_rows, held=kept.held))
    del kept.held["middle"]
    assert len(kept.head.left.shas) == 30
    # Meanwhile one of the two clusters is drawn towards them.
    pulled = between / np.linalg.norm(between, axis=1, keepdims=True) + 0.7 * np.eye(16)[1]
    pulled = (pulled / np.linalg.norm(pulled, axis=1, keepdims=True)).astype(np.float32)
    kept.join(batch_of("pull", names("q", 30), pulled), parameters=no_births)
    act = kept.join(batch, parameters=no_births)
    assert act is not None
    assert {name: kept.cluster(name) for name in names("m", 30)} == before
    assert len(kept.head.left.shas) == 0
    assert len(act.brought) == 30
    kept.require_sums_of_rows()
    # Some of them in another batch, with new ones: the same.
    kept.take(leave(kept.head, "middle", open_rows=kept.open_rows, held=kept.held))
    del kept.held["middle"]
    kept.join(
        batch_of("part", [*names("m", 10), *names("y", 5)], np.concatenate([rows[:10], style_rows([2] * 5, seed=3)]))
    )
    assert {name: kept.cluster(name) for name in names("m", 10)} == dict(list(before.items())[:10])
    assert len(kept.head.left.shas) == 20
    kept.require_sums_of_rows()


def test_beginning_anew_counts_on(kept: Kept) -> None:
    kept.join(batch_of("late", names("l", 60), style_rows([7] * 60, seed=6)))
    act = found(FIRST, model="n" * 64, parameters=PARAMETERS, after=kept.head, reason="another model")
    state = act.version.state
    assert (state.kind, state.version, state.model) == ("anew", 3, "n" * 64)
    assert state.numbers.tolist() == [5, 6, 7, 8]
    assert {line.number for line in state.retired} == set(range(5))
    assert {line.reason for line in act.retirements} == {"another model"}


def test_given_clusters_are_taken_as_they_are() -> None:
    labels = [3] * 40 + [17] * 40
    act = found(FIRST, model=MODEL, parameters=PARAMETERS, labels=labels)
    assert act.version.state.kind == "baseline"
    assert act.version.numbers.tolist() == labels
    assert act.version.state.next_number == 18


def test_copies_within_a_batch_count_once() -> None:
    twice = BatchRows(
        "small", np.concatenate([FIRST.shas, FIRST.shas[:20]]), np.concatenate([FIRST.rows, FIRST.rows[:20]])
    )
    act = found(twice, model=MODEL, parameters=PARAMETERS)
    assert (len(act.version), len(act.brought)) == (80, 80)
    # Neither do they make a difference when the batch comes again.
    rows = {1: twice.rows[act.brought]}
    again = join(
        act.version, twice, strategy="lineage", open_rows=rows.__getitem__, held={"small": twice.shas}, model=MODEL,
        parameters=PARAMETERS,
    )  # fmt: skip
    assert again is None


def test_a_major_without_a_batch_accounts_for_every_change(kept: Kept) -> None:
    # Presets of style 0 that were dealt to another cluster's number come home.
    wrong = np.where(np.arange(80) < 3, kept.cluster("a079"), kept.head.numbers)
    kept.take(found(FIRST, model=MODEL, parameters=PARAMETERS, labels=wrong), FIRST)
    before = kept.head
    act = kept.take(refit(before, "major", open_rows=kept.open_rows))
    assert act.declared
    assert set(act.changes.shas.tolist()) == set(FIRST.shas[:3].tolist())
    table = {
        shas.decode(): (f"c{old:02d}", f"c{new:02d}")
        for shas, old, new in zip(act.changes.shas, act.changes.old, act.changes.new, strict=True)
    }
    assert unaccounted(before, kept.head, table, "major") == []
    assert unaccounted(before, kept.head, {}, "major") == sorted(table)
    assert unaccounted(before, kept.head, table, "hungarian") == sorted(table)
    # A line that did not happen is no account.
    assert unaccounted(before, kept.head, table | {sha("a050"): ("c00", "c01")}, "major") == [sha("a050")]
    assert int((kept.head.numbers != kept.head.first_numbers).sum()) == 3
    kept.require_sums_of_rows()


def test_a_version_comes_back_from_json_and_arrays(kept: Kept) -> None:
    kept.join(batch_of("late", names("l", 60), style_rows([7] * 60, seed=6)))
    facts, arrays = kept.head.to_plain()
    again = Version.from_plain(json.loads(json.dumps(facts)), arrays)
    for name, array in again.to_plain()[1].items():
        assert np.array_equal(array, arrays[name]), name
    assert again.state.batches == kept.head.state.batches
    with pytest.raises(UserError, match="contradicts itself"):
        Version.from_plain(facts, {**arrays, "preset_numbers": np.zeros_like(arrays["preset_numbers"])})
    with pytest.raises(UserError, match="list of presets is broken"):
        Version.from_plain(facts, {name: array for name, array in arrays.items() if name != "preset_rows"})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "n" * 64}, "another model than the lineage"),
        (
            {"rows": style_rows([1] * 20, seed=3)[:, :8]},
            "not finite rows of unit length|8 dimensions, the lineage of 16",
        ),
        ({"rows": np.full((20, 16), np.nan, np.float32)}, "20 of 20 embeddings of batch new are not finite"),
    ],
)
def test_what_does_not_fit_is_refused(kept: Kept, change: dict[str, Any], said: str) -> None:
    batch = batch_of("new", names("n", 20), style_rows([1] * 20, seed=3))
    if "rows" in change:
        rows = change.pop("rows")
        if rows.shape[1] == 8:
            rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        batch = replace(batch, rows=rows)
    before = kept.head
    with pytest.raises(UserError, match=said):
        kept.join(batch, **change)
    assert kept.head is before


def test_a_batch_that_comes_again_as_another_is_refused(kept: Kept) -> None:
    kept.join(batch_of("late", names("l", 60), style_rows([7] * 60, seed=6)))
    kept.take(leave(kept.head, "small", open_rows=kept.open_rows, held=kept.held))
    del kept.held["small"]
    with pytest.raises(UserError, match="come again with none of its presets"):
        kept.join(batch_of("late", names("x", 60), style_rows([7] * 60, seed=9)))
