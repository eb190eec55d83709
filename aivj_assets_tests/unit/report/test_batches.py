"""The table that ends `aivj run PACK --all-batches`."""

import io
from pathlib import Path

from rich.console import Console

from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.report.batches import BatchLine, print_batches, read_presets
from aivj_assets_tests.builders import write_frames_meta, write_index, write_manifest


def test_one_line_a_batch_and_reasons_as_they_are() -> None:
    said = io.StringIO()
    lines = [
        BatchLine(BatchKey("big", "batch-0001"), "ran, 61 s", None, "20 of 20 ok"),
        BatchLine(BatchKey("big", "batch-0002"), "", "relPath '[red]a[/]' leaves public/presets", "-"),
        BatchLine(BatchKey("big", "batch-0003"), "ran, 6 s", "stopped", "-", unfinished=True),
    ]
    print_batches(Console(file=said, width=140), "big", lines)
    text = said.getvalue()
    assert "Pack big: 1 of 3 batches accepted" in text
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]
    assert rows == [
        ["big/batch-0001", "accepted", "20 of 20 ok", "ran, 61 s", ""],
        ["big/batch-0002", "not accepted", "-", "-", "relPath '[red]a[/]' leaves public/presets"],
        ["big/batch-0003", "incomplete", "-", "ran, 6 s", "stopped"],
    ]


def test_presets_are_counted_from_what_was_rendered(tmp_path: Path) -> None:
    root, key = DataRoot(tmp_path), BatchKey("big", "batch-0001")
    ids = [f"p{number}" for number in range(5)]
    write_manifest(root, key.key, ids)
    assert read_presets(root, key) == "-"
    folder = write_index(root, key.key, ids, failed={"p1": "empty"})
    write_frames_meta(root, key.key)
    assert read_presets(root, key) == "4 of 5 ok"
    folder.frames_meta.write_text("{", encoding="utf-8")
    assert read_presets(root, key) == "-"
