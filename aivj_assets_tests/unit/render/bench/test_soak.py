from __future__ import annotations

from pathlib import Path

import pytest

from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot
from aivj_assets.render.bench.soak import differing_presets, distinct_presets
from aivj_assets_tests.builders import write_index


def test_repeated_presets_are_counted_twice() -> None:
    assert distinct_presets(2000, 300) == 1700
    assert distinct_presets(6, 3) == 3
    with pytest.raises(UserError, match="--presets must be at least 8, not 7"):
        distinct_presets(7, 4)


def test_presets_with_other_bytes_or_another_outcome_are_named(tmp_path: Path) -> None:
    root, ids = DataRoot(tmp_path), ["a", "b", "c", "d"]
    first = write_index(root, "first", ids)
    again = write_index(root, "again", ids)
    assert differing_presets(first, again) == []
    again = write_index(root, "again", ids[:3], luma=[0.7, 0.8], failed={"a": "render-failed"}, motion=[0, 0])
    assert differing_presets(first, again) == ["a", "b", "c"]
