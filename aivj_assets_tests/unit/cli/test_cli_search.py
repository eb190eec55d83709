from __future__ import annotations

from pathlib import Path

import pytest

from aivj_assets.cli.search import read_labels
from aivj_assets.errors import UserError


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_labels_are_lines_each_once_as_any_editor_or_shell_saves_them(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes("  blue tunnel \r\n\r\n日本\r\nblue tunnel\r\n".encode(encoding))
    assert read_labels(path) == ["blue tunnel", "日本"]


@pytest.mark.parametrize(
    ("content", "told"), [(b" \n\n", "holds no label"), (b"caf\xe9", "is no text in UTF-8"), (None, "cannot be read")]
)
def test_a_file_without_labels_is_one_line(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = tmp_path / "labels.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=told) as refused:
        read_labels(path)
    assert "\n" not in str(refused.value)
