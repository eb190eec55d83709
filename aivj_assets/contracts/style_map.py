"""`qa-samples/map/style-map.json` with `points.npy` and `ids.txt`: where each preset of a pack lies on its map."""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from aivj_assets.contracts.base import ContractFile, ContractModel
from aivj_assets.contracts.embeddings import read_embedding_ids
from aivj_assets.errors import UserError
from aivj_assets.layout import StyleMapSide, write_bytes_atomic


class StyleMapBatch(ContractModel):
    """A batch whose presets are on the map."""

    batch: str
    presets: int = Field(ge=0)


class StyleMapMovement(ContractModel):
    """How far presets moved that were on the map before, as fractions of its diagonal."""

    known: int = Field(ge=0)
    median_fraction: float = Field(ge=0)
    p95_fraction: float = Field(ge=0)


class StyleMap(ContractFile):
    """The facts of a map; `points.npy` float64 [n, 2] and `ids.txt` are in one order."""

    version: Literal["v0"] = "v0"
    generated_at: str
    pack: str
    lineage: str
    lineage_version: int
    batches: list[StyleMapBatch]
    left_out: dict[str, str] = Field(default_factory=dict, description="batches that are not on it: {batch: why}")
    presets: int = Field(ge=1)
    clusters: int = Field(ge=1)
    seed: int
    method: str
    begun_from: int = Field(description="presets that had a place on the map before")
    movement: StyleMapMovement | None = None
    rows_sha256: str = Field(description="over ids and embeddings: the same rows keep their places")
    digest: str = Field(description="over all that the page shows")
    without_picture: list[str] = Field(default_factory=list, description="presets whose picture cannot be read")
    page_bytes: int = Field(ge=0)
    side_bytes: int = Field(ge=0, description="sprite sheets and names beside the page")
    duration_s: float = Field(ge=0)


def save_points(folder: StyleMapSide, preset_ids: list[str], places: npt.NDArray[np.float64]) -> None:
    """Write `points.npy` float64 [n, 2] and `ids.txt`, one preset id a line in row order."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(places, dtype=np.float64), allow_pickle=False)
    write_bytes_atomic(folder.points, buffer.getvalue())
    write_bytes_atomic(folder.ids, "".join(f"{name}\n" for name in preset_ids).encode("utf-8"))


def load_points(folder: StyleMapSide) -> dict[str, tuple[float, float]]:
    """Read {presetId: place} of the last map; empty where there is none, or where its files do not go together."""
    try:
        places: npt.NDArray[Any] = np.load(folder.points, allow_pickle=False)
        ids = read_embedding_ids(folder.ids)
    except (OSError, EOFError, ValueError, UserError):
        return {}
    if places.shape != (len(ids), 2) or not np.isfinite(places).all():
        return {}
    return {name: (float(x), float(y)) for name, (x, y) in zip(ids, places, strict=True)}
