"""Nothing is computed twice: a run that was killed goes on, known frames are taken from before, whatever batch."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from aivj_assets.contracts.embeddings import load_embeddings
from aivj_assets.contracts.frames_index import FailedRecord, OkRecord, write_records
from aivj_assets.contracts.progress import WorkProgress
from aivj_assets.embed.batch import require_embedding, update_embeddings
from aivj_assets.embed.cache import FrameVectorCache
from aivj_assets.embed.choose import EmbedderChoice
from aivj_assets.embed.embed import embed_batch
from aivj_assets.embed.model import TorchModel
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir
from aivj_assets_tests.embedding_builders import ORDER, TINY_NAME, add_preset, embed, picture, source_of

FRAMES = 19
"""Of the nine presets of the batch, at most three each."""


@dataclasses.dataclass
class Counting:
    """A model that counts the images it has seen, and stops after so many."""

    inner: TorchModel
    most: int = 10**9
    seen: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def images_a_pass(self, batch_size: int) -> int:
        return min(batch_size, 4)

    @property
    def passes_at_once(self) -> int:
        return 1

    def encode(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        if self.seen + len(images) > self.most:
            raise KeyboardInterrupt
        self.seen += len(images)
        return self.inner.encode(images)


@pytest.fixture
def cache_dir(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def open_cache(folder: Path, model: TorchModel) -> FrameVectorCache:
    return FrameVectorCache(folder, model.card, model.dtype)


def test_an_interrupted_run_goes_on_where_it_was(
    batch: BatchDir, records: dict[str, Any], tiny: TorchModel, cache_dir: Path
) -> None:
    expected = np.array(embed(batch, records, tiny).vectors)
    before = batch.embeddings.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        embed(batch, records, Counting(tiny, most=10), cache=open_cache(cache_dir, tiny))
    # What was there stays whole, and no half-written file lies about.
    assert batch.embeddings.read_bytes() == before
    assert not list(batch.path.glob(".*.tmp"))

    rest = Counting(tiny)
    result = embed(batch, records, rest, cache=open_cache(cache_dir, tiny))
    assert 0 < rest.seen <= FRAMES - 4
    assert result.meta.computed_frames == rest.seen
    np.testing.assert_allclose(result.vectors, expected, atol=1e-5)

    again = Counting(tiny)
    first = batch.embeddings.read_bytes()
    embed(batch, records, again, cache=open_cache(cache_dir, tiny))
    assert again.seen == 0
    assert batch.embeddings.read_bytes() == first


def test_only_frames_that_changed_are_computed(
    batch: BatchDir, records: dict[str, Any], tiny: TorchModel, cache_dir: Path
) -> None:
    embed(batch, records, tiny, cache=open_cache(cache_dir, tiny))
    for number in (2, 3):
        path = batch.path / records[f"preset-{number}"].frames[0]
        picture(900 + number).save(path)
    same = batch.path / records["preset-4"].frames[0]
    same.write_bytes(same.read_bytes())  # rendered again with the same pixels
    counting = Counting(tiny)
    result = embed(batch, records, counting, cache=open_cache(cache_dir, tiny))
    assert counting.seen == 2
    np.testing.assert_allclose(result.vectors, embed(batch, records, tiny).vectors, atol=1e-5)


def test_frames_of_two_batches_and_of_two_presets_are_computed_once(
    batch: BatchDir, records: dict[str, Any], tiny: TorchModel, cache_dir: Path, tmp_path: Path
) -> None:
    twins: dict[str, OkRecord | FailedRecord] = {
        name: add_preset(batch, name, [1, 2, 3]) for name in ("preset-0", "preset-1", "preset-2")
    }
    counting = Counting(tiny)
    result = embed(batch, twins, counting, cache=open_cache(cache_dir, tiny))
    assert counting.seen == 3
    np.testing.assert_array_equal(result.vectors[0], result.vectors[1])
    np.testing.assert_array_equal(result.vectors[0], result.vectors[2])

    other = BatchDir(tmp_path / "other")
    moved = {"preset-5": add_preset(other, "preset-5", [3, 1])}
    counting = Counting(tiny)
    embed(other, moved, counting, cache=open_cache(cache_dir, tiny))
    assert counting.seen == 0


def test_shuffled_presets_have_the_same_rows(
    batch: BatchDir, records: dict[str, Any], tiny: TorchModel, cache_dir: Path
) -> None:
    straight = embed(batch, records, tiny, batch_size=3)
    rows = dict(zip(straight.preset_ids, np.array(straight.vectors), strict=True))
    source = source_of(batch, records)
    mixed = dataclasses.replace(source, records=[source.records[number] for number in (7, 1, 8, 0, 3, 5, 2, 6, 4)])
    shuffled = embed_batch(mixed, tiny, cache=open_cache(cache_dir, tiny))
    assert shuffled.preset_ids != straight.preset_ids
    for preset_id, row in zip(shuffled.preset_ids, shuffled.vectors, strict=True):
        np.testing.assert_allclose(row, rows[preset_id], atol=1e-5)


def update(batch: BatchDir, records: dict[str, Any], checkpoint: Path, cache_dir: Path, **more: Any) -> Any:
    told: list[str] = []
    made, kept = update_embeddings(
        source_of(batch, records), EmbedderChoice(TINY_NAME, str(checkpoint)), more.pop("environ", {}),
        cache_dir=cache_dir, device="cpu", log=told.append, **more,
    )  # fmt: skip
    return made, kept, told


def test_running_again_with_nothing_new_keeps_the_files(
    batch: BatchDir, records: dict[str, Any], checkpoint: Path, cache_dir: Path
) -> None:
    made, kept, told = update(batch, records, checkpoint, cache_dir)
    assert not kept
    assert f"{FRAMES} frames computed, 0 known already" in told
    assert made.meta.precision is not None
    files = (batch.embeddings, batch.embedding_ids, batch.embeddings_meta)
    before = [path.read_bytes() for path in files]
    assert update(batch, records, checkpoint, cache_dir)[1]
    assert [path.read_bytes() for path in files] == before
    assert not batch.embedding_progress.exists()

    # Touched, not changed: nothing is computed, the rows are the same bytes.
    os.utime(batch.path / records["preset-4"].frames[0], (1, 1))
    made, kept, _ = update(batch, records, checkpoint, cache_dir)
    assert (kept, made.meta.computed_frames) == (False, 0)
    assert batch.embeddings.read_bytes() == before[0]


def test_bfloat16_weights_agree_and_are_recorded(
    batch: BatchDir, records: dict[str, Any], checkpoint: Path, cache_dir: Path
) -> None:
    exact = np.array(update(batch, records, checkpoint, cache_dir)[0].vectors)
    made, kept, told = update(batch, records, checkpoint, cache_dir, precision="bfloat16")
    assert not kept
    found = made.meta.precision
    # A tiny untrained model may disagree: then float32 is taken, and either way it is told.
    assert found.sample_frames == 9
    assert found.cosine_to_float32 is not None
    assert made.meta.dtype == found.dtype == ("bfloat16" if found.cosine_to_float32 >= 0.999 else "float32")
    assert any("bfloat16" in line for line in told)
    assert (np.sum(exact * made.vectors, axis=1) > 0.99).all()


def test_a_limit_of_nothing_keeps_nothing(
    batch: BatchDir, records: dict[str, Any], checkpoint: Path, cache_dir: Path
) -> None:
    update(batch, records, checkpoint, cache_dir, environ={"AIVJ_EMBEDDING_CACHE_GB": "0"})
    assert not list(cache_dir.rglob("*.npz"))
    assert load_embeddings(batch).meta.count == 9


def test_what_cannot_work_is_told_before_anything_starts(checkpoint: Path) -> None:
    choice = EmbedderChoice(TINY_NAME, str(checkpoint))
    require_embedding(choice, {}, device="cpu", precision="bfloat16")
    for arguments, words in (
        ({"device": "cuda:7"}, "CUDA|no device"),
        ({"device": "quantum"}, "no device"),
        ({"precision": "int4"}, "no precision"),
        ({"device": "cpu", "precision": "float16"}, "float16 is for CUDA"),
    ):
        with pytest.raises(UserError, match=words):
            require_embedding(choice, {}, **arguments)
    with pytest.raises(UserError, match="float32 only"):
        require_embedding(EmbedderChoice("efficientnet-lite0", "imagenet"), {}, precision="bfloat16")
    with pytest.raises(UserError, match="in GB"):
        require_embedding(choice, {"AIVJ_EMBEDDING_CACHE_GB": "lots"})


_CHILD = """
import sys, time
from pathlib import Path
sys.path[:0] = {path!r}
from aivj_assets_tests.embedding_builders import TINY_NAME, make_checkpoint, source_of
from aivj_assets.contracts.frames_index import read_records
from aivj_assets.embed.batch import update_embeddings
from aivj_assets.embed.cache import FrameVectorCache
from aivj_assets.embed.choose import EmbedderChoice
from aivj_assets.embed.model import TorchModel
from aivj_assets.layout import BatchDir

folder, checkpoints, cache = map(Path, sys.argv[1:])
put, run = FrameVectorCache.put, TorchModel.encode
def slowly(self, images):
    time.sleep(0.2)
    return run(self, images)
def at_once(self, *frame):
    put(self, *frame)
    self.flush()
TorchModel.encode, FrameVectorCache.put = slowly, at_once
TorchModel.images_a_pass, TorchModel.passes_at_once = lambda self, batch_size: 1, 1
batch = BatchDir(folder)
make_checkpoint(checkpoints)
update_embeddings(
    source_of(batch, read_records(batch.frames_index)), EmbedderChoice(TINY_NAME, str(checkpoints / "tiny.pt")), {{}},
    cache_dir=cache, device="cpu", log=print,
)
"""


@pytest.mark.skipif(os.name == "nt", reason="kill -9 has no like on Windows; TerminateProcess is covered by resume")
def test_a_run_killed_twice_ends_with_the_rows_of_an_undisturbed_one(
    batch: BatchDir, tiny: TorchModel, cache_dir: Path, tmp_path: Path
) -> None:
    records: dict[str, OkRecord | FailedRecord] = {}
    for number in range(9):
        records[f"preset-{number}"] = add_preset(
            batch, f"preset-{number}", [3 * number, 3 * number + 1, 3 * number + 2]
        )
    write_records(batch.frames_index, records.values())
    expected = np.array(embed(batch, records, tiny).vectors)
    for path in (batch.embeddings, batch.embedding_ids, batch.embeddings_meta):
        path.unlink()
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    command = [sys.executable, "-c", _CHILD.format(path=sys.path), str(batch.path), str(checkpoints), str(cache_dir)]
    progress = 0
    for _ in range(2):
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while len(list(cache_dir.rglob("*.npz"))) < progress + 3 and time.monotonic() < deadline:
            assert child.poll() is None, child.stderr.read().decode() if child.stderr else ""
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
        child.wait()
        progress = len(list(cache_dir.rglob("*.npz")))
        assert progress > 0
        assert not batch.embeddings_meta.exists()
    assert WorkProgress.under_way(batch.embedding_progress) is not None

    counting = Counting(tiny)
    result = embed(batch, records, counting, cache=open_cache(cache_dir, tiny))
    assert counting.seen <= 27 - progress
    np.testing.assert_allclose(result.vectors, expected, atol=1e-5)
    assert not list(batch.path.glob(".embeddings.npy.*.tmp"))
    assert result.preset_ids == [name for name in ORDER if name in records]
