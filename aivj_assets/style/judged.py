"""What persons' verdicts change in what is published: presets that are left out, tags by label and verdict."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from aivj_assets.contracts.verdicts import QaMark
from aivj_assets.errors import UserError

MARK_TAG = "qa:bad"
_MAX_SLUG_CHARS = 60


def label_slug(label: str) -> str | None:
    """Return a label as it stands in a tag: words in lower case with '-' between them, in whatever script.

    None where a label has no letter or digit (a label of emoji alone).
    """
    plain = unicodedata.normalize("NFKC", label).casefold()
    # Marks belong to letters: in many scripts they are the vowels.
    parts = "".join(letter if unicodedata.category(letter)[0] in "LNM" else " " for letter in plain).split()
    words = [part for part in parts if any(letter.isalnum() for letter in part)]
    return "-".join(words)[:_MAX_SLUG_CHARS].rstrip("-") or None


@dataclass(frozen=True)
class Judgement:
    """What counts when a pack is published.

    `verdicts` and `labels` are by cluster id, `dropped` {presetId: why a person does not want it}; `bad` says whether
    presets of bad clusters are left out or marked.
    """

    bad: Literal["exclude", "mark"] = "exclude"
    verdicts: Mapping[str, QaMark] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)

    @property
    def excluded_clusters(self) -> set[str]:
        """Clusters whose presets are not published."""
        return {name for name, verdict in self.verdicts.items() if verdict == "bad"} if self.bad == "exclude" else set()

    def tags(self) -> dict[str, list[str]]:
        """Return {cluster id: tags of its entries beyond those that all have}."""
        found: dict[str, list[str]] = {}
        for name, label in self.labels.items():
            slug = label_slug(label) if label != name else None
            if slug is not None:
                found.setdefault(name, []).append(f"label:{slug}")
        for name, verdict in self.verdicts.items():
            if verdict == "bad" and self.bad == "mark":
                found.setdefault(name, []).append(MARK_TAG)
        return found

    def left_out(self, pack: str, clusters: Mapping[str, str]) -> dict[str, str]:
        """Return {presetId: why} of the presets {presetId: cluster id} of a pack that are not published.

        Raises `UserError` when that would be all of them.
        """
        bad = self.excluded_clusters
        out = {name: f"cluster {cluster} is bad" for name, cluster in clusters.items() if cluster in bad}
        out |= {name: why for name, why in self.dropped.items() if name in clusters}
        if clusters and len(out) == len(clusters):
            told = sorted(bad & set(clusters.values()))
            raise UserError(
                f"Pack '{pack}': nothing would be left to publish: all its presets are in bad clusters "
                f"({', '.join(told[:5])}{' ...' if len(told) > 5 else ''}) or blacklisted by a person. What is "
                'published stays as it is. Judge a cluster otherwise, or set {"qa": {"bad": "mark"}} in aivj-pack.json.'
            )
        return out
