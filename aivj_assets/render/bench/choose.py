"""Which presets a benchmark renders: a seeded random mix of JSON and `.milk`, with and without pixel shaders."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aivj_assets.contracts.manifest import make_preset_id
from aivj_assets.contracts.preset_file import PRESET_SUFFIXES, PresetText, read_preset_file
from aivj_assets.errors import UserError

PresetKind = Literal["json", "milk", "milk-shaders"]
KINDS: tuple[PresetKind, ...] = ("json", "milk", "milk-shaders")

_MILK_SHADER = re.compile(r"^[ \t]*(?:warp_1|comp_1)[ \t]*=", re.MULTILINE | re.IGNORECASE)
_LINUX_FOLDERS = ("/usr/share/projectM/presets", "/usr/local/share/projectM/presets")
_WINDOWS_FOLDERS = (Path("Winamp", "Plugins", "Milkdrop2", "presets"), Path("projectM", "presets"))
_MACOS_FOLDERS = (
    "/Library/Application Support/projectM/presets",
    "/Applications/projectM.app/Contents/Resources/presets",
)
_WINDOWS_BASES = ("PROGRAMFILES", "PROGRAMFILES(X86)")


@dataclass(frozen=True)
class BenchPreset:
    """A preset file to render and the id it is rendered under."""

    preset_id: str
    path: Path
    kind: PresetKind


def has_pixel_shaders(text: str, suffix: str) -> bool:
    """Tell whether a preset brings warp or composite shaders of its own."""
    if suffix.lower() == ".milk":
        return bool(_MILK_SHADER.search(text))
    try:
        preset = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(preset, dict) and any(
        isinstance(preset.get(stage), str) and preset[stage].strip() for stage in ("warp", "comp")
    )


def known_milk_folders(platform: str, environ: Mapping[str, str]) -> list[Path]:
    """Return the folders of `.milk` presets that other programs installed on this machine."""
    if platform == "win32":
        upper = {name.upper(): value for name, value in environ.items()}
        bases = [Path(upper[base]) for base in _WINDOWS_BASES if upper.get(base)]
        places = [base / folder for base in bases for folder in _WINDOWS_FOLDERS]
    else:
        places = [Path(folder) for folder in (_MACOS_FOLDERS if platform == "darwin" else _LINUX_FOLDERS)]
    return [place for place in places if place.is_dir()]


def find_preset_files(folder: Path) -> list[Path]:
    """Return the preset files below a folder, sorted; hidden ones are passed over. Raises `UserError` if it is none."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; name a folder of .milk or .json presets.")
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(parent, name)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in PRESET_SUFFIXES
        ]
    return sorted(found)


def choose_presets(sources: Sequence[Path], count: int, seed: int) -> list[BenchPreset]:
    """Return `count` different usable presets of the sources in random order; the same for the same files and seed.

    Half are JSON and half `.milk`, of which half have pixel shaders; where there are too few of a kind, the others
    fill its place. Raises `UserError` when all kinds together are too few.
    """
    folders = [source.resolve() for source in sources]
    files = {
        path: f"{n}/{path.relative_to(top).as_posix()}"
        for n, top in enumerate(folders)
        for path in find_preset_files(top)
    }
    chance = random.Random(seed)
    order = sorted(files)
    chance.shuffle(order)
    wanted = _shares(count, order)
    chosen: dict[PresetKind, list[BenchPreset]] = {kind: [] for kind in KINDS}
    spare: list[BenchPreset] = []
    for preset in _usable(order, files):
        if all(len(chosen[kind]) >= wanted[kind] for kind in KINDS):
            break
        fits = len(chosen[preset.kind]) < wanted[preset.kind]
        (chosen[preset.kind] if fits else spare).append(preset)
    presets = [preset for kind in KINDS for preset in chosen[kind]]
    presets += spare[: count - len(presets)]
    if len(presets) < count:
        raise UserError(
            f"Only {len(presets)} of {count} presets were found: ask for fewer with --presets, or name a folder of "
            "presets with --source."
        )
    chance.shuffle(presets)
    return presets


def _shares(count: int, files: Sequence[Path]) -> dict[PresetKind, int]:
    suffixes = {path.suffix.lower() for path in files}
    milk = (count // 2 if ".json" in suffixes else count) if ".milk" in suffixes else 0
    return {"json": count - milk, "milk": milk - milk // 2, "milk-shaders": milk // 2}


def _usable(order: Sequence[Path], files: Mapping[Path, str]) -> Iterator[BenchPreset]:
    for path in order:
        read = read_preset_file(path)
        if isinstance(read, PresetText):
            kind: PresetKind = "json"
            if path.suffix.lower() == ".milk":
                kind = "milk-shaders" if has_pixel_shaders(read.text, ".milk") else "milk"
            yield BenchPreset(make_preset_id("bench", path.stem, files[path]), path, kind)
