import os
import sys
from pathlib import Path

import pytest

from aivj_assets.contracts.preset_file import (
    MAX_PRESET_BYTES,
    PresetRefusal,
    PresetText,
    normalise_preset,
    preset_sha256,
    read_manifest_preset,
    read_preset_file,
)
from aivj_assets.layout import DataRoot


def written(folder: Path, data: bytes, name: str = "a.milk") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def test_the_same_preset_is_recognised_across_encodings_of_its_line_ends(tmp_path: Path) -> None:
    unix, windows, marked = (
        read_preset_file(written(tmp_path, data))
        for data in (b"a=1\nb=2\n", b"a=1\r\nb=2\r\n", b"\xef\xbb\xbfa=1\rb=2\n")
    )
    assert isinstance(unix, PresetText)
    assert unix.text == "a=1\nb=2\n"
    assert unix == windows == marked
    assert unix.sha256 == preset_sha256("a=1\nb=2\n")
    assert read_preset_file(written(tmp_path, b"a=1\nb=3\n")) != unix


def test_text_that_is_not_utf8_is_latin_1_and_control_characters_go() -> None:
    assert normalise_preset("naïve\tname".encode("latin-1")) == "naïve\tname"
    assert normalise_preset(b"a\x01\x0b\x1f\x7fb") == "ab"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b" \r\n\t\n", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b"\x01\x02", "empty"),
        (b"a\0b", "binary-nul"),
        ("a=1".encode("utf-16"), "binary-nul"),
        (b"x" * (MAX_PRESET_BYTES + 1), "read-failed"),
    ],
)
def test_what_is_no_preset_is_left_out_with_its_reason(tmp_path: Path, data: bytes, reason: str) -> None:
    refusal = read_preset_file(written(tmp_path, data))
    assert isinstance(refusal, PresetRefusal)
    assert refusal.reason == reason
    assert refusal.detail
    assert "\n" not in refusal.detail


def test_a_preset_may_have_exactly_256_kib(tmp_path: Path) -> None:
    assert isinstance(read_preset_file(written(tmp_path, b"x" * 256 * 1024)), PresetText)


def test_a_file_of_fifty_megabytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.milk"
    with path.open("wb") as file:
        file.truncate(50_000_000)
    refusal = read_preset_file(path)
    assert isinstance(refusal, PresetRefusal)
    assert "50000000 bytes" in refusal.detail


def test_missing_files_folders_and_other_suffixes(tmp_path: Path) -> None:
    (tmp_path / "folder.milk").mkdir()
    missing, folder, other = (read_preset_file(tmp_path / name) for name in ("none.milk", "folder.milk", "readme.txt"))
    assert isinstance(missing, PresetRefusal)
    assert missing.detail == "the file is missing"
    assert isinstance(folder, PresetRefusal)
    assert folder.detail == "not a regular file"
    assert isinstance(other, PresetRefusal)
    assert "'.txt' is no preset format" in other.detail


def test_the_suffix_may_be_in_capitals(tmp_path: Path) -> None:
    assert isinstance(read_preset_file(written(tmp_path, b"a=1", "A.MILK")), PresetText)


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes in folders there")
@pytest.mark.timeout(20)
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.milk")
    refusal = read_preset_file(tmp_path / "pipe.milk")
    assert isinstance(refusal, PresetRefusal)
    assert refusal.detail == "not a regular file"


def test_a_manifest_path_that_leaves_the_pack_is_data_not_an_exception(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    (root.presets_dir / "pack").mkdir(parents=True)
    (tmp_path / "secret.milk").write_bytes(b"a=1")
    written(root.presets_dir / "pack", b"a=1")
    assert isinstance(read_manifest_preset(root, "pack/a.milk"), PresetText)
    for rel_path in ("../../secret.milk", str(tmp_path / "secret.milk"), "pack/" + "x" * 300 + ".milk", "."):
        refusal = read_manifest_preset(root, rel_path)
        assert isinstance(refusal, PresetRefusal), rel_path
        assert refusal.reason == "read-failed"


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_a_link_in_a_circle_is_data_not_an_exception(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    (root.presets_dir / "pack").mkdir(parents=True)
    (root.presets_dir / "pack" / "loop.milk").symlink_to("loop.milk")
    refusal = read_manifest_preset(root, "pack/loop.milk")
    assert isinstance(refusal, PresetRefusal)
    assert refusal.reason == "read-failed"
