"""`embeddings.npy`, `ids.txt` and `embeddings.meta.json`: one unit vector a preset."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from aivj_assets.contracts.base import ContractFile, ContractModel
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir, replace_file, write_bytes_atomic, write_text_atomic

_RESERVED_ROWS = 1024


class Preprocessing(ContractModel):
    """How an image becomes the model's input."""

    size: int
    """Height and width in pixels."""
    interpolation: str
    resize_mode: str | None = None
    """What becomes of an image that is no square: `shortest` (cropped), `longest` (padded) or `squash`."""
    mean: list[float]
    std: list[float]


class ModelCard(ContractModel):
    """What decides an embedding's numbers; rows of two different cards never mix."""

    model: str
    pretrained: str
    weights_sha256: str
    activation: str | None = Field(None, description="`quick_gelu` where weights need it, or rows differ")
    features: str | None = Field(None, description="which of the network's outputs, where it is not the usual one")
    preprocess: Preprocessing
    dim: int = Field(ge=1)
    pooling: str = "normalise(mean(normalise(frame)))"
    max_frames_per_preset: int = Field(ge=1)

    @property
    def name(self) -> str:
        """The card in a few words, for a person: model, weights, frames a preset."""
        frames = f"{self.max_frames_per_preset} frame{'s' if self.max_frames_per_preset > 1 else ''}"
        return f"{self.model} ({self.pretrained}, weights {self.weights_sha256[:8]}, {frames} a preset)"


def differing_fields(one: ModelCard, other: ModelCard) -> dict[str, tuple[Any, Any]]:
    """Return {field: (its value in one, in the other)} where two cards differ, by the names in the file."""
    left, right = one.to_json(), other.to_json()
    names = [*left, *(name for name in right if name not in left)]
    return {name: (left.get(name), right.get(name)) for name in names if left.get(name) != right.get(name)}


def require_same_card(cards: Mapping[str, ModelCard], advice: str) -> None:
    """Raise `UserError` unless all cards are equal, naming the first two that differ; rows of two cards never mix.

    `cards` is {what carries the card: card}, in the order in which they are compared with the first.
    """
    items = list(cards.items())
    for name, card in items[1:]:
        first_name, first = items[0]
        if card != first:
            fields = ", ".join(differing_fields(first, card))
            raise UserError(
                f"Embeddings of two models never mix: {first_name} is {first.name}, {name} is {card.name} "
                f"(different: {fields}); {advice}"
            )


class Precision(ContractModel):
    """In which precision the model ran, why, and how well its vectors agree with those of float32."""

    dtype: str
    """`float32`, `bfloat16` or `float16`."""
    reason: str
    cosine_to_float32: float | None = Field(None, description="the lowest over `sampleFrames` real frames")
    sample_frames: int | None = None

    @property
    def summary(self) -> str:
        """All of it in a few words, for a person."""
        cosine = "" if self.cosine_to_float32 is None else f", cosine to float32 {self.cosine_to_float32:.6f}"
        return f"{self.dtype} ({self.reason}{cosine})"


class EmbeddingsMeta(ContractFile, ModelCard):
    """The model card with the circumstances of one batch."""

    version: Literal["v0"] = "v0"
    generated_at: str
    count: int = Field(description="rows")
    frames: int = Field(description="frames that the rows are means over")
    dtype: str
    precision: Precision | None = None
    device: str
    libraries: dict[str, str]
    duration_s: float
    images_per_s: float | None = Field(None, description="`computedFrames` / `durationS`; without loading the model")
    computed_frames: int | None = Field(None, description="frames whose vectors were not known yet")
    frames_index_sha256: str
    frames_sha256: str | None = Field(None, description="over the SHA-1 of every frame's file, in row order")
    frames_state: str | None = Field(None, description="over the frames' names, sizes and times: a quick look")
    left_out: dict[str, str] = Field(default_factory=dict, description="ok presets without a row: {presetId: why}")
    note: str | None = Field(None, description="e.g. why the offline model was taken")

    @property
    def card(self) -> ModelCard:
        """The part that decides the numbers."""
        return ModelCard.model_validate({name: getattr(self, name) for name in ModelCard.model_fields})


@dataclass(frozen=True)
class Embeddings:
    """Vectors float32 [n, d] with rows of unit length, their preset ids in row order, and the card."""

    vectors: npt.NDArray[np.float32]
    preset_ids: list[str]
    meta: EmbeddingsMeta


class EmbeddingsWriter:
    """Writes the three files of a batch row by row; nothing is seen until `commit`, and memory does not grow.

    The rows go through a file, not a map: a full disk is then an `OSError` at the start, where a map would end the
    process without a word, and rows that were written do not count as memory. Use as a context manager: what is not
    committed is removed, and so is what a killed run left behind (whoever writes holds the batch's lock).
    """

    def __init__(self, folder: BatchDir, rows: int, dim: int) -> None:
        self._folder = folder
        self._shape = rows, dim
        folder.path.mkdir(parents=True, exist_ok=True)
        for left in self._temporaries():
            left.unlink(missing_ok=True)
        self._path = self._fresh_name()
        self._file = self._path.open("w+b")
        try:
            self._rows_at = _write_header(self._file, rows, dim)
            for start in range(0, rows, _RESERVED_ROWS):
                self._file.write(bytes(min(_RESERVED_ROWS, rows - start) * dim * 4))
            self._file.flush()
        except OSError:
            self.__exit__()
            raise

    def _temporaries(self) -> list[Path]:
        return sorted(self._folder.path.glob(f".{self._folder.embeddings.name}.*.tmp"))

    def _fresh_name(self) -> Path:
        return self._folder.embeddings.with_name(f".{self._folder.embeddings.name}.{uuid.uuid4().hex[:8]}.tmp")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # What is left unwritten here is removed with the file.
        with suppress(OSError):
            self._file.close()
        for left in self._temporaries():
            left.unlink(missing_ok=True)

    def write(self, row: int, vector: npt.NDArray[np.floating]) -> None:
        """Set a row, a vector [d] of unit length."""
        rows, dim = self._shape
        if not 0 <= row < rows or vector.shape != (dim,):
            raise ValueError(f"row {row} of shape {vector.shape} has no place among {rows} rows of ({dim},)")
        self._file.seek(self._rows_at + row * dim * 4)
        self._file.write(vector.astype("<f4").tobytes())

    def _read(self, row: int) -> bytes:
        self._file.seek(self._rows_at + row * self._shape[1] * 4)
        return self._file.read(self._shape[1] * 4)

    def commit(self, kept: Sequence[int], preset_ids: Sequence[str], meta: EmbeddingsMeta) -> None:
        """Put the rows `kept`, in that order, in their place, the card last: without a card there are none.

        Raises `UserError` when another program holds the file that is replaced (Windows); it then stays as it is.
        """
        rows, dim = self._shape
        if list(kept) != list(range(rows)):
            packed = self._fresh_name()
            with packed.open("wb") as target:
                _write_header(target, len(kept), dim)
                target.writelines(self._read(row) for row in kept)
            self._file.close()
            self._path, self._file = packed, packed.open("rb+")
        self._file.flush()
        os.fsync(self._file.fileno())
        # Windows renames no file that is open.
        self._file.close()
        self._replace()
        write_text_atomic(self._folder.embedding_ids, "".join(f"{preset_id}\n" for preset_id in preset_ids))
        meta.save(self._folder.embeddings_meta)

    def _replace(self) -> None:
        target, card = self._folder.embeddings, self._folder.embeddings_meta
        old_card = card.read_bytes() if card.exists() else None
        card.unlink(missing_ok=True)
        try:
            replace_file(self._path, target)
        except PermissionError as error:
            if old_card is not None:
                write_bytes_atomic(card, old_card)
            raise UserError(
                f"{target} cannot be replaced ({error.strerror}): close the programs that have it open, e.g. a "
                "notebook, or mend its rights, then run again."
            ) from None


def _write_header(file: BinaryIO, rows: int, dim: int) -> int:
    """Write the head of an `.npy` file of float32 [rows, dim]; returns where its rows begin."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, dim)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.tell()


def save_embeddings(folder: BatchDir, embeddings: Embeddings) -> None:
    """Write the three files of rows that are in memory."""
    vectors = np.ascontiguousarray(embeddings.vectors, dtype=np.float32)
    with EmbeddingsWriter(folder, *vectors.shape) as writer:
        for row, vector in enumerate(vectors):
            writer.write(row, vector)
        writer.commit(range(len(vectors)), embeddings.preset_ids, embeddings.meta)


def read_embedding_ids(path: Path) -> list[str]:
    """Read `ids.txt`; a line is an id, whatever characters it holds. Raises `UserError` when it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8").split("\n")[:-1]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); materialise embeddings again.") from None


def load_embeddings(folder: BatchDir) -> Embeddings:
    """Read the three files (vectors memory-mapped); raises `UserError` when they are missing or disagree."""
    meta = EmbeddingsMeta.load(folder.embeddings_meta)
    try:
        vectors: npt.NDArray[Any] = np.load(folder.embeddings, mmap_mode="r", allow_pickle=False)
        preset_ids = read_embedding_ids(folder.embedding_ids)
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{folder.embeddings} cannot be read ({error}); materialise embeddings again.") from None
    if vectors.shape != (len(preset_ids), meta.dim) or vectors.dtype != np.float32:
        raise UserError(
            f"{folder.embeddings} is {vectors.dtype} {vectors.shape}, but ids.txt and the card say "
            f"float32 ({len(preset_ids)}, {meta.dim}); materialise embeddings again."
        )
    return Embeddings(vectors, preset_ids, meta)
