from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from aivj_assets.contracts.preset_file import MAX_PRESET_BYTES, PresetRefusal
from aivj_assets.packs.hygiene import check_form, read_candidate

MILK = b"[preset00]\r\nfRating=3.0\r\nzoom=1.01\r\n"


@pytest.mark.parametrize(
    ("name", "data", "reason", "words"),
    [
        ("empty.milk", b"", "empty", "no text"),
        ("blank.milk", b"\xef\xbb\xbf \r\n\t", "empty", "no text"),
        ("nul.milk", b"[preset00]\x00\x00", "binary-nul", "NUL"),
        ("prose.milk", b"Dear diary\nnothing here\n", "preset-load-failed", "MilkDrop"),
        ("torn.json", b'{"baseVals": {', "preset-load-failed", "not JSON"),
        ("list.json", b"[1, 2]", "preset-load-failed", "baseVals"),
        ("other.json", b'{"name": "aivj"}', "preset-load-failed", "baseVals"),
        ("deep.json", b"[" * 100_000, "preset-load-failed", "not JSON"),
        ("notes.txt", MILK, "read-failed", "no preset format"),
    ],
)
def test_each_kind_of_bad_file_gets_its_reason(tmp_path: Path, name: str, data: bytes, reason: str, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    outcome = read_candidate(path)
    assert isinstance(outcome, PresetRefusal)
    assert outcome.reason == reason
    assert words in outcome.detail


def test_a_huge_file_is_refused_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.milk"
    with path.open("wb") as file:
        file.truncate(50 * 1024 * 1024)
    outcome = read_candidate(path)
    assert isinstance(outcome, PresetRefusal)
    assert outcome.reason == "read-failed"
    assert str(MAX_PRESET_BYTES) in outcome.detail


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes in folders")
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe.milk"
    os.mkfifo(path)
    outcome = read_candidate(path)
    assert isinstance(outcome, PresetRefusal)
    assert outcome.reason == "read-failed"


def test_encodings_and_line_ends_do_not_change_the_content_hash(tmp_path: Path) -> None:
    text = "[preset00]\nper_frame_1=// caf\u00e9\n"
    variants = [
        text.encode("utf-8"),
        b"\xef\xbb\xbf" + text.encode("utf-8"),
        text.replace("\n", "\r\n").encode("latin-1"),
    ]
    hashes = set()
    for number, data in enumerate(variants):
        path = tmp_path / f"{number}.milk"
        path.write_bytes(data)
        hashes.add(read_candidate(path))
    assert len(hashes) == 1
    assert isinstance(hashes.pop(), str)


@pytest.mark.parametrize("text", ["[preset00]", "\n  [preset12]\n", "zoom=1", "MILKDROP_PRESET_VERSION = 201\n"])
def test_any_line_of_a_milkdrop_preset_suffices(text: str) -> None:
    assert check_form(text, ".MILK") is None


def test_a_butterchurn_preset_passes() -> None:
    assert check_form(json.dumps({"baseVals": {"zoom": 1}, "shapes": []}), ".json") is None
