"""The presets that a show can draw from, by energy and cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aivj_assets.contracts.show_log import selection_log_line
from aivj_assets.contracts.style import ENERGIES, Energy, StyleIndex


class PresetLibrary:
    """The entries of a style index that the app accepts, sorted by presetId; a number stands for each of them.

    An entry without presetId, authorKey or a legal energy is left out; of two with one presetId the first counts.
    """

    def __init__(
        self,
        entries: Iterable[tuple[str, str, Energy]],
        *,
        motion: Mapping[str, float] | None = None,
        quality_tiers: Mapping[str, str] | None = None,
    ) -> None:
        """Take (presetId, cluster, energy) of each preset; `motion` (0..1) and `quality_tiers` are for log lines."""
        known: dict[str, tuple[str, Energy]] = {}
        for preset_id, cluster, energy in entries:
            known.setdefault(preset_id, (cluster, energy))
        # As JavaScript sorts: by UTF-16 units.
        self.ids: list[str] = sorted(known, key=lambda name: name.encode("utf-16-be"))
        self.clusters: list[str] = [known[name][0] for name in self.ids]
        self.energies: list[Energy] = [known[name][1] for name in self.ids]
        self.numbers: dict[str, int] = {name: number for number, name in enumerate(self.ids)}
        self._motion = motion or {}
        self._quality_tiers = quality_tiers or {}

    @classmethod
    def of_index(
        cls,
        index: StyleIndex,
        *,
        motion: Mapping[str, float] | None = None,
        quality_tiers: Mapping[str, str] | None = None,
    ) -> PresetLibrary:
        """Return the library of a style index v1, whose `authorKey` is the cluster."""
        entries = ((entry.preset_id, entry.author_key, entry.energy) for entry in index.entries)
        return cls(entries, motion=motion, quality_tiers=quality_tiers)

    @classmethod
    def of_json(cls, index: Any) -> PresetLibrary:
        """Return the library of an index as parsed from JSON, leaving out what the app would drop; never raises."""
        listed = index.get("entries") if isinstance(index, Mapping) else None
        return cls(_legal_entries(listed if isinstance(listed, list) else []))

    def __len__(self) -> int:
        return len(self.ids)

    def log_line(self, preset_id: str) -> str:
        """Return the app's own one-line selection log of a pick."""
        return selection_log_line(
            preset_id, motion=self._motion.get(preset_id), quality_tier=self._quality_tiers.get(preset_id)
        )


def _legal_entries(listed: list[Any]) -> Iterable[tuple[str, str, Energy]]:
    for entry in listed:
        if not isinstance(entry, Mapping):
            continue
        preset_id, cluster, energy = entry.get("presetId"), entry.get("authorKey"), entry.get("energy")
        if not (isinstance(preset_id, str) and isinstance(cluster, str) and isinstance(energy, str)):
            continue
        if _is_name(preset_id) and _is_name(cluster) and energy in ENERGIES:
            yield preset_id, cluster, energy


def _is_name(text: str) -> bool:
    """Whether a text is there and can be written to a file: half of a surrogate pair cannot."""
    try:
        return bool(text.encode("utf-8"))
    except UnicodeEncodeError:
        return False
