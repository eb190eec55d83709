"""How presets are dealt to batches."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aivj_assets.packs.split import SplitOptions, cut
from aivj_assets_tests.builders import preset_entry


def presets(count: int) -> list:
    return [preset_entry(f"p{number:04d}", "big") for number in range(count)]


def ids(parts: list) -> list[list[str]]:
    return [[preset.id for preset in part] for part in parts]


@settings(deadline=None, max_examples=60)
@given(count=st.integers(1, 200), size=st.integers(1, 250), seed=st.none() | st.integers(0, 9))
def test_every_preset_lies_in_one_batch_and_batches_are_even(count: int, size: int, seed: int | None) -> None:
    parts = ids(cut(presets(count), SplitOptions(size, seed)))
    sizes = [len(part) for part in parts]
    assert sorted(preset_id for part in parts for preset_id in part) == [preset.id for preset in presets(count)]
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1
    assert len(parts) == -(-count // size)
    assert all(part == sorted(part) for part in parts)


def test_in_order_cuts_as_the_manifest_lists() -> None:
    assert ids(cut(presets(5), SplitOptions(2, None))) == [["p0000", "p0001"], ["p0002", "p0003"], ["p0004"]]


@pytest.mark.parametrize("seed", [1, 7])
def test_a_shuffled_batch_is_a_fair_sample(seed: int) -> None:
    # A manifest sorted by style: each batch gets of each style what chance gives (500 of 2,000, sd about 16).
    parts = cut(presets(8000), SplitOptions(2000, seed))
    for part in parts:
        for style in range(4):
            assert abs(sum(style * 2000 <= int(preset.id[1:]) < (style + 1) * 2000 for preset in part) - 500) < 80


def test_the_shuffle_follows_seed_and_ids_and_not_the_order_of_the_manifest() -> None:
    listed = presets(100)
    moved = random.Random(4).sample(listed, 100)

    def members(parts: list) -> list[set[str]]:
        return [set(part) for part in ids(parts)]

    assert members(cut(listed, SplitOptions(30, 1))) == members(cut(moved, SplitOptions(30, 1)))
    assert members(cut(listed, SplitOptions(30, 1))) != members(cut(listed, SplitOptions(30, 2)))
