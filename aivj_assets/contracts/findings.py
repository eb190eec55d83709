"""What a check of an artifact found, as data: rooms make findings, whoever shows or enforces them reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One statement about an artifact: it holds or not, with the figures behind it in `detail`.

    A failed finding of severity "error" makes the artifact unfit for use; a "warning" is for a person to look at.
    """

    name: str
    passed: bool
    detail: str
    severity: Severity = "error"
    figures: Mapping[str, float] = field(default_factory=dict)
    """The figures of `detail` that are worth following over batches, by name with unit."""


def examples(names: list[str], limit: int = 3) -> str:
    """Return the first few of `names` for a message: `'a', 'b', 'c' and 4 more`."""
    shown = ", ".join(f"'{name}'" for name in names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown
