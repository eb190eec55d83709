"""`clusters.v0.json` and `centroids.npy`: which cluster each preset is in, and the clusters' centres."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from aivj_assets.contracts.base import ContractFile, ContractModel
from aivj_assets.errors import UserError
from aivj_assets.layout import write_bytes_atomic


def cluster_id(number: int) -> str:
    """Return `c` and two or more digits: c00, c07, c123."""
    return f"c{number:02d}"


class Cluster(ContractModel):
    """One cluster; `centroid` is its row in `centroids.npy`, `bornIn` the batch in which it first appeared."""

    id: str = Field(pattern=r"^c\d{2,}$")
    size: int = Field(ge=1)
    centroid: int = Field(ge=0)
    born_in: str
    label: str
    library_size: int | None = Field(None, description="presets of the cluster in the whole lineage")
    verdict: Literal["good", "mixed", "bad"] | None = Field(None, description="of a person, in published files")


class BatchLineage(ContractModel):
    """The lineage, and its version, that a batch's cluster ids are of; `k` and `presets` are the whole lineage's."""

    name: str
    version: int
    k: int
    presets: int


class Clusters(ContractFile):
    """The clusters that a batch has presets in, and the assignment of every embedded preset."""

    version: Literal["v0"] = "v0"
    k: int = Field(ge=1)
    seed: int
    strategy: str
    previous: str | None
    clusters: list[Cluster] = Field(min_length=1)
    assignments: dict[str, str]
    requested_k: int | None = None
    k_reason: str | None = None
    embeddings_sha256: str | None = None
    libraries: dict[str, str] | None = None
    lineage: BatchLineage | None = None

    @model_validator(mode="after")
    def _sizes_and_ids_agree(self) -> Self:
        sizes = Counter(self.assignments.values())
        declared = {cluster.id: cluster.size for cluster in self.clusters}
        if len(declared) != len(self.clusters) or dict(sizes) != declared:
            raise ValueError("cluster ids and sizes do not agree with the assignments")
        return self

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object; `previous` is written even when there is none."""
        return {**super().to_json(), "previous": self.previous}


def save_centroids(path: Path, centroids: npt.NDArray[np.float32]) -> None:
    """Write centroids float32 [k, d] in id order."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(centroids, dtype=np.float32), allow_pickle=False)
    write_bytes_atomic(path, buffer.getvalue())


def load_centroids(path: Path) -> npt.NDArray[np.float32]:
    """Read centroids float32 [k, d]; raises `UserError` when the file is missing or broken."""
    try:
        loaded: npt.NDArray[np.float32] = np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); materialise clusters again.") from None
    return loaded
