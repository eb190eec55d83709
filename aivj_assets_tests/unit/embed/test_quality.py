from __future__ import annotations

import json
import tracemalloc
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from aivj_assets.embed import quality
from aivj_assets.embed.quality import (
    Rows,
    effective_dimension,
    figures_by_group,
    near_identical_fraction,
    nearest_neighbours,
    pairwise_cosines,
    retrieval_at_1,
    source_library,
)


def unit(vectors: np.ndarray) -> Rows:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def random_rows(count: int, dim: int = 16, seed: int = 0) -> Rows:
    return unit(np.random.default_rng(seed).normal(size=(count, dim)))


def noisy_presets(presets: int = 60, frames: int = 3, noise: float = 0.9) -> tuple[Rows, np.ndarray]:
    """Frames scattered around a centre of their preset, so widely that some end up nearer to another's."""
    rng = np.random.default_rng(3)
    preset_of = rng.permutation(np.repeat(np.arange(presets), frames))
    return unit(rng.normal(size=(presets, 12))[preset_of] + noise * rng.normal(size=(len(preset_of), 12))), preset_of


@pytest.fixture(params=[None, 20_000], ids=["one block", "many blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param is not None:
        monkeypatch.setattr(quality, "_BLOCK_BYTES", request.param)


@pytest.mark.usefixtures("blocks")
def test_retrieval_equals_a_plain_loop() -> None:
    vectors, preset_of = noisy_presets()
    hits = []
    for frame, vector in enumerate(vectors):
        cosines = vectors.astype(float) @ vector
        cosines[frame] = -2
        hits.append(preset_of[cosines.argmax()] == preset_of[frame])
    assert 0.2 < np.mean(hits) < 0.9
    figure = retrieval_at_1(vectors, preset_of)
    assert figure.value == pytest.approx(np.mean(hits))
    assert (figure.queries, figure.frames, figure.pictures) == (180, 180, 180)


def test_a_sample_of_queries_is_seeded_and_close_to_all() -> None:
    vectors, preset_of = noisy_presets(presets=400)
    every = retrieval_at_1(vectors, preset_of, queries=1200)
    some = [retrieval_at_1(vectors, preset_of, queries=300, seed=seed) for seed in (1, 1, 2)]
    assert every.value is not None
    assert some[0].value is not None
    assert some[0] == some[1] != some[2]
    assert some[0].queries == 300
    assert abs(some[0].value - every.value) < 0.1


def test_only_frames_with_another_of_their_preset_are_asked() -> None:
    vectors = unit(np.array([[1, 0], [1, 0.1], [0, 1]]))
    assert retrieval_at_1(vectors, [0, 0, 1]).queries == 2
    nobody = retrieval_at_1(vectors, [0, 1, 2])
    assert (nobody.value, nobody.queries) == (None, 0)
    assert retrieval_at_1(np.zeros((0, 4), np.float32), []).value is None


def test_a_model_that_maps_everything_to_one_point_finds_nothing() -> None:
    figure = retrieval_at_1(unit(np.ones((12, 5))), np.repeat(np.arange(4), 3))
    assert (figure.value, figure.queries) == (0.0, 12)


def test_byte_identical_frames_are_one_picture_of_all_their_presets() -> None:
    vectors, preset_of = noisy_presets(presets=40, noise=0.1)
    assert retrieval_at_1(vectors, preset_of).value == 1
    # The pack holds presets 0..9 twice, under other ids, with the same frames.
    copied = preset_of < 10
    twice, owners = np.concatenate([vectors, vectors[copied]]), np.concatenate([preset_of, preset_of[copied] + 100])
    contents = np.concatenate([np.arange(120), np.flatnonzero(copied)])
    assert retrieval_at_1(twice, owners).value == pytest.approx(90 / 150)  # a tie with the copy is a miss
    told = retrieval_at_1(twice, owners, content_of=contents)
    assert (told.value, told.queries, told.frames, told.pictures) == (1.0, 120, 150, 120)


def test_still_and_black_presets_are_no_cheap_hits() -> None:
    vectors, preset_of = noisy_presets(presets=20, noise=0.1)
    black = np.tile(random_rows(1, 12, seed=9), (30, 1))
    everything = np.concatenate([vectors, black])
    owners = np.concatenate([preset_of, 20 + np.repeat(np.arange(10), 3)])
    figure = retrieval_at_1(everything, owners, content_of=np.minimum(np.arange(90), 60))
    assert (figure.queries, figure.pictures) == (60, 61)


def test_frames_and_presets_must_agree() -> None:
    with pytest.raises(ValueError, match="3 frames"):
        retrieval_at_1(random_rows(3), [0, 1])
    with pytest.raises(ValueError, match="3 rows, but 1 groups"):
        figures_by_group(random_rows(3), ["a"], random_rows(3), [0, 1, 2])


@pytest.mark.usefixtures("blocks")
def test_near_identical_rows_are_counted() -> None:
    rows = random_rows(90)
    assert near_identical_fraction(rows) == 0
    copies = unit(np.concatenate([rows, rows[:5] + 1e-4]))
    assert near_identical_fraction(copies) == pytest.approx(10 / 95)
    assert near_identical_fraction(copies, threshold=1.0) == 0
    assert near_identical_fraction(rows[:1]) == near_identical_fraction(rows[:0]) == 0


@pytest.mark.parametrize("shape", [(500, 12), (9, 40)], ids=["more rows than columns", "more columns than rows"])
@pytest.mark.usefixtures("blocks")
def test_effective_dimension_equals_the_eigenvalues_formula(shape: tuple[int, int]) -> None:
    rows = (np.random.default_rng(4).normal(size=shape) * np.linspace(3, 0.1, shape[1]) + 5).astype(np.float32)
    values = np.linalg.eigvalsh(np.cov(rows.T.astype(float)))
    assert effective_dimension(rows) == pytest.approx(values.sum() ** 2 / (values**2).sum(), rel=1e-4)


@pytest.mark.usefixtures("blocks")
def test_effective_dimension_of_some_of_the_rows() -> None:
    rows = random_rows(400, 20)
    for chosen in (np.arange(100, 300), np.arange(0, 400, 50)):
        assert effective_dimension(rows, chosen) == pytest.approx(effective_dimension(rows[chosen]))


def test_effective_dimension_of_known_shapes() -> None:
    crosses = np.concatenate([np.eye(7), -np.eye(7)]).astype(np.float32)
    assert effective_dimension(crosses) == pytest.approx(7)
    line = np.outer(np.linspace(-1, 1, 50), np.ones(6)).astype(np.float32)
    assert effective_dimension(line) == pytest.approx(1)


@pytest.mark.parametrize("count", [0, 1, 5, 300])
def test_rows_that_do_not_vary_have_no_dimension(count: int) -> None:
    rows = np.tile(random_rows(1, 100), (count, 1))
    assert effective_dimension(rows) == 0
    last_digit = np.random.default_rng(6).choice([-np.inf, np.inf], rows.shape).astype(np.float32)
    assert effective_dimension(np.nextafter(rows, last_digit)) == 0


def test_pairs_are_different_and_all_of_them_when_few() -> None:
    for count in (2, 5, 8):
        rows = random_rows(count)
        expected = (rows @ rows.T)[np.triu_indices(count, 1)]
        np.testing.assert_allclose(np.sort(pairwise_cosines(rows)), np.sort(expected), atol=1e-6)
    assert len(pairwise_cosines(random_rows(1))) == len(pairwise_cosines(random_rows(0))) == 0


def test_a_sample_of_pairs_is_seeded_and_looks_like_all() -> None:
    rows = random_rows(300)
    one, again, other = (pairwise_cosines(rows, pairs=5000, seed=seed) for seed in (1, 1, 2))
    assert one.dtype == np.float32
    assert len(one) == 5000
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    every = pairwise_cosines(rows, pairs=10**6)
    assert len(every) == 300 * 299 // 2
    assert one.std() == pytest.approx(every.std(), rel=0.1)


@pytest.mark.usefixtures("blocks")
def test_neighbours_equal_a_full_sort() -> None:
    rows = random_rows(700)
    queries = np.array([699, 0, 350])
    similar = (rows @ rows.T)[queries]
    similar[np.arange(3), queries] = -2
    indices, cosines = nearest_neighbours(rows, queries, 6)
    np.testing.assert_array_equal(indices, np.argsort(-similar, axis=1)[:, :6])
    np.testing.assert_allclose(cosines, -np.sort(-similar, axis=1)[:, :6], atol=1e-6)


@pytest.mark.usefixtures("blocks")
def test_of_equal_neighbours_the_first_counts_and_never_the_row_itself() -> None:
    rows = np.tile(np.eye(4, dtype=np.float32), (200, 1))
    indices, cosines = nearest_neighbours(rows, [0, 9], 3)
    assert indices.tolist() == [[4, 8, 12], [1, 5, 13]]
    assert cosines.tolist() == [[1, 1, 1], [1, 1, 1]]


def test_more_neighbours_than_there_are_gives_all() -> None:
    indices, cosines = nearest_neighbours(random_rows(4), [1], 10)
    assert sorted(indices[0].tolist()) == [0, 2, 3]
    assert cosines.shape == (1, 3)
    assert nearest_neighbours(random_rows(1), [0], 5)[0].shape == (1, 0)


def test_figures_of_each_group_are_looked_up_among_all() -> None:
    vectors, preset_of = noisy_presets(presets=60)
    sums = np.zeros((60, 12))
    np.add.at(sums, preset_of, vectors)
    groups = ["butterchurn" if number % 3 else "projectm" for number in range(60)]
    figures = figures_by_group(unit(sums), groups, vectors, preset_of)
    assert list(figures) == ["all", "butterchurn", "projectm"]
    assert [figures[name].presets for name in figures] == [60, 40, 20]
    every, *parts = [figures[name].retrieval_at_1 for name in figures]
    assert every == retrieval_at_1(vectors, preset_of)
    assert [part.queries for part in parts] == [120, 60]
    shares = [(part.value or 0) * part.queries for part in parts]
    assert every.value == pytest.approx(sum(shares) / every.queries)
    assert figures["projectm"].effective_dimension == pytest.approx(effective_dimension(unit(sums)[::3]))
    assert json.loads(json.dumps(asdict(figures["all"])))["retrieval_at_1"]["queries"] == 180
    assert list(figures_by_group(unit(sums), ["one"] * 60, vectors, preset_of)) == ["all"]


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    rows = np.lib.format.open_memmap(tmp_path / "rows.npy", mode="w+", dtype=np.float32, shape=(60_000, 768))
    rng = np.random.default_rng(5)
    for start in range(0, len(rows), 10_000):
        rows[start : start + 10_000] = unit(rng.normal(size=(10_000, 768)))
    rows.flush()
    del rows
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    tracemalloc.start()
    try:
        figure = retrieval_at_1(mapped, np.arange(60_000) // 3, queries=500)
        share = near_identical_fraction(mapped, queries=500)
        dimension = effective_dimension(mapped)
        cosines = pairwise_cosines(mapped)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 150e6  # the rows alone are 184 MB
    assert figure.queries == 500
    assert share == 0
    assert dimension == pytest.approx(768 / (1 + 768 / 60_000), rel=0.01)
    assert abs(cosines.mean()) < 0.01


@pytest.mark.parametrize(
    ("rel_path", "expected"),
    [
        ("mix/files/Geiss---Feedback-cc5990.milk", ".milk"),
        ("mix/files/martin---bridge-c81c18.json", ".json"),
        ("mix/files/projectm/stock/a.MILK", "projectm (.milk)"),
        ("mix/butterchurn/a.json", "butterchurn (.json)"),
        ("other/a.milk", "other (.milk)"),
        ("a.milk", ".milk"),
        ("mix/files/readme", "no type"),
    ],
)
def test_the_library_is_the_top_folder_and_the_file_type(rel_path: str, expected: str) -> None:
    assert source_library(rel_path, "mix") == expected
