"""Large JSON files: a row a line, never whole in memory, and left alone while they say the same; logs that grow."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from aivj_assets.layout import start_new_log, write_json_rows

VALUE = {
    "version": "v0", "generatedAt": "now", "none": None, "empty": [], "bare": {}, "counts": {"ok": 2, "Größe": 0.5},
    "rows": [{"id": "a", "tags": ["x", {"deep": []}]}, {"id": "b"}, 3],
}  # fmt: skip


def test_what_is_written_is_read_again_and_each_row_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rows.json"
    assert write_json_rows(path, VALUE)
    text = path.read_text(encoding="utf-8")
    assert json.loads(text) == VALUE
    assert list(json.loads(text)) == list(VALUE)
    assert '\n    {"id": "a", "tags": ["x", {"deep": []}]},\n    {"id": "b"},\n    3\n  ]\n}\n' in text
    assert '\n    "Größe": 0.5\n' in text
    assert b"\r" not in path.read_bytes()
    write_json_rows(path, {})
    assert json.loads(path.read_text(encoding="utf-8")) == {}


def test_a_file_that_differs_only_in_its_time_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    write_json_rows(path, VALUE)
    before = path.read_bytes()
    assert not write_json_rows(path, {**VALUE, "generatedAt": "later"}, unless_only="generatedAt")
    assert path.read_bytes() == before
    for changed in ({"rows": [*VALUE["rows"], 4]}, {"rows": VALUE["rows"][:2]}, {"version": "v1"}):
        assert write_json_rows(path, {**VALUE, **changed}, unless_only="generatedAt")
        assert json.loads(path.read_text(encoding="utf-8")) == {**VALUE, **changed}
        write_json_rows(path, VALUE)
    assert [entry.name for entry in tmp_path.iterdir()] == ["rows.json"]


def test_a_row_that_no_browser_reads_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    write_json_rows(path, VALUE)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json_rows(path, {"rows": [1.0, float("nan")]})
    assert json.loads(path.read_text(encoding="utf-8")) == VALUE
    assert [entry.name for entry in tmp_path.iterdir()] == ["rows.json"]


def test_rows_that_are_made_as_they_are_written_take_no_memory(tmp_path: Path) -> None:
    path, count = tmp_path / "rows.json", 20_000
    tracemalloc.start()
    try:
        write_json_rows(path, {"rows": ({"number": number, "text": "x" * 200} for number in range(count))})
        write_json_rows(
            path, {"rows": ({"number": number, "text": "x" * 200} for number in range(count))}, unless_only="at"
        )
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 4_000_000
    assert peak_bytes < 1_000_000
    assert len(json.loads(path.read_text(encoding="utf-8"))["rows"]) == count


def test_a_log_that_has_grown_large_begins_anew_and_the_one_before_is_kept(tmp_path: Path) -> None:
    log, before = tmp_path / "run.log", tmp_path / "run.log.1"
    start_new_log(log, 100)
    assert list(tmp_path.iterdir()) == []
    for text in ("a" * 100, "b" * 101, "c" * 102):
        log.write_text(text, encoding="utf-8")
        start_new_log(log, 100)
    assert before.read_text(encoding="utf-8") == "c" * 102
    assert not log.exists()
    log.write_text("small", encoding="utf-8")
    start_new_log(log, 100)
    assert log.read_text(encoding="utf-8") == "small"
