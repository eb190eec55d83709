"""Preset files: reading them with hygiene, and the content hash by which a preset is recognised across packs."""

from __future__ import annotations

import hashlib
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from aivj_assets.contracts.frames_index import ReasonCode
from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot

PRESET_SUFFIXES = (".milk", ".json")
MAX_PRESET_BYTES = 256 * 1024
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True)
class PresetText:
    """A preset's normalised text and its SHA-256."""

    text: str
    sha256: str


@dataclass(frozen=True)
class PresetRefusal:
    """Why a preset file was left out."""

    reason: ReasonCode
    detail: str


def normalise_preset(data: bytes) -> str:
    """Return a preset's text: UTF-8, else Latin-1; without BOM and control characters; newlines as LF."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return _CONTROL_CHARACTERS.sub("", text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff"))


def preset_sha256(text: str) -> str:
    """Return the SHA-256 of a normalised preset as 64 hex digits."""
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()


def read_preset_file(path: Path) -> PresetText | PresetRefusal:
    """Read a preset file, or say why it is left out: missing, over 256 KiB, empty, binary."""
    if path.suffix.lower() not in PRESET_SUFFIXES:
        return PresetRefusal("read-failed", f"'{path.suffix}' is no preset format; expected .milk or .json")
    try:
        info = path.stat()
        # Reading a pipe or a device would wait for ever, a file of gigabytes would fill the memory.
        usable = stat.S_ISREG(info.st_mode) and info.st_size <= MAX_PRESET_BYTES
        data = path.read_bytes() if usable else None
    except FileNotFoundError:
        return PresetRefusal("read-failed", "the file is missing")
    except OSError as error:
        return PresetRefusal("read-failed", error.strerror or str(error))
    if data is None:
        too_large = f"{info.st_size} bytes; a preset has at most {MAX_PRESET_BYTES}"
        return PresetRefusal("read-failed", too_large if stat.S_ISREG(info.st_mode) else "not a regular file")
    return _preset_text(data)


def _preset_text(data: bytes) -> PresetText | PresetRefusal:
    if b"\0" in data:
        return PresetRefusal("binary-nul", "the file holds NUL bytes")
    text = normalise_preset(data)
    if not text.strip():
        return PresetRefusal("empty", "the file holds no text")
    return PresetText(text=text, sha256=preset_sha256(text))


def read_manifest_preset(root: DataRoot, rel_path: str) -> PresetText | PresetRefusal:
    """Read the preset that a manifest's `relPath` names; a path that leaves `public/presets` is refused."""
    try:
        path = root.preset_file(rel_path)
    except UserError as error:
        return PresetRefusal("read-failed", str(error))
    return read_preset_file(path)
