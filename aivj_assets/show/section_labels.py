"""Labels of a track's sections: a text file with a line a section, as Audacity exports its label tracks."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from aivj_assets.contracts.style import ENERGIES
from aivj_assets.errors import UserError
from aivj_assets.show.generate import Section


def read_section_labels(path: Path, duration_s: float) -> list[Section]:
    """Read `start<TAB>end<TAB>tier` lines, or `start<TAB>tier`; a section lasts until the next one begins.

    Times in seconds, tiers calm, groove or peak; a comma may stand for the tab. Raises `UserError` with the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from None
    found: list[tuple[float, str]] = []
    for number, line in enumerate(lines, start=1):
        # Audacity writes a line that begins with a backslash for labels with frequencies.
        if line.strip() and not line.startswith("\\"):
            found.append(_label(path, number, line))
    if not found:
        raise UserError(f"{path} has no labels: write lines of start in seconds, tab, tier.")
    found.sort()
    ends = [*(following[0] for _, following in pairwise(found)), duration_s]
    # What lies before the first label belongs to it.
    starts = [0.0, *(start for start, _ in found[1:])]
    return [
        Section(tier, next(known for known in ENERGIES if known == tier), start, end, 0.0)
        for start, end, (_, tier) in zip(starts, ends, found, strict=True)
    ]


def _label(path: Path, number: int, line: str) -> tuple[float, str]:
    parts = [part.strip() for part in line.replace(",", "\t").split("\t") if part.strip()]
    tier = parts[-1].lower()
    try:
        start_s = float(parts[0])
    except ValueError:
        start_s = -1.0
    if len(parts) not in {2, 3} or tier not in ENERGIES or not 0 <= start_s < float("inf"):
        raise UserError(f"{path}, line {number}: write start in seconds, tab, and calm, groove or peak.")
    return start_s, tier
