from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from aivj_assets.cluster.births import BirthRules
from aivj_assets.cluster.lloyd import MOST_ROWS
from aivj_assets.cluster.rows import Labels, RowParts
from aivj_assets.cluster.state import LineageParameters, LineageState, Retired, baseline, check_size, exchanged
from aivj_assets.cluster.strategies import step
from aivj_assets.errors import UserError
from aivj_assets_tests.growth_builders import MODEL, Lineage, small_parameters, style_rows

Plain = tuple[dict[str, Any], dict[str, Any]]


@pytest.fixture(scope="module")
def grown() -> Lineage:
    """Five clusters, the last of them a birth of batch b2, and one that a removal retired."""
    rows, truth = style_rows(dict.fromkeys(range(5), 60), seed=1)
    lineage = Lineage(small_parameters(5)).start_with(rows[truth < 4], truth[truth < 4] + 10)
    only = rows[truth == 4]
    born = lineage.add("lineage", only, "b1")
    lineage.state = without(lineage.now, RowParts.of(only), born.new_labels)
    lineage.library, lineage.labels = RowParts.of(lineage.library.parts[0]), lineage.labels[:240]
    lineage.add("lineage", style_rows({0: 30, 2: 30, 7: 30}, seed=2)[0], "b2")
    return lineage


def without(state: LineageState, rows: RowParts, labels: Labels, key: str = "b1") -> LineageState:
    """Return the next version, from which these rows of a batch are taken out."""
    nothing = RowParts.of(np.empty((0, state.dim), np.float32))
    left = exchanged(state, rows, labels, nothing, np.empty(0, np.int64), reason=f"batch {key} was removed")
    rest = tuple(batch for batch in state.batches if batch.key != key)
    return replace(left, version=state.version + 1, kind="removal", batches=rest)


def saved(state: LineageState) -> Plain:
    """Facts and arrays as they come back from a JSON file and an npz file."""
    facts, arrays = state.to_plain()
    file = io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)
    with np.load(file, allow_pickle=False) as read:
        return json.loads(json.dumps(facts)), {name: read[name] for name in read.files}


def same(one: LineageState, other: LineageState) -> bool:
    (facts, arrays), (others, other_arrays) = one.to_plain(), other.to_plain()
    return facts == others and all(arrays[name].tobytes() == other_arrays[name].tobytes() for name in arrays)


def test_a_state_survives_json_and_npz(grown: Lineage) -> None:
    state = grown.now
    assert state.numbers.tolist() == [10, 11, 12, 13, 15]
    assert state.retired == (Retired(14, 3, "batch b1 was removed", None),)
    back = LineageState.from_plain(*saved(state))
    assert same(back, state)
    assert (back.parameters, back.retired, back.batches) == (state.parameters, state.retired, state.batches)
    rows = RowParts.of(style_rows({0: 40, 8: 40}, seed=9)[0])
    steps = [
        step("lineage", given, grown.library, grown.labels, rows, batch="b3", model=MODEL) for given in (state, back)
    ]
    assert same(steps[0].state, steps[1].state)
    assert steps[0].births == steps[1].births != ()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda facts, arrays: facts.pop("batches"),
        lambda facts, arrays: facts.pop("next_number"),
        lambda facts, arrays: arrays.pop("sums"),
        lambda facts, arrays: facts.update(surprise=1),
        lambda facts, arrays: facts["parameters"].update(surprise=1),
        lambda facts, arrays: facts["parameters"].pop("births"),
        lambda facts, arrays: facts.update(parameters=None),
        lambda facts, arrays: facts["retired"][0].pop("into"),
        lambda facts, arrays: facts.update(batches=[1]),
        lambda facts, arrays: facts["born_in"].pop(),
        lambda facts, arrays: facts.update(next_number=15),
        lambda facts, arrays: facts["retired"][0].update(number=10),
        lambda facts, arrays: arrays.update(numbers=arrays["numbers"][::-1]),
        lambda facts, arrays: arrays.update(numbers=np.array(["x"] * 5)),
        lambda facts, arrays: arrays.update(sizes=arrays["sizes"] * 0),
        lambda facts, arrays: arrays.update(sizes=arrays["sizes"][:3]),
        lambda facts, arrays: arrays.update(sums=arrays["sums"][:3]),
        lambda facts, arrays: arrays.update(sums=arrays["sums"][0]),
        lambda facts, arrays: arrays.update(sums=arrays["sums"] * np.nan),
        lambda facts, arrays: arrays.update(cosines=arrays["cosines"][:, :5]),
        lambda facts, arrays: arrays.update({name: array[:0] for name, array in arrays.items()}, born_in=()),
    ],
)
def test_a_broken_state_is_one_clear_line(grown: Lineage, spoil: Callable[..., object]) -> None:
    facts, arrays = saved(grown.now)
    spoil(facts, arrays)
    with pytest.raises(UserError, match="restore it from an earlier version") as told:
        LineageState.from_plain(facts, arrays)
    assert "\n" not in str(told.value)


def test_a_removed_batch_leaves_exactly_what_was_there_before() -> None:
    rows, truth = style_rows(dict.fromkeys(range(4), 80), seed=1, noise=1.0)
    lineage = Lineage().start_with(rows, truth)
    before = lineage.now
    batch = style_rows(dict.fromkeys(range(4), 50), seed=2, noise=1.0)[0]
    added = lineage.add("lineage", batch, "b1")
    assert not np.array_equal(added.state.sums, before.sums)
    after = without(lineage.now, RowParts.of(batch[:70], batch[70:]), added.new_labels)
    assert after.sums.tobytes() == before.sums.tobytes()
    assert after.centroids.tobytes() == before.centroids.tobytes()
    assert after.sizes.tolist() == before.sizes.tolist()
    assert (after.version, after.kind) == (3, "removal")
    assert [seen.key for seen in after.batches] == ["start"]
    again = step("lineage", after, RowParts.of(rows), truth, RowParts.of(batch), batch="b1", model=MODEL)
    np.testing.assert_array_equal(again.new_labels, added.new_labels)
    assert again.state.sums.tobytes() == added.state.sums.tobytes()


def test_batches_may_be_removed_in_any_order_and_the_sums_do_not_tell() -> None:
    rows, truth = style_rows(dict.fromkeys(range(4), 80), seed=1, noise=1.0)
    lineage = Lineage().start_with(rows, truth)
    before = lineage.now
    batches = {key: style_rows({0: 30, 1: 40, 3: 20}, seed=seed)[0] for seed, key in enumerate("abc", start=5)}
    labels = {key: lineage.add("lineage", batch, key).new_labels for key, batch in batches.items()}
    state = lineage.now
    for key in "bca":
        state = without(state, RowParts.of(batches[key]), labels[key], key)
    assert state.sums.tobytes() == before.sums.tobytes()


def test_a_cluster_that_a_removal_empties_is_retired_for_ever(grown: Lineage) -> None:
    assert 14 not in grown.now.numbers
    assert grown.now.born_in == ("start", "start", "start", "start", "b2")
    assert grown.now.next_number == 16


def test_more_than_there_is_cannot_be_removed(grown: Lineage) -> None:
    batch = RowParts.of(style_rows({0: 30, 2: 30, 7: 30}, seed=2)[0])
    with pytest.raises(UserError, match="90 presets cannot be taken out: their assignments are not those of version 4"):
        without(grown.now, batch, np.full(90, 15))
    with pytest.raises(UserError, match="c77, which version 4"):
        without(grown.now, batch, np.full(90, 77))


def test_the_last_preset_cannot_be_removed() -> None:
    rows, truth = style_rows({0: 20, 1: 20}, seed=1)
    state = baseline(RowParts.of(rows), truth, model=MODEL, parameters=small_parameters(2), batch="only")
    with pytest.raises(UserError, match="nothing would be left"):
        without(state, RowParts.of(rows), truth)


def test_a_baseline_takes_over_ids_and_their_batches() -> None:
    rows, truth = style_rows({0: 20, 1: 30, 2: 10}, seed=1)
    labels = np.array([7, 3, 12])[truth]
    state = baseline(
        RowParts.of(rows), labels, model=MODEL, parameters=small_parameters(3), batch="adopted", born_in={7: "older"}
    )
    assert state.numbers.tolist() == [3, 7, 12]
    assert state.sizes.tolist() == [30, 20, 10]
    assert state.born_in == ("adopted", "older", "adopted")
    assert (state.next_number, state.version, state.count, state.k, state.dim) == (13, 1, 60, 3, 24)
    assert state.places([12, 3]).tolist() == [2, 0]
    assert state.cosines.sum(axis=1).tolist() == state.sizes.tolist()
    with pytest.raises(UserError, match=r"3 clusters are more than the k limit 2"):
        baseline(RowParts.of(rows), labels, model=MODEL, parameters=small_parameters(2, k_limit=2), batch="x")


@pytest.mark.parametrize("unknown", [4, -1, 13, 10**9])
def test_a_number_that_is_no_cluster_is_named(unknown: int) -> None:
    rows, truth = style_rows({0: 20, 1: 30, 2: 10}, seed=1)
    state = baseline(
        RowParts.of(rows), np.array([7, 3, 12])[truth], model=MODEL, parameters=small_parameters(3), batch="x"
    )
    with pytest.raises(UserError, match=r"published assignments name cluster c.*restore"):
        state.places([3, unknown, 7])


def test_what_counts_as_far_is_the_quantile_of_each_clusters_own_cosines() -> None:
    tight, loose = style_rows({0: 4000}, seed=1, noise=0.3)[0], style_rows({1: 4000}, seed=2, noise=1.0)[0]
    few = style_rows({2: 12}, seed=3, noise=0.5)[0]
    rows = np.concatenate([tight, loose, few])
    labels = np.repeat([0, 1, 2], [4000, 4000, 12])
    state = baseline(RowParts.of(rows), labels, model=MODEL, parameters=small_parameters(3), batch="x")
    known = state.clustering(BirthRules(far_quantile=0.05))
    cosines = np.einsum("ij,ij->i", rows, state.centroids[labels])
    expected = [np.quantile(cosines[labels == 0], 0.05), np.quantile(cosines[labels == 1], 0.05)]
    assert known.low_cosines[:2] == pytest.approx(expected, abs=0.001)
    # Of 12 members no quantile can be told: they have everyone's.
    assert known.low_cosines[2] == pytest.approx(np.quantile(cosines, 0.05), abs=0.001)


def test_the_k_limit_is_twice_k_unless_set() -> None:
    assert LineageParameters(k=30).limit == 60
    assert LineageParameters(k=30, k_limit=31).limit == 31


def test_more_presets_than_sums_are_exact_for_are_refused() -> None:
    check_size(MOST_ROWS)
    with pytest.raises(UserError, match=f"{MOST_ROWS + 1} presets are more than the {MOST_ROWS}"):
        check_size(MOST_ROWS + 1)
