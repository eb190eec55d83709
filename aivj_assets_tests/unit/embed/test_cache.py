"""The cache of frame vectors: what was put in comes out, from whatever shard, and nothing else does."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import numpy as np
import pytest

from aivj_assets.contracts.embeddings import ModelCard, Preprocessing
from aivj_assets.embed.cache import GB, FrameVectorCache, cache_limit_bytes, cache_usage, trim_cache
from aivj_assets.errors import UserError

DIM = 6


def card(**more: object) -> ModelCard:
    preprocess = Preprocessing(size=8, interpolation="bicubic", mean=[0.5] * 3, std=[0.5] * 3)
    facts = {"model": "m", "pretrained": "p", "weights_sha256": "a" * 64, "preprocess": preprocess, "dim": DIM}
    return ModelCard.model_validate({**facts, "max_frames_per_preset": 3, **more})


def digest(number: int) -> bytes:
    return hashlib.sha1(str(number).encode()).digest()


def vector(number: int) -> np.ndarray:
    raw = np.random.default_rng(number).normal(size=DIM)
    return (raw / np.linalg.norm(raw)).astype(np.float32)


def filled(folder: Path, numbers: range, dtype: str = "float32") -> FrameVectorCache:
    cache = FrameVectorCache(folder, card(), dtype)
    for number in numbers:
        cache.put(digest(number), vector(number))
    cache.flush()
    return cache


def test_vectors_come_back_bit_for_bit_in_this_run_and_the_next(tmp_path: Path) -> None:
    cache = filled(tmp_path, range(50))
    cache.put(digest(50), vector(50))  # not flushed
    for reader, known in ((cache, 51), (FrameVectorCache(tmp_path, card(), "float32"), 50)):
        found = reader.get([digest(number) for number in range(60)])
        assert set(found) == {digest(number) for number in range(known)}
        assert len(reader) == known
        for number in range(known):
            np.testing.assert_array_equal(found[digest(number)], vector(number))


def test_a_digest_that_ends_in_zero_bytes_is_found(tmp_path: Path) -> None:
    odd = [b"\0" * 20, b"a" * 18 + b"\0\0", b"a" * 18 + b"\0b", b"a" * 20]
    cache = FrameVectorCache(tmp_path, card(), "float32")
    for number, key in enumerate(odd):
        cache.put(key, vector(number))
    cache.flush()
    found = FrameVectorCache(tmp_path, card(), "float32").get(odd)
    for number, key in enumerate(odd):
        np.testing.assert_array_equal(found[key], vector(number))


def test_another_model_or_precision_knows_nothing_of_it(tmp_path: Path) -> None:
    filled(tmp_path, range(3))
    keys = [digest(number) for number in range(3)]
    assert not FrameVectorCache(tmp_path, card(), "bfloat16").get(keys)
    assert not FrameVectorCache(tmp_path, card(weights_sha256="b" * 64), "float32").get(keys)
    assert not FrameVectorCache(tmp_path, card(activation="quick_gelu"), "float32").get(keys)
    # How frames are pooled, and what the weights are called, is nothing to a frame's vector.
    assert len(FrameVectorCache(tmp_path, card(max_frames_per_preset=1, pretrained="other"), "float32").get(keys)) == 3


def test_a_damaged_shard_is_computed_again_and_nothing_else(tmp_path: Path) -> None:
    filled(tmp_path, range(5))
    filled(tmp_path, range(5, 10))
    one, other = sorted(tmp_path.rglob("*.npz"))
    data = bytearray(one.read_bytes())
    at = max(data.find(vector(number).tobytes()) for number in (0, 5))
    data[at] ^= 0xFF  # a bit of a vector: the archive's checksum notices
    one.write_bytes(data)
    torn = other.with_name("torn.npz")
    torn.write_bytes(other.read_bytes()[:100])
    cache = FrameVectorCache(tmp_path, card(), "float32")
    found = cache.get([digest(number) for number in range(10)])
    assert len(found) == 5
    for key, value in found.items():
        number = next(number for number in range(10) if digest(number) == key)
        np.testing.assert_array_equal(value, vector(number))
    assert not torn.exists()


@pytest.mark.parametrize("kind", ["encrypted", "compressed", "shape", "keys"])
def test_a_shard_that_cannot_be_used_never_hides_a_sound_one(kind: str, tmp_path: Path) -> None:
    filled(tmp_path, range(5))
    (path,) = tmp_path.rglob("*.npz")
    sound = path.read_bytes()
    damaged = path.with_name("0-damaged.npz")  # read first
    if kind == "shape":
        np.savez(damaged, sha1=np.array([digest(number) for number in range(5)]), vectors=np.ones((5, DIM + 1)))
    elif kind == "keys":
        np.savez(damaged, sha1=np.arange(5), vectors=np.ones((5, DIM), np.float32))
    else:
        data = bytearray(sound)
        at = data.find(b"PK\x01\x02")
        # Bytes of the archive's directory: the flags, of which the first means encrypted, and the method.
        data[at + 8 if kind == "encrypted" else at + 10] |= 1 if kind == "encrypted" else 99
        damaged.write_bytes(data)
    keys = [digest(number) for number in range(5)]
    FrameVectorCache(tmp_path, card(), "float32").get(keys)
    assert not damaged.exists()
    assert len(FrameVectorCache(tmp_path, card(), "float32").get(keys)) == 5


def test_a_cache_that_cannot_be_written_is_told_once_and_done_without(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.write_text("somebody's notes")
    told: list[str] = []
    now = [0.0]
    cache = FrameVectorCache(folder, card(), "float32", clock=lambda: now[0], log=told.append)
    for number in range(4100):
        now[0] += 16 * (number % 500 == 0)
        cache.put(digest(number), vector(0))
    assert len(told) == 1
    assert str(folder) in told[0]
    # Nothing piles up in memory that no disk takes.
    assert len(cache) < 4096
    assert folder.read_text() == "somebody's notes"
    assert cache_usage(folder) == []
    assert trim_cache(folder, 0) == 0

    # Somebody frees the place meanwhile.
    folder.unlink()
    cache.put(digest(9000), vector(1))
    cache.flush()
    assert len(FrameVectorCache(folder, card(), "float32").get([digest(9000)])) == 1


def test_a_shard_that_another_run_is_writing_stays(tmp_path: Path) -> None:
    filled(tmp_path, range(3))
    (path,) = tmp_path.rglob("*.npz")
    young, old = path.with_name("young.tmp"), path.with_name("old.tmp")
    for leftover in (young, old):
        leftover.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    trim_cache(tmp_path, 0)
    assert [file.name for file in sorted(path.parent.iterdir())] == ["card.json", "young.tmp"]


def test_progress_is_on_disk_after_a_while_without_a_word(tmp_path: Path) -> None:
    now = [0.0]
    cache = FrameVectorCache(tmp_path, card(), "float32", clock=lambda: now[0])
    cache.put(digest(1), vector(1))
    assert not list(tmp_path.rglob("*.npz"))
    now[0] = 16.0
    cache.put(digest(2), vector(2))
    assert len(FrameVectorCache(tmp_path, card(), "float32").get([digest(1), digest(2)])) == 2


def test_many_small_shards_become_few(tmp_path: Path) -> None:
    for number in range(40):
        filled(tmp_path, range(number, number + 1))
    cache = FrameVectorCache(tmp_path, card(), "float32")
    assert len(list(tmp_path.rglob("*.npz"))) < 20
    found = cache.get([digest(number) for number in range(40)])
    for number in range(40):
        np.testing.assert_array_equal(found[digest(number)], vector(number))


def test_a_shard_that_another_process_removed_is_a_miss(tmp_path: Path) -> None:
    filled(tmp_path, range(3))
    cache = FrameVectorCache(tmp_path, card(), "float32")
    for path in tmp_path.rglob("*.npz"):
        path.unlink()
    assert cache.get([digest(1)]) == {}


def test_the_limit_takes_what_was_not_used_for_longest(tmp_path: Path) -> None:
    old, new = filled(tmp_path / "c", range(100), "float32"), filled(tmp_path / "c", range(100), "bfloat16")
    paths = [next(cache.folder.glob("*.npz")) for cache in (old, new)]
    for path, age_s in zip(paths, (2000, 1000), strict=True):
        os.utime(path, (time.time() - age_s,) * 2)
    size = paths[0].stat().st_size
    assert trim_cache(tmp_path / "c", 3 * size) == 0
    # Reading it makes it the one used last.
    assert FrameVectorCache(tmp_path / "c", card(), "float32").get([digest(1)])
    assert trim_cache(tmp_path / "c", 1.5 * size) > 0
    assert [path.exists() for path in paths] == [True, False]
    assert [(usage.dtype, usage.frames) for usage in cache_usage(tmp_path / "c")] == [("float32", 100)]
    assert trim_cache(tmp_path / "c", 0, older_than_s=3600) == 0
    assert trim_cache(tmp_path / "c", 0) == size
    assert cache_usage(tmp_path / "c") == []
    assert trim_cache(tmp_path / "nothing", 0) == 0


def test_the_limit_is_a_number_of_gigabytes() -> None:
    assert cache_limit_bytes({}) == 8 * GB
    assert cache_limit_bytes({"AIVJ_EMBEDDING_CACHE_GB": "0.5"}) == GB / 2
    for wrong in ("much", "-1", "nan", "inf"):
        with pytest.raises(UserError, match="in GB"):
            cache_limit_bytes({"AIVJ_EMBEDDING_CACHE_GB": wrong})
