"""Taking in what an earlier tool made: `adoption.json` says from where; that tool's cluster file, read tolerantly."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from aivj_assets.contracts.base import ContractFile, ContractModel
from aivj_assets.contracts.clusters import cluster_id
from aivj_assets.contracts.embeddings import ModelCard, Preprocessing
from aivj_assets.layout import BatchDir

ADOPTION_NAME = "adoption.json"
NOT_ADOPTED = "not-adopted"
"""Reason of a preset of the manifest that the adopted index has no line of."""
UNDECLARED_MODEL = "adopted"
_NOT_DECLARED = "model not named: aivj adopt PACK --from FOLDER --embedder NAME names it"
_LONGEST_NUMBER = 9  # digits


class Adoption(ContractFile):
    """`adoption.json` in a batch's folder: the files there are an earlier tool's, not rendered or embedded here.

    Written before anything else of the adoption, so that a repeated one knows what it goes on with.
    """

    version: Literal["v0"] = "v0"
    batch: str
    adopted_from: str = Field(description="the folder's name")
    adopted_at: str
    reason: str | None = None
    source_sha256: dict[str, str] = Field(description="of the folder's files, by name")
    index_sha256: str = Field(description="of the batch's frames-index.jsonl")
    fingerprint: str
    model: str
    notes: list[str] = Field(default_factory=list)

    @staticmethod
    def path_in(folder: BatchDir) -> Path:
        """Return where a batch's record lies."""
        return folder.path / ADOPTION_NAME

    @classmethod
    def of(cls, folder: BatchDir) -> Self | None:
        """Read a batch's record; None when it was never adopted. Raises `UserError` when the file is malformed."""
        path = cls.path_in(folder)
        return cls.load(path) if path.exists() else None


class AdoptedCluster(ContractModel):
    """A cluster as an earlier tool tells of it; only its id is needed."""

    id: str
    size: int | None = None
    centroid: int | None = None
    born_in: str | None = None
    label: str | None = None


class AdoptedClusters(ContractFile):
    """`clusters.v0.json` of an earlier tool: the assignments are needed, the rest is taken where it is there."""

    version: Literal["v0"] = "v0"
    assignments: dict[str, str] = Field(min_length=1)
    clusters: list[AdoptedCluster] = Field(default_factory=list)
    k: int | None = None
    seed: int | None = Field(None, ge=0)
    strategy: str | None = None
    requested_k: int | None = Field(None, ge=1)
    k_reason: str | None = None
    embeddings_sha256: str | None = None


def cluster_number(name: str) -> int | None:
    """Return the number of a legal cluster id (`c07` is 7); None when it is none, or not the way it is written."""
    if not re.fullmatch(r"c[0-9]{2,}", name) or len(name) > 1 + _LONGEST_NUMBER:
        return None
    number = int(name[1:])
    return number if cluster_id(number) == name else None


def undeclared_card(rows: npt.NDArray[np.float32], max_frames_per_preset: int) -> ModelCard:
    """Return the card of rows [n, d] whose model nobody named: a hash over them, so that it is no real model's."""
    digest = hashlib.sha256(f"adopted rows {rows.shape}\n".encode())
    digest.update(np.ascontiguousarray(rows, dtype="<f4").data)
    return ModelCard(
        model=UNDECLARED_MODEL,
        pretrained=_NOT_DECLARED,
        weights_sha256=digest.hexdigest(),
        preprocess=Preprocessing(size=0, interpolation="unknown", mean=[], std=[]),
        dim=int(rows.shape[1]),
        pooling="unknown",
        max_frames_per_preset=max_frames_per_preset,
    )


def is_undeclared(card: ModelCard) -> bool:
    """Whether a card stands for adopted rows whose model nobody named."""
    return card.model == UNDECLARED_MODEL and card.pretrained == _NOT_DECLARED
