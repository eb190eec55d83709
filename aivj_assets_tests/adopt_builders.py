"""A pack and the folder that an earlier tool made for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aivj_assets.contracts.clusters import cluster_id
from aivj_assets.layout import BatchDir, BatchKey, DataRoot
from aivj_assets_tests.builders import embeddings_meta, write_index, write_manifest

DIM = 12
NUMBERS = (0, 7, 12)
"""Cluster numbers that the earlier tool gave: not the first ones in a row."""


def style_rows(count: int, styles: int = len(NUMBERS), dim: int = DIM, seed: int = 5) -> npt.NDArray[np.float32]:
    """Return unit rows [count, dim] dealt in turn to `styles` directions."""
    noise = np.random.default_rng(seed).normal(scale=0.1, size=(count, dim))
    rows = np.eye(styles, dim)[np.arange(count) % styles] + noise
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@dataclass
class OldFolder:
    """What the earlier tool made; each part may be written again to test what is wrong with it."""

    root: DataRoot
    pack: str
    ids: list[str]
    place: BatchDir

    @property
    def path(self) -> Path:
        return self.place.path

    @property
    def rows(self) -> npt.NDArray[np.float32]:
        return style_rows(len(self.ids))

    @property
    def assignments(self) -> dict[str, str]:
        return {name: cluster_id(NUMBERS[number % len(NUMBERS)]) for number, name in enumerate(self.ids)}

    def write_rows(self, rows: npt.NDArray[Any] | None = None, ids: Sequence[str] | None = None) -> None:
        np.save(self.place.embeddings, self.rows if rows is None else rows)
        lines = self.ids if ids is None else ids
        self.place.embedding_ids.write_text("\n".join(lines), encoding="utf-8")

    def write_card(self, **more: Any) -> None:
        meta = embeddings_meta(len(self.ids), DIM, **more)
        self.place.embeddings_meta.write_text(json.dumps(meta.to_json()), encoding="utf-8")

    def write_clusters(self, assignments: Mapping[str, str] | None = None, **more: Any) -> None:
        content = {"version": "v0", "assignments": dict(assignments or self.assignments), **more}
        self.place.clusters.write_text(json.dumps(content), encoding="utf-8")

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.place.frames_index.read_text(encoding="utf-8").splitlines()]

    def write_lines(self, lines: Sequence[Mapping[str, Any]]) -> None:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        self.place.frames_index.write_text(text, encoding="utf-8")

    def frame(self, number: int = 0, capture: int = 0) -> Path:
        return self.path / self.lines()[number]["frames"][capture]


def write_old_folder(
    root: DataRoot, pack: str, parent: Path, count: int = 24, *, card: bool = True, **index: Any
) -> OldFolder:
    """Write a pack's manifest and presets below `root`, and the folder of the earlier tool below `parent`."""
    ids = [f"{pack}-p{number:03d}" for number in range(count)]
    write_manifest(root, pack, ids)
    place = write_index(DataRoot(parent), pack, ids, **index)
    old = OldFolder(root, pack, ids, place)
    old.write_rows()
    old.write_clusters()
    if card:
        old.write_card()
    return old


def key_of(old: OldFolder) -> BatchKey:
    """Return the batch that the folder is adopted as."""
    return BatchKey(old.pack)
