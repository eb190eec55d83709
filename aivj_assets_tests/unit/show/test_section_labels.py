from __future__ import annotations

from pathlib import Path

import pytest

from aivj_assets.errors import UserError
from aivj_assets.show.section_labels import read_section_labels


def test_labels_of_audacity_become_sections(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("30.5\t60\tPeak\n\\\t100\t200\n0.4\t30.5\tcalm\n60,groove\n", encoding="utf-8")
    sections = read_section_labels(path, 90.0)
    assert [(one.start_s, one.end_s, one.tier) for one in sections] == [
        (0.0, 30.5, "calm"), (30.5, 60.0, "peak"), (60.0, 90.0, "groove"),
    ]  # fmt: skip


@pytest.mark.parametrize("line", ["0\t10\tloud", "calm", "x\tcalm", "-1\tcalm", "nan\tcalm"])
def test_a_wrong_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(f"0\tcalm\n{line}\n", encoding="utf-8")
    with pytest.raises(UserError, match="line 2"):
        read_section_labels(path, 90.0)


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(UserError, match="no labels"):
        read_section_labels(path, 90.0)
