"""How fast a batch's frames are embedded here: end to end, the model alone, the plainest loop, known frames again."""

from __future__ import annotations

import itertools
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import Field

from aivj_assets.contracts.base import ContractModel, utc_now
from aivj_assets.contracts.embeddings import Embeddings, Precision
from aivj_assets.contracts.frames_index import FrameMetrics, OkRecord, frame_paths, id_hash
from aivj_assets.embed.cache import FrameVectorCache
from aivj_assets.embed.embed import DEFAULT_BATCH_SIZE, FrameSource, embed_batch
from aivj_assets.embed.encoder import Encoder
from aivj_assets.embed.frames import FrameFile, FrameProblem, decode_frame, frame_names, read_frame
from aivj_assets.embed.model import Pixels, TorchModel, one_thread_an_operation, usable_cpus
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir

TARGET_RATIO = 0.9
_PLAIN_IMAGES = 32
_FORWARD_IMAGES = 256

PartProgress = Callable[[str, int, int], None]
"""Called with (name of the part, images done, images in all)."""


class EmbedBench(ContractModel):
    """Figures of one benchmark; rates are images a second, loading the model left out."""

    at: str
    model: str
    device: str
    precision: Precision
    platform: str
    cpus: int
    batch_size: int
    """Images of a forward pass on a GPU; a CPU takes fewer."""
    presets: int
    images: int
    """All of them different: a frame that several presets share is computed once."""
    end_to_end_images_per_s: float
    forward_images_per_s: float
    """Of the model over pictures that lie in memory, before and after the run end to end."""
    forward_blocks_images_per_s: list[float]
    ratio: float
    """End to end over forward."""
    ratio_reached: bool
    plain_loop_images_per_s: float
    """Read, decode, encode, one image after the other, all threads in one operation."""
    read_and_decode_ms: float
    """A frame, on one thread: read (from the system's file cache), decode, resize to the model's size."""
    known_images_per_s: float
    """Of frames whose vectors are known from before."""
    peak_rss_bytes: int | None
    """Most memory of the process so far; None where the system does not tell."""
    libraries: dict[str, str]
    left_out: int = Field(0, description="presets with a frame that cannot be read")


def bench_embedding(
    source: FrameSource,
    model: TorchModel,
    precision: Precision,
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
    work_dir: Path,
    progress: PartProgress,
) -> EmbedBench:
    """Measure a model over a batch's frames; files are written into `work_dir` alone.

    The run end to end reads, hashes, decodes, encodes, pools and writes with an empty cache. The forward rate is that
    of the same number of passes beside each other, measured directly before and after it. Raises `UserError` as
    `embed_batch` does, and when no frame can be decoded.
    """
    pictures = list(itertools.islice(_pictures(source, model), _FORWARD_IMAGES))
    if not pictures:
        raise UserError(f"No frame under {source.batch_dir.frames_dir} can be decoded; render the batch first.")
    plain = _plain_rate(source, model, _PLAIN_IMAGES)
    decode_ms = _decode_ms(source, model)
    forward = [_forward_rate(model, pictures, batch_size, progress)]
    total = sum(1 for _ in frame_names(source.records, source.max_frames))

    def tell(done: int, presets: int) -> None:
        progress("end to end", done * total // presets, total)

    def embed(name: str) -> Embeddings:
        cache = FrameVectorCache(work_dir / "cache", model.card, model.dtype)
        target = BatchDir(work_dir / name)
        return embed_batch(source, model, cache=cache, batch_size=batch_size, progress=tell, target=target)

    made = embed("first")
    forward.append(_forward_rate(model, pictures, batch_size, progress))
    started = time.perf_counter()
    # Beside the first: on Windows a file cannot be replaced while its rows are mapped.
    again = embed("again")
    known_s = time.perf_counter() - started
    if again.meta.computed_frames or not np.array_equal(again.vectors, made.vectors):
        raise RuntimeError("frames that were known gave other rows")
    end_to_end = (made.meta.computed_frames or 0) / made.meta.duration_s
    mean_forward = float(np.mean(forward))
    return EmbedBench(
        at=utc_now(),
        model=model.card.name,
        device=model.device,
        precision=precision,
        platform=f"{platform.system()} {platform.machine()}",
        cpus=usable_cpus(),
        batch_size=batch_size,
        presets=made.meta.count,
        images=made.meta.computed_frames or 0,
        end_to_end_images_per_s=round(end_to_end, 2),
        forward_images_per_s=round(mean_forward, 2),
        forward_blocks_images_per_s=[round(rate, 2) for rate in forward],
        ratio=round(end_to_end / mean_forward, 3),
        ratio_reached=end_to_end / mean_forward >= TARGET_RATIO,
        plain_loop_images_per_s=round(plain, 2),
        read_and_decode_ms=round(decode_ms, 2),
        known_images_per_s=round(made.meta.frames / known_s, 1),
        peak_rss_bytes=peak_rss_bytes(),
        libraries=model.libraries,
        left_out=len(made.meta.left_out),
    )


def limited(source: FrameSource, images: int) -> FrameSource:
    """Return the first presets of a source that have about so many images together."""
    records: list[OkRecord] = []
    count = 0
    for record in source.records:
        if count >= images:
            break
        records.append(record)
        count += min(len(record.frames), source.max_frames)
    return replace(source, records=records)


@contextmanager
def generated_frames(images: int, size: int, seed: int) -> Iterator[FrameSource]:
    """Yield a source of generated pictures, WebP of size x size pixels, three a preset, in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="aivj-bench-", ignore_cleanup_errors=True) as name:
        folder = BatchDir(Path(name))
        rng = np.random.default_rng(seed)
        records = []
        for number in range(max(1, images // 3)):
            preset_id = f"generated-{number}"
            record = OkRecord(
                preset_id=preset_id,
                rel_path=f"{preset_id}.milk",
                file_path=f"{preset_id}.milk",
                id_hash=id_hash(preset_id),
                frames=frame_paths(id_hash(preset_id), 3, "webp"),
                metrics=FrameMetrics(avg_luma=0.5, motion=0.1),
            )
            folder.frame_folder(record.id_hash).mkdir(parents=True)
            for frame in record.frames:
                Image.fromarray(_pattern(rng, size)).save(folder.path / frame, quality=85)
            records.append(record)
        yield FrameSource(folder, records, 3, "")


def _pattern(rng: np.random.Generator, size: int) -> Pixels:
    """Return overlaid waves with grain, uint8 [size, size, 3]: about as large as a WebP file as a preset's picture."""
    y, x = np.mgrid[0:size, 0:size] / size
    waves = [np.sin(rng.uniform(3, 60) * x + rng.uniform(3, 60) * y + rng.uniform(0, 6)) for _ in range(3)]
    picture = 127 + 110 * np.stack(waves, axis=-1) * rng.uniform(0.2, 1, 3) + rng.normal(0, 6, (size, size, 1))
    return np.clip(picture, 0, 255).astype(np.uint8)


def _pictures(source: FrameSource, model: TorchModel) -> Iterator[Pixels]:
    """Yield the frames that can be decoded, read and prepared one after the other."""
    for row, position, name in frame_names(source.records, source.max_frames):
        file = read_frame(source.batch_dir.path, row, position, name)
        picture = decode_frame(file, model.prepare) if isinstance(file, FrameFile) else file
        if not isinstance(picture, FrameProblem):
            yield picture


def _plain_rate(source: FrameSource, model: TorchModel, count: int) -> float:
    """Return images a second of the plainest loop: read, decode, encode one, after one to warm up."""
    for picture in itertools.islice(_pictures(source, model), 1):
        model.encode(picture[np.newaxis])
    started = time.perf_counter()
    done = 0
    for picture in itertools.islice(_pictures(source, model), count):
        model.encode(picture[np.newaxis])
        done += 1
    return done / (time.perf_counter() - started)


def _decode_ms(source: FrameSource, model: TorchModel) -> float:
    started = time.perf_counter()
    count = sum(1 for _ in itertools.islice(_pictures(source, model), _FORWARD_IMAGES))
    return 1000 * (time.perf_counter() - started) / count


def _forward_rate(model: TorchModel, pictures: Sequence[Pixels], batch_size: int, progress: PartProgress) -> float:
    """Return images a second of passes beside each other, over pictures in memory, after one round to warm up."""
    with one_thread_an_operation(), Encoder[int](model, batch_size) as encoder:
        for number in range(2 * model.passes_at_once * model.images_a_pass(batch_size)):
            list(encoder.add(number, pictures[number % len(pictures)]))
        list(encoder.drain())
        started = time.perf_counter()
        done = 0
        for number, picture in enumerate(pictures):
            done += len(list(encoder.add(number, picture)))
            progress("model alone", done, len(pictures))
        done += len(list(encoder.drain()))
        duration_s = time.perf_counter() - started
    progress("model alone", done, len(pictures))
    return done / duration_s


def peak_rss_bytes() -> int | None:
    """Return the most memory that this process has held, or None where the system does not tell."""
    if os.name == "nt":
        import psutil

        return int(getattr(psutil.Process().memory_info(), "peak_wset", 0)) or None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
