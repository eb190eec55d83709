"""Vectors of frames that were computed before, by the SHA-1 of the frame's file: progress of a run, cache of all runs.

A frame that is in two batches, or was rendered again with the same pixels, is computed once; a run that was killed goes
on where its last shard ended. A shard is one `.npz` file that is written whole and never changed, so several processes
may read and write beside each other, on a shared folder too. Whatever cannot be read is computed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aivj_assets.contracts.embeddings import ModelCard
from aivj_assets.errors import UserError
from aivj_assets.layout import replace_file, write_json_atomic

LIMIT_VARIABLE = "AIVJ_EMBEDDING_CACHE_GB"
DEFAULT_LIMIT_GB = 8.0
GB = 10**9
_CARD_NAME = "card.json"
_FLUSH_ROWS = 4096
_FLUSH_S = 15.0
_SHARD_BYTES = 32 * 2**20
_LOADED_BYTES = 256 * 2**20
_MANY_SHARDS = 32
# Of these fields the frames' vectors do not depend.
_POOLING_FIELDS = {"pretrained", "pooling", "max_frames_per_preset"}
_LEFTOVER_S = 3600.0

Vector = npt.NDArray[np.float32]
Digests = npt.NDArray[np.bytes_]


class FrameVectorCache:
    """Vectors float32 [d] of unit length by the 20 bytes of a frame's SHA-1, of one model card and precision."""

    def __init__(
        self,
        folder: Path,
        card: ModelCard,
        dtype: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        log: Callable[[str], None] | None = None,
    ) -> None:
        facts = {**card.model_dump(mode="json", exclude=_POOLING_FIELDS), "dtype": dtype}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = folder / digest
        self._facts = facts
        self._dim = card.dim
        self._clock = clock
        self._log = log
        self._told = False
        self._lock = threading.Lock()
        self._loaded: OrderedDict[int, npt.NDArray[np.float32]] = OrderedDict()
        self._new: dict[bytes, Vector] = {}
        self._flushed_at = clock()
        self._open()

    def _open(self) -> None:
        shards = sorted(self.folder.glob("*.npz"))
        if sum(_size_bytes(path) < _SHARD_BYTES // 2 for path in shards) > _MANY_SHARDS:
            # On a full disk the shards stay as they are.
            with suppress(OSError):
                self._merge(shards)
            shards = sorted(self.folder.glob("*.npz"))
        self._paths: list[Path] = []
        self._used: set[int] = set()
        self._keys: Digests = np.empty(0, "S20")
        self._places: npt.NDArray[np.int64] = np.empty((0, 2), np.int64)
        for path in shards:
            keys = _read_keys(path)
            if keys is not None:
                self._index(path, keys)

    def _index(self, path: Path, keys: Digests) -> None:
        places = np.stack([np.full(len(keys), len(self._paths)), np.arange(len(keys))], axis=1)
        self._paths.append(path)
        joined, places = np.concatenate([self._keys, keys]), np.concatenate([self._places, places])
        self._keys, first = np.unique(joined, return_index=True)
        self._places = places[first]

    def __len__(self) -> int:
        return len(self._keys) + len(self._new)

    def get(self, digests: Sequence[bytes]) -> dict[bytes, Vector]:
        """Return {digest: vector} of those that are known and sound. Thread-safe."""
        with self._lock:
            found = {digest: self._new[digest] for digest in digests if digest in self._new}
            wanted = np.array([digest for digest in set(digests) if digest not in found], dtype="S20")
            if not len(wanted) or not len(self._keys):
                return found
            at = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
            hits = np.flatnonzero(self._keys[at] == wanted)
            places = self._places[at[hits]]
            for shard in np.unique(places[:, 0]):
                vectors = self._vectors(int(shard))
                if vectors is None:
                    continue
                for hit, row in zip(hits[places[:, 0] == shard], places[places[:, 0] == shard, 1], strict=True):
                    vector = vectors[row]
                    if abs(float(np.linalg.norm(vector)) - 1) < 1e-3:
                        # NumPy drops zero bytes at the end of a string; a digest may end in one.
                        found[bytes(wanted[hit]).ljust(20, b"\0")] = vector
            return found

    def _vectors(self, shard: int) -> npt.NDArray[np.float32] | None:
        if shard in self._loaded:
            self._loaded.move_to_end(shard)
            return self._loaded[shard]
        vectors = _read_vectors(self._paths[shard], self._dim)
        if vectors is None:
            return None
        self._loaded[shard] = vectors
        while sum(part.nbytes for part in self._loaded.values()) > _LOADED_BYTES and len(self._loaded) > 1:
            self._loaded.popitem(last=False)
        if shard not in self._used:
            self._used.add(shard)
            _touch(self._paths[shard])
        return vectors

    def put(self, digest: bytes, vector: Vector) -> None:
        """Keep a frame's vector; it is on disk after at most 15 s or 4,096 more. Thread-safe."""
        with self._lock:
            self._new[digest] = vector
            due = len(self._new) >= _FLUSH_ROWS or self._clock() - self._flushed_at >= _FLUSH_S
        if due:
            self.flush()

    def flush(self) -> None:
        """Write what is new as one more shard. Where that cannot be, `log` is told once and it is tried again later.

        The batch does without: its rows do not need what is kept for other runs.
        """
        with self._lock:
            self._flushed_at = self._clock()
            if not self._new:
                return
            keys = np.array(list(self._new), dtype="S20")
            try:
                path = _write_shard(self.folder, self._facts, keys, np.stack(list(self._new.values())))
            except OSError as error:
                self._tell(error)
                if len(self._new) >= _FLUSH_ROWS:
                    self._new = {}
                return
            self._index(path, keys)
            self._used.add(len(self._paths) - 1)
            self._new = {}

    def _tell(self, error: OSError) -> None:
        if self._log is not None and not self._told:
            self._told = True
            self._log(
                f"The embedding cache {self.folder} cannot be written ({error.strerror or error}): vectors are not "
                "kept for the next run. Free space, mend the rights, or remove what is in its place."
            )

    def _merge(self, shards: Sequence[Path]) -> None:
        """Write small shards together: a run's flushes and runs that were killed leave many."""
        keys_of = {path: keys for path in shards if (keys := _read_keys(path)) is not None}
        rows_a_shard = max(1, _SHARD_BYTES // (4 * self._dim + 20))
        for group in _groups(keys_of, rows_a_shard):
            parts = {path: vectors for path in group if (vectors := _read_vectors(path, self._dim)) is not None}
            if len(parts) > 1:
                keys = np.concatenate([keys_of[path] for path in parts])
                _write_shard(self.folder, self._facts, keys, np.concatenate(list(parts.values())))
                for path in parts:
                    _remove(path)


def _groups(keys_of: Mapping[Path, Digests], rows: int) -> Iterator[list[Path]]:
    """Yield shards in groups of about `rows` rows; those that are large enough stay alone."""
    group: list[Path] = []
    count = 0
    for path, keys in keys_of.items():
        if len(keys) > rows // 2:
            continue
        group.append(path)
        count += len(keys)
        if count >= rows:
            yield group
            group, count = [], 0
    yield group


def _write_shard(folder: Path, facts: Mapping[str, object], keys: Digests, vectors: npt.NDArray[np.float32]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / _CARD_NAME).exists():
        write_json_atomic(folder / _CARD_NAME, facts)
    path = folder / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:8]}.npz"
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(file, sha1=keys, vectors=vectors)
            file.flush()
            os.fsync(file.fileno())
        replace_file(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _read_keys(path: Path) -> Digests | None:
    keys = _read(path, "sha1")
    if keys is None or (keys.dtype == "S20" and keys.ndim == 1):
        return keys
    _remove(path)
    return None


def _read_vectors(path: Path, dim: int) -> npt.NDArray[np.float32] | None:
    """Read a shard's vectors; None when it is damaged (zip keeps a checksum) or another process has removed it."""
    keys, vectors = _read(path, "sha1"), _read(path, "vectors")
    if keys is None or vectors is None or (vectors.dtype == np.float32 and vectors.shape == (len(keys), dim)):
        return vectors
    _remove(path)
    return None


def _read(path: Path, name: str) -> npt.NDArray[Any] | None:
    """Read an array of a shard; None when it cannot be. A damaged shard is removed, and else hides a sound one."""
    try:
        with np.load(path, allow_pickle=False) as shard:
            array: npt.NDArray[Any] = shard[name]
    except (OSError, MemoryError):
        # Of the machine, not of the shard: the next run may read it.
        return None
    except Exception:  # noqa: BLE001 - zip and NumPy answer a damaged file with a dozen types
        _remove(path)
        return None
    return array


def _touch(path: Path) -> None:
    """Note that a shard was used: the ones that were not for longest go first."""
    with suppress(OSError):
        os.utime(path)


def _remove(path: Path) -> int:
    """Remove a file and return its bytes; on Windows one that another process reads stays, and counts as 0."""
    size = _size_bytes(path)
    try:
        path.unlink()
    except OSError:
        return 0
    return size


def _size_bytes(path: Path) -> int:
    """Return a file's size; 0 for one that another process has just removed."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


@dataclass(frozen=True)
class CacheUsage:
    """What one model's part of the cache holds."""

    folder: Path
    model: str
    dtype: str
    frames: int
    size_bytes: int


def cache_usage(folder: Path) -> list[CacheUsage]:
    """Return what the cache holds, a line a model and precision, the largest first."""
    usages = []
    for part in _parts(folder):
        try:
            facts = json.loads((part / _CARD_NAME).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            facts = {}
        shards = list(part.glob("*.npz"))
        frames = sum(len(keys) for keys in map(_read_keys, shards) if keys is not None)
        size = sum(map(_size_bytes, shards))
        usages.append(CacheUsage(part, str(facts.get("model", "?")), str(facts.get("dtype", "?")), frames, size))
    return sorted(usages, key=lambda usage: -usage.size_bytes)


def trim_cache(folder: Path, limit_bytes: float, *, older_than_s: float = 0.0) -> int:
    """Remove the shards that were not used for longest until the cache is within its limit; returns bytes removed.

    Only shards last used more than `older_than_s` seconds ago are removed.
    """
    shards = []
    for path in _all_files(folder):
        try:
            stat = path.stat()
        except OSError:
            continue
        if path.suffix == ".tmp" and time.time() - stat.st_mtime < _LEFTOVER_S:
            # Another run writes it, most likely.
            continue
        shards.append((stat.st_mtime, stat.st_size, path))
    excess = sum(size for _, size, _ in shards) - limit_bytes
    removed = 0
    for used_at, _, path in sorted(shards, key=lambda shard: shard[0]):
        if removed >= excess or time.time() - used_at < older_than_s:
            break
        removed += _remove(path)
    for part in _parts(folder):
        if not any(path.name != _CARD_NAME for path in part.glob("*")):
            _remove(part / _CARD_NAME)
            with suppress(OSError):
                part.rmdir()
    return removed


def _parts(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_dir())


def _all_files(folder: Path) -> Iterable[Path]:
    return (path for part in _parts(folder) for path in part.glob("*") if path.name != _CARD_NAME)


def cache_limit_bytes(environ: Mapping[str, str]) -> float:
    """Return the cache's size limit: `AIVJ_EMBEDDING_CACHE_GB` (10⁹ bytes each), by default 8. 0 keeps nothing.

    Raises `UserError` when the variable is no number of 0 or more.
    """
    text = environ.get(LIMIT_VARIABLE, "").strip()
    try:
        limit = float(text) if text else DEFAULT_LIMIT_GB
    except ValueError:
        limit = -1.0
    if not 0 <= limit < float("inf"):
        raise UserError(f"{LIMIT_VARIABLE}={text} is no size; give the embedding cache's limit in GB, e.g. 8.")
    return limit * GB
