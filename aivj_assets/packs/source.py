"""Where presets come from: a folder of `.milk` or `.json` files, or the npm package butterchurn-presets.

Finds the files of a source and names them; reads none of them. Writing a pack is `importer`'s matter.
"""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from aivj_assets.contracts.import_report import LeftOut, SourceKind
from aivj_assets.errors import UserError

NPM_PACKAGE = "butterchurn-presets"
_NPM_PRESETS = Path("presets", "converted")
_SUFFIXES_OF_KIND: dict[str, frozenset[str]] = {
    "milk": frozenset({".milk"}),
    "json": frozenset({".json"}),
    "npm": frozenset({".json"}),
    "auto": frozenset({".milk", ".json"}),
}


@dataclass(frozen=True)
class Source:
    """An opened source: its folder, the name that goes into manifests, and which suffixes count."""

    folder: Path
    name: str
    kind: SourceKind
    suffixes: frozenset[str]

    def is_root(self, source_root: str) -> bool:
        """Whether a manifest's `sourceRoot` names this source."""
        if source_root == self.name or self.kind == "npm" or source_root.startswith("npm:"):
            return source_root == self.name
        return bool(source_root) and Path(source_root).expanduser().resolve() == self.folder


@dataclass(frozen=True)
class SourceFile:
    """A preset file of a source; `rel_path` is printable, '/'-separated, in Unicode normal form C."""

    path: Path
    rel_path: str

    @property
    def stem(self) -> str:
        """The file's name without its suffix."""
        return PurePosixPath(self.rel_path).stem

    @property
    def sort_key(self) -> tuple[str, str]:
        """Order of presets: by path regardless of case, then exact."""
        return self.rel_path.casefold(), self.rel_path


@dataclass
class SourceListing:
    """The preset files of a source in a stable order, and what could not be entered or leaves the source."""

    files: list[SourceFile] = field(default_factory=list)
    left_out_files: list[LeftOut] = field(default_factory=list)
    left_out_folders: list[LeftOut] = field(default_factory=list)


def open_source(source: Path | str, kind: SourceKind) -> Source:
    """Return the source; raises `UserError` when it is no folder or not of the kind asked for.

    `auto` recognises the installed npm package by its `package.json` and takes any other folder as it is. The npm
    package is named `npm:butterchurn-presets@<version>`, so that a moved checkout still knows its source.
    """
    folder = Path(source).expanduser()
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise UserError(f"{source} {what}; name a folder of .milk or .json presets.")
    package = _npm_package(folder)
    if package is None and kind == "npm":
        raise UserError(f"{source} is not the installed npm package {NPM_PACKAGE} (no presets/converted in it).")
    if package is not None and kind in {"auto", "npm"}:
        name = f"npm:{NPM_PACKAGE}@{package.get('version', 'unknown')}"
        return Source((folder / _NPM_PRESETS).resolve(), name, "npm", _SUFFIXES_OF_KIND["npm"])
    return Source(folder.resolve(), str(source), kind, _SUFFIXES_OF_KIND[kind])


def _npm_package(folder: Path) -> dict[str, Any] | None:
    if not (folder / _NPM_PRESETS).is_dir():
        return None
    try:
        package = json.loads((folder / "package.json").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return None
    return package if isinstance(package, dict) and package.get("name") == NPM_PACKAGE else None


def list_source(source: Source, skip: Path) -> SourceListing:
    """Find a source's preset files, all folders deep, sorted by path; hidden files and folders are passed over.

    `skip` is the pack's own folder, in case the source contains it. A link is not followed out of the source: a
    linked file that leads outside and a linked folder (also a Windows junction) that leads outside are left out with
    a reason. A linked folder that leads inside is passed over, because its files are found at their own place.
    """
    listing = SourceListing()
    skip = skip.resolve()
    for folder, names, error in _walk(source.folder, skip, source.folder, listing):
        if error is not None:
            rel_path = _relative_name(folder, source.folder)
            detail = f"the folder cannot be read: {error.strerror or error}"
            listing.left_out_folders.append(LeftOut(rel_path=rel_path, reason="read-failed", detail=detail))
            continue
        for name in names:
            if Path(name).suffix.lower() in source.suffixes:
                _add_file(listing, source, folder / name)
    listing.files.sort(key=lambda file: file.sort_key)
    return listing


def _walk(
    folder: Path, skip: Path, root: Path, listing: SourceListing
) -> Iterator[tuple[Path, list[str], OSError | None]]:
    # os.walk follows Windows junctions before Python 3.12, so links are told by where a folder really lies.
    folders: list[Path] = []
    names: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if _is_folder(entry):
                    folders.append(Path(entry.path))
                else:
                    names.append(entry.name)
    except OSError as error:
        yield folder, [], error
        return
    yield folder, names, None
    for child in folders:
        real = child.resolve()
        if not real.is_relative_to(root):
            rel_path = _relative_name(child, root)
            detail = "the folder is a link out of the source"
            listing.left_out_folders.append(LeftOut(rel_path=rel_path, reason="read-failed", detail=detail))
        elif real == folder.resolve() / child.name and real != skip:
            yield from _walk(child, skip, root, listing)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _add_file(listing: SourceListing, source: Source, path: Path) -> None:
    rel_path = _relative_name(path, source.folder)
    try:
        inside = path.resolve().is_relative_to(source.folder)
    except (OSError, RuntimeError):  # a link that leads to itself
        inside = False
    if inside:
        listing.files.append(SourceFile(path, rel_path))
    else:
        detail = "the file is a link out of the source"
        listing.left_out_files.append(LeftOut(rel_path=rel_path, reason="read-failed", detail=detail))


def _relative_name(path: Path, root: Path) -> str:
    """Return a printable relative path; bytes of a Linux file name that are not UTF-8 are read as Latin-1."""
    raw = os.fsencode(path.relative_to(root).as_posix())
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    printable = "".join(" " if unicodedata.category(char) in {"Cc", "Zl", "Zp"} else char for char in text)
    return unicodedata.normalize("NFC", printable)
