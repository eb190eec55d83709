from pathlib import Path

import pytest

from aivj_assets.errors import UserError
from aivj_assets.qa import swap
from aivj_assets.qa.swap import rebuilt_folder


def build(target: Path, text: str) -> None:
    with rebuilt_folder(target) as new:
        (new / "file.txt").write_text(text, encoding="utf-8")


def test_the_new_folder_takes_the_place_of_the_old_and_nothing_else_is_left(tmp_path: Path) -> None:
    target = tmp_path / "batch" / "qa-samples"
    build(target, "one")
    (target / "stale.txt").write_text("x", encoding="utf-8")
    build(target, "two")
    assert [path.name for path in target.parent.iterdir()] == ["qa-samples"]
    assert [path.name for path in target.iterdir()] == ["file.txt"]
    assert (target / "file.txt").read_text(encoding="utf-8") == "two"


def test_a_failure_while_building_leaves_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "qa-samples"
    build(target, "one")

    def break_off() -> None:
        with rebuilt_folder(target) as new:
            (new / "half.txt").write_text("x", encoding="utf-8")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    assert [path.name for path in tmp_path.iterdir()] == ["qa-samples"]
    assert (target / "file.txt").read_text(encoding="utf-8") == "one"


def test_an_old_folder_held_open_on_windows_stays_and_the_user_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "qa-samples"
    build(target, "one")

    def held(source: Path, destination: Path) -> None:
        raise PermissionError(13, "Access is denied", str(source))

    monkeypatch.setattr(swap, "replace_file", held)
    with pytest.raises(UserError, match="open in another program"):
        build(target, "two")
    assert [path.name for path in tmp_path.iterdir()] == ["qa-samples"]
    assert (target / "file.txt").read_text(encoding="utf-8") == "one"


def test_the_old_folder_comes_back_when_the_new_one_cannot_move_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "qa-samples"
    build(target, "one")
    real = swap.replace_file

    def full(source: Path, destination: Path) -> None:
        if ".new-" in source.name:
            raise OSError(28, "No space left on device")
        real(source, destination)

    monkeypatch.setattr(swap, "replace_file", full)
    with pytest.raises(OSError, match="No space left"):
        build(target, "two")
    assert [path.name for path in tmp_path.iterdir()] == ["qa-samples"]
    assert (target / "file.txt").read_text(encoding="utf-8") == "one"


def test_what_a_crash_or_an_open_file_left_behind_is_cleared_by_the_next_build(tmp_path: Path) -> None:
    target = tmp_path / "qa-samples"
    (tmp_path / ".qa-samples.old-0badcafe").mkdir()
    (tmp_path / ".qa-samples.new-0badcafe").mkdir()
    (tmp_path / "frames").mkdir()
    build(target, "one")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames", "qa-samples"]


def test_what_another_writer_keeps_there_outlives_a_rebuild_and_its_failure(tmp_path: Path) -> None:
    target = tmp_path / "qa-samples"
    build(target, "one")
    (target / "map.html").write_text("map", encoding="utf-8")
    (target / "map").mkdir()
    (target / "map" / "sheet-000.webp").write_bytes(b"sheet")
    with rebuilt_folder(target, keep=("map.html", "map")) as new:
        (new / "file.txt").write_text("two", encoding="utf-8")
    assert sorted(path.name for path in target.iterdir()) == ["file.txt", "map", "map.html"]
    assert (target / "map" / "sheet-000.webp").read_bytes() == b"sheet"

    def break_off() -> None:
        with rebuilt_folder(target, keep=("map.html", "map")):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    assert (target / "map.html").read_text(encoding="utf-8") == "map"
    assert (target / "file.txt").read_text(encoding="utf-8") == "two"


def test_a_kept_name_that_is_not_there_is_no_trouble(tmp_path: Path) -> None:
    with rebuilt_folder(tmp_path / "qa-samples", keep=("map.html", "map")) as new:
        (new / "file.txt").write_text("one", encoding="utf-8")
    assert [path.name for path in (tmp_path / "qa-samples").iterdir()] == ["file.txt"]
