from __future__ import annotations

from pathlib import Path

import pytest

from aivj_assets.render.bench.choose import BenchPreset
from aivj_assets.render.bench.plain import serve_plain
from aivj_assets.render.bench.speed import cut_blocks
from aivj_assets.render.bench.workers import add_timings


def presets(count: int) -> list[BenchPreset]:
    return [BenchPreset(f"p{number}", Path(f"p{number}.milk"), "milk") for number in range(count)]


@pytest.mark.parametrize(
    ("count", "block", "plain", "sizes"),
    [
        (7, 3, 7, [(3, 3), (3, 3), (1, 1)]),
        (6, 3, 2, [(3, 1), (3, 1)]),
        (6, 3, 0, [(3, 0), (3, 0)]),
        (4, 100, 3, [(4, 3)]),
        (6, 2, 99, [(2, 2), (2, 2), (2, 2)]),
    ],
)
def test_both_loops_take_blocks_in_turn(count: int, block: int, plain: int, sizes: list[tuple[int, int]]) -> None:
    blocks = list(cut_blocks(presets(count), block, plain))
    assert [(len(mine), len(theirs)) for mine, theirs in blocks] == sizes
    assert [preset for mine, _ in blocks for preset in mine] == presets(count)
    assert all(list(theirs) == list(mine[: len(theirs)]) for mine, theirs in blocks)


def test_timings_of_several_tries_add_up() -> None:
    timings: dict[str, dict[str, float]] = {}
    add_timings(timings, "a", {"gl": 1.0})
    add_timings(timings, "a", {"gl": 2.0, "js": 3.0})
    add_timings(timings, "b", {"gl": 5.0})
    assert timings == {"a": {"gl": 3.0, "js": 3.0}, "b": {"gl": 5.0}}


def test_the_plain_page_is_served_and_nothing_beside_it() -> None:
    page = serve_plain("http://aivj.invalid/bench/plain.html")
    assert page is not None
    assert b"plain.js" in page[0]
    assert "script-src 'self'" in page[1]["Content-Security-Policy"]
    assert serve_plain("http://aivj.invalid/bench/plain.js") is not None
    for path in ("/bench/../usage.py", "/bench/", "/page/main.js", "/bench/plain.html/x"):
        assert serve_plain(f"http://aivj.invalid{path}") is None
