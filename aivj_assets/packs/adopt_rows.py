"""The rows, their model card and the clusters of a folder that an earlier tool made: checked and completed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from aivj_assets.contracts.adoption import AdoptedClusters, cluster_number, undeclared_card
from aivj_assets.contracts.base import first_problem
from aivj_assets.contracts.embeddings import EmbeddingsMeta, ModelCard, differing_fields
from aivj_assets.contracts.findings import examples
from aivj_assets.contracts.frames_index import FailedRecord, OkRecord
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir, sha256_file
from aivj_assets.packs.adopt_frames import read_bytes

Rows = npt.NDArray[np.float32]
_BLOCK_ROWS = 8192
# Rows that a model's float32 gives are within 1e-6.
_UNIT_TOLERANCE = 1e-5
_SHORTEST = 1e-12
_LOWEST_CENTROID_COSINE = 0.9


@dataclass(frozen=True)
class AdoptedRows:
    """Unit rows float32 [n, d] with their preset ids, and the card in its circumstances."""

    vectors: Rows
    preset_ids: list[str]
    meta: EmbeddingsMeta
    no_model: str = ""
    """Why the card is no model's; empty where it is one's."""


def read_ids(path: Path) -> list[str]:
    """Return the ids of `ids.txt`, one a line, with or without a last line end; raises `UserError`."""
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no UTF-8 text ({error.reason} at byte {error.start}).") from None
    lines = text.replace("\r\n", "\n").split("\n")
    return lines[:-1] if not lines[-1] else lines


def read_rows(path: Path, ids_path: Path, ids: Sequence[str], notes: list[str]) -> Rows:
    """Return the rows float32 [n, d] of unit length; those stored in another length are normalised, and told.

    Raises `UserError` for an array of another form, and for rows that are not finite or all zero.
    """
    try:
        stored: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{path} cannot be read as an array ({error}).") from None
    if not isinstance(stored, np.ndarray) or stored.ndim != 2 or stored.dtype.kind != "f" or not stored.size:
        raise UserError(f"{path} is no array of floats [presets, dimensions].")
    if len(stored) != len(ids):
        raise UserError(
            f"{path} has {len(stored)} rows, {ids_path} {len(ids)} ids: the two must be of one embedding; name an id "
            "for each row, in the order of the rows."
        )
    rows = np.empty(stored.shape, dtype=np.float32)
    broken: list[str] = []
    normalised, farthest = 0, 1.0
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = np.array(stored[start : start + _BLOCK_ROWS], dtype=np.float64)
        lengths = np.linalg.norm(block, axis=1)
        bad = ~(np.isfinite(lengths) & (lengths > _SHORTEST))
        broken += [ids[start + place] for place in np.flatnonzero(bad).tolist()]
        off = ~bad & (np.abs(lengths - 1) > _UNIT_TOLERANCE)
        normalised += int(off.sum())
        if off.any():
            farthest = max([farthest, *lengths[off].tolist()], key=lambda length: abs(length - 1))
        block[off] /= lengths[off, None]
        rows[start : start + _BLOCK_ROWS] = block
    if broken:
        raise UserError(
            f"{path}: the rows of {len(broken)} presets are zero or not finite ({examples(broken)}): embed these "
            "presets again, or take them out of both files and say why in leftOut of embeddings.meta.json."
        )
    if normalised:
        notes.append(f"{normalised} of {len(rows)} rows were not of unit length (up to {farthest:.4g}): normalised")
    return rows


def check_ids(
    path: Path, ids: Sequence[str], records: Mapping[str, OkRecord | FailedRecord], reasons: Mapping[str, str]
) -> None:
    """Raise `UserError` unless each ok preset has one row, or a reason why it has none, and no other preset has one."""
    twice = [name for name, count in Counter(ids).items() if count > 1]
    ok = [name for name, record in records.items() if isinstance(record, OkRecord)]
    there, ok_ids = set(ids), set(ok)
    foreign = [name for name in ids if name not in ok_ids]
    missing = [name for name in ok if name not in there and not reasons.get(name)]
    for names, what in (
        (twice, "has {} ids more than once: keep one row of each"),
        (foreign, "has {} ids that are no ok presets of frames-index.jsonl: take their rows out of both files"),
        (
            missing,
            "lacks {} ok presets of frames-index.jsonl: embed them, or tell in leftOut of embeddings.meta.json why not",
        ),
    ):
        if names:
            raise UserError(f"{path} {what.format(len(names))} ({examples(names)}).")


def read_meta(path: Path) -> dict[str, Any]:
    """Return the JSON object of `embeddings.meta.json`, empty where there is none; raises `UserError`."""
    if not path.exists():
        return {}
    try:
        content = json.loads(read_bytes(path).decode("utf-8-sig"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is no JSON object.")
    return content


def card_in(content: Mapping[str, Any]) -> tuple[ModelCard | None, str]:
    """Return the model card in a file's content, or None and what is missing."""
    names = [info.alias or name for name, info in ModelCard.model_fields.items()]
    try:
        return ModelCard.model_validate({name: content[name] for name in names if name in content}), ""
    except ValidationError as error:
        return None, first_problem(error)


def settle_card(
    folder: BatchDir,
    content: Mapping[str, Any],
    rows: Rows,
    *,
    declared: Path | None,
    frames: int,
) -> tuple[ModelCard, str]:
    """Return the rows' card and why it is no model's, if so.

    It is the folder's, else the one of a file that a person names, else one of no model. `frames`
    is the most that a preset has. Raises `UserError` for a card of other rows, or two that differ.
    """
    own, missing = card_in(content)
    path, card, why = folder.embeddings_meta, own, ""
    if declared is not None:
        named, problem = card_in(read_meta(declared) if declared.exists() else {})
        if named is None:
            what = problem if declared.exists() else "there is no such file"
            raise UserError(
                f"--card {declared} holds no model card ({what}): name the embeddings.meta.json of a batch that was "
                "embedded with the model of the rows."
            )
        if own is not None and own != named:
            raise UserError(
                f"{path} says {own.name}, --card {declared} says {named.name} "
                f"(different: {', '.join(differing_fields(own, named))}): leave --card away, or mend the folder's."
            )
        path, card = declared, named
    if card is None:
        card = undeclared_card(rows, frames)
        why = f"{path.name} is no complete model card ({missing})" if content else f"there is no {path.name}"
    if card.dim != rows.shape[1]:
        raise UserError(f"{path} says {card.dim} dimensions, {folder.embeddings} has {rows.shape[1]}.")
    return card, why


def reasons_in(content: Mapping[str, Any]) -> dict[str, str]:
    """Return {presetId: why it has no row} of `embeddings.meta.json`."""
    reasons = content.get("leftOut")
    return {str(name): str(why) for name, why in reasons.items()} if isinstance(reasons, dict) else {}


def embeddings_meta(
    content: Mapping[str, Any],
    card: ModelCard,
    ids: Sequence[str],
    records: Mapping[str, OkRecord | FailedRecord],
    *,
    note: str,
) -> EmbeddingsMeta:
    """Return the card in the circumstances of the adopted batch; what `content` tells of them is kept.

    The digest of the index that the rows are of is still empty.
    """
    frames = sum(
        min(len(record.frames), card.max_frames_per_preset)
        for name in ids
        if isinstance(record := records[name], OkRecord)
    )
    there = set(ids)
    latest = max(record.at for record in records.values())
    known = {
        "generatedAt": latest,
        "dtype": "float32",
        "device": "unknown",
        "libraries": {},
        "durationS": 0.0,
        "note": note,
    }
    mine = {
        **card.to_json(),
        "version": "v0",
        "count": len(ids),
        "frames": frames,
        "framesIndexSha256": "",
        "framesState": None,
        "leftOut": {name: why for name, why in reasons_in(content).items() if name not in there},
    }
    try:
        return EmbeddingsMeta.model_validate({**known, **content, **mine})
    except ValidationError:
        # Its circumstances are told in another form; the card is what counts.
        return EmbeddingsMeta.model_validate({**known, **mine})


def read_clusters(folder: BatchDir, ids: Sequence[str], notes: list[str]) -> AdoptedClusters:
    """Return the folder's clusters; raises `UserError` unless they cover exactly the embedded presets, by legal ids."""
    path = folder.clusters
    made = AdoptedClusters.load(path)
    sizes = Counter(made.assignments.values())
    declared = [cluster.id for cluster in made.clusters]
    illegal = sorted(name for name in {*sizes, *declared} if cluster_number(name) is None)
    if illegal:
        raise UserError(f"{path}: {examples(illegal)} cannot be cluster ids: an id is c and two or more digits, c07.")
    there = set(ids)
    for names, what in (
        (sorted(there - made.assignments.keys()), "no cluster for {} embedded presets"),
        (sorted(made.assignments.keys() - there), "{} presets that have no row in ids.txt"),
        (sorted(sizes.keys() - set(declared)) if declared else [], "{} ids in its assignments that it does not list"),
        (sorted(name for name, count in Counter(declared).items() if count > 1), "{} ids more than once"),
        (
            [cluster.id for cluster in made.clusters if cluster.size not in (None, sizes[cluster.id])],
            "{} clusters whose size is not that of the assignments",
        ),
    ):
        if names:
            raise UserError(
                f"{path} has {what.format(len(names))} ({examples(names)}): take the file that was made with this "
                "embeddings.npy, or mend it."
            )
    if made.embeddings_sha256 is not None and made.embeddings_sha256 != sha256_file(folder.embeddings):
        raise UserError(
            f"{path} was made from another embeddings.npy than the one beside it (embeddingsSha256 differs): take "
            "both from one run, or remove that field when only the file's form has changed."
        )
    empty = [name for name in declared if not sizes[name]]
    if empty:
        notes.append(f"{len(empty)} clusters have no preset and are retired ({examples(empty)})")
    return made


def check_centroids(folder: BatchDir, made: AdoptedClusters, ids: Sequence[str], rows: Rows, notes: list[str]) -> None:
    """Hold `centroids.npy`, where there is one, against the rows; the lineage's are the directions of their sums.

    Raises `UserError` for one of another form; a centroid that is far from its presets is told.
    """
    if not folder.centroids.exists():
        return
    try:
        stored: npt.NDArray[Any] = np.load(folder.centroids, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{folder.centroids} cannot be read as an array ({error}); it may be left away.") from None
    listed = made.clusters or []
    names = [one.id for one in sorted(listed, key=lambda one: (one.centroid or 0, one.id))] or sorted(
        set(made.assignments.values()), key=lambda name: cluster_number(name) or 0
    )
    wanted = (len(names), rows.shape[1])
    if not isinstance(stored, np.ndarray) or stored.shape != wanted or not np.isfinite(stored).all():
        raise UserError(
            f"{folder.centroids} is no finite array {list(wanted)} (a row for each cluster); it may be left away."
        )
    place = {name: row for row, name in enumerate(names)}
    sums = np.zeros(wanted, dtype=np.float64)
    np.add.at(sums, [place[made.assignments[name]] for name in ids], rows)
    lengths = np.linalg.norm(sums, axis=1) * np.linalg.norm(stored.astype(np.float64), axis=1)
    held = np.flatnonzero(lengths > 0)
    cosines = np.einsum("ij,ij->i", sums[held], stored[held].astype(np.float64)) / lengths[held]
    if len(held) and cosines.min() < _LOWEST_CENTROID_COSINE:
        far = names[int(held[cosines.argmin()])]
        notes.append(
            f"centroids.npy: that of {far} has a cosine of {cosines.min():.3f} with the mean of its presets, which "
            "takes its place"
        )
