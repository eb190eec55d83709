"""Metadata for Dagster's UI: small Markdown tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# The backslash too, or a name that ends in one would take the escape off the next character.
_ESCAPES = str.maketrans(
    {"\\": "\\\\", "&": "&amp;", "<": "&lt;", "|": "\\|", "[": "\\[", "`": "'", "\n": " ", "\r": " "}
)


def counts_table(heading: str, counts: Mapping[str, int]) -> str:
    """Return a Markdown table of counts, largest first; `none` when there are none."""
    if not counts:
        return "none"
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return markdown_table((heading, "count"), rows)


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table; cells are escaped so that preset names cannot break it."""
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    lines += [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return text.translate(_ESCAPES)
