from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from aivj_assets.errors import UserError
from aivj_assets.render.bench.choose import choose_presets, find_preset_files, has_pixel_shaders, known_milk_folders

PLAIN, SHADERS = "[preset00]\nzoom=1\n", "[preset00]\nzoom=1\nWARP_1=`shader_body\n"


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "library"
    (folder / "deep" / ".hidden").mkdir(parents=True)
    for number in range(8):
        (folder / f"j{number}.json").write_text(json.dumps({"baseVals": {}, "n": number}), encoding="utf-8")
        (folder / f"m{number}.milk").write_text(PLAIN + f"a={number}\n", encoding="utf-8")
        (folder / "deep" / f"s{number}.MILK").write_text(SHADERS + f"a={number}\n", encoding="utf-8")
    (folder / ".DS_Store").write_bytes(b"\0")
    (folder / ".hidden.json").write_text("{}", encoding="utf-8")
    (folder / "deep" / ".hidden" / "x.milk").write_text(PLAIN, encoding="utf-8")
    (folder / "empty.milk").write_text(" \n", encoding="utf-8")
    (folder / "notes.txt").write_text("no preset", encoding="utf-8")
    return folder


def test_half_is_json_a_quarter_has_pixel_shaders(library: Path) -> None:
    chosen = choose_presets([library], 12, seed=3)
    assert Counter(preset.kind for preset in chosen) == {"json": 6, "milk": 3, "milk-shaders": 3}
    assert len({preset.preset_id for preset in chosen}) == len({preset.path for preset in chosen}) == 12
    assert all(preset.kind == "milk-shaders" for preset in chosen if preset.path.name.startswith("s"))


def test_the_choice_is_the_same_for_the_same_seed_and_mixed(library: Path) -> None:
    chosen = choose_presets([library], 12, seed=3)
    assert choose_presets([library], 12, seed=3) == chosen
    assert choose_presets([library], 12, seed=4) != chosen
    kinds = [preset.kind for preset in chosen]
    assert kinds != sorted(kinds)


def test_other_kinds_fill_the_place_of_one_that_is_too_small(library: Path) -> None:
    for path in library.glob("j*.json"):
        if path.name not in ("j0.json", "j1.json"):
            path.unlink()
    chosen = choose_presets([library], 14, seed=1)
    assert len(chosen) == 14
    assert Counter(preset.kind for preset in chosen)["json"] == 2


def test_a_folder_without_json_gives_milk_only(library: Path) -> None:
    assert {preset.kind for preset in choose_presets([library / "deep"], 4, seed=1)} == {"milk-shaders"}


def test_overlapping_folders_give_no_preset_twice(library: Path) -> None:
    chosen = choose_presets([library, library / "deep"], 24, seed=1)
    assert len({preset.path for preset in chosen}) == 24


def test_too_few_presets_are_told_with_a_way_out(library: Path) -> None:
    with pytest.raises(UserError, match=r"Only 24 of 25 presets were found: .*--source"):
        choose_presets([library], 25, seed=1)


def test_hidden_files_and_other_files_are_passed_over(library: Path) -> None:
    names = {path.name for path in find_preset_files(library)}
    assert len(names) == 25
    assert "empty.milk" in names
    with pytest.raises(UserError, match="is no folder"):
        find_preset_files(library / "nowhere")


@pytest.mark.parametrize(
    ("text", "suffix", "expected"),
    [
        (PLAIN, ".milk", False),
        (SHADERS, ".milk", True),
        ("[preset00]\n comp_1 = `x\n", ".MILK", True),
        ("[preset00]\ncomp_10=`x\n//warp_1=\n", ".milk", False),
        ('{"warp": " ", "comp": ""}', ".json", False),
        ('{"warp": "", "comp": "shader_body {}"}', ".json", True),
        ("[]", ".json", False),
        ("{", ".json", False),
    ],
)
def test_pixel_shaders_are_seen_in_the_text(text: str, suffix: str, expected: bool) -> None:
    assert has_pixel_shaders(text, suffix) is expected


def test_milk_folders_of_other_programs_are_found_on_windows(tmp_path: Path) -> None:
    folder = tmp_path / "Winamp" / "Plugins" / "Milkdrop2" / "presets"
    folder.mkdir(parents=True)
    assert known_milk_folders("win32", {"ProgramFiles(x86)": str(tmp_path)}) == [folder]
    assert known_milk_folders("win32", {}) == []
