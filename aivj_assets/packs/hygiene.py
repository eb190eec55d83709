"""Which preset files are worth having: reading them with their reasons, in parallel."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from aivj_assets.contracts.preset_file import PresetRefusal, PresetText, read_preset_file

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]
"""Called with (done, total) now and then."""

_READERS = 8  # reading waits for the disk more than for the processor
_MILK_LINE = re.compile(r"^[ \t]*(\[preset\d+\]|[A-Za-z_]\w*[ \t]*=)", re.MULTILINE)


def check_form(text: str, suffix: str) -> PresetRefusal | None:
    """Say why a text is no preset at all, or return None.

    A `.json` must be an object with an object `baseVals` (Butterchurn); a `.milk` must hold a `[preset00]` line or at
    least one `key=value` line. Whether the preset compiles is the renderer's finding.
    """
    if suffix.lower() != ".json":
        return None if _MILK_LINE.search(text) else PresetRefusal("preset-load-failed", "no line of a MilkDrop preset")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return PresetRefusal("preset-load-failed", f"not JSON: {error}"[:200])
    if not isinstance(value, dict) or not isinstance(value.get("baseVals"), dict):
        return PresetRefusal("preset-load-failed", "not a Butterchurn preset: no object with 'baseVals'")
    return None


def read_candidate(path: Path) -> str | PresetRefusal:
    """Return the content SHA-256 of a usable preset file, or why it is left out."""
    preset = read_preset_file(path)
    if isinstance(preset, PresetText):
        return check_form(preset.text, path.suffix) or preset.sha256
    return preset


def map_files(function: Callable[[Item], Result], items: Sequence[Item], progress: Progress | None) -> list[Result]:
    """Apply `function` to every item on a few threads; results in the order of the items."""
    results: list[Result] = []
    with ThreadPoolExecutor(_READERS) as pool:
        for number, result in enumerate(pool.map(function, items), start=1):
            results.append(result)
            if progress is not None and (number % 100 == 0 or number == len(items)):
                progress(number, len(items))
    return results
