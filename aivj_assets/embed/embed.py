"""A batch's frames to one unit vector a preset: normalise(mean over its frames of normalise(frame embedding))."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from aivj_assets.contracts.base import utc_now
from aivj_assets.contracts.embeddings import (
    Embeddings,
    EmbeddingsMeta,
    EmbeddingsWriter,
    ModelCard,
    Precision,
    load_embeddings,
)
from aivj_assets.contracts.frames_index import FailedRecord, OkRecord
from aivj_assets.embed.cache import FrameVectorCache
from aivj_assets.embed.checks import rows_are_sound
from aivj_assets.embed.encoder import Encoder, Log
from aivj_assets.embed.frames import (
    UNREADABLE,
    FrameFile,
    FrameProblem,
    decode_frame,
    frame_names,
    frames_state,
    read_frame,
)
from aivj_assets.embed.model import (
    DEFAULT_MAX_FRAMES,
    EmbeddingModel,
    Pixels,
    Vectors,
    one_thread_an_operation,
    usable_cpus,
)
from aivj_assets.embed.rows import NO_FINITE_VECTOR, RowMeans, unit_vector
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir

DEFAULT_BATCH_SIZE = 64
# Decoding WebP takes 2 ms a frame with the interpreter's lock released: eight threads feed 2,000 images a second.
_MOST_READERS = 8
_FEWEST_READERS = 3
# Frames that are read and whose vectors are looked up together: so many, or fewer large ones.
_WINDOW, _FEWEST_IN_WINDOW = 768, 16
_WINDOW_BYTES = 2**25

Progress = Callable[[int, int], None]
"""Called with (presets done, presets in all)."""


@dataclass(frozen=True)
class FrameSource:
    """The frames of a batch's ok presets: which records, in the order of the rows, and how many frames of each."""

    batch_dir: BatchDir
    records: Sequence[OkRecord]
    max_frames: int
    index_sha256: str

    @classmethod
    def of_batch(
        cls,
        batch_dir: BatchDir,
        records: Mapping[str, OkRecord | FailedRecord],
        preset_order: Sequence[str],
        *,
        frames_index_sha256: str,
        max_frames_per_preset: int = DEFAULT_MAX_FRAMES,
    ) -> FrameSource:
        """Take the ok presets in `preset_order` (the manifest's); raises `UserError` when there is none."""
        if max_frames_per_preset < 1:
            raise UserError(f"maxFramesPerPreset is {max_frames_per_preset}; it must be at least 1.")
        ok = [record for record in map(records.get, preset_order) if isinstance(record, OkRecord)]
        if not ok:
            raise UserError(f"{batch_dir.frames_index} holds no ok preset to embed; look at its failure reasons.")
        return cls(batch_dir, ok, max_frames_per_preset, frames_index_sha256)

    def state(self) -> str:
        """Return a digest over the files' names, sizes and times."""
        return frames_state(self.batch_dir.path, self.records, self.max_frames)


def embed_batch(
    source: FrameSource,
    model: EmbeddingModel,
    *,
    cache: FrameVectorCache | None = None,
    precision: Precision | None = None,
    batch_size: int = DEFAULT_BATCH_SIZE,
    workers: int | None = None,
    note: str | None = None,
    target: BatchDir | None = None,
    progress: Progress | None = None,
    log: Log | None = None,
) -> Embeddings:
    """Embed the ok presets of a batch and write the three files, by default beside the frames.

    Rows are float32 [n, d] of unit length, in the order of the source's records.

    A preset with a frame that is missing or cannot be decoded gets no row: it is named in `meta.left_out`. Frames whose
    vectors `cache` knows are not computed again, nor is a frame that several presets share. `batch_size` is in images;
    it is halved, and told to `log`, when the device runs out of memory. Neither it nor `workers` (threads that read and
    decode) changes the result beyond rounding. Raises `UserError` when no preset can be embedded, or one image does not
    fit on the device; the files of an earlier run then stay as they are.
    """
    if batch_size < 1:
        raise UserError(f"The batch size is {batch_size} images; it must be at least 1.")
    started = time.perf_counter()
    records = source.records
    state = source.state()
    counts = [min(len(record.frames), source.max_frames) for record in records]
    folder = target or source.batch_dir
    with EmbeddingsWriter(folder, len(records), model.card.dim) as writer:
        work = _Work(source, model, cache, RowMeans(writer, counts))
        readers = workers or max(_FEWEST_READERS, min(_MOST_READERS, usable_cpus()))
        with one_thread_an_operation(), ThreadPoolExecutor(readers, thread_name_prefix="read") as pool:
            try:
                work.run(pool, Encoder(model, batch_size, log), progress)
            finally:
                # Also when interrupted: the next run goes on from here.
                if cache is not None:
                    cache.flush()
        rows = work.rows
        left_out = {records[row].preset_id: problem for row, problem in sorted(rows.problems.items())}
        kept = rows.kept()
        if not kept:
            preset_id, problem = next(iter(left_out.items()))
            raise UserError(
                f"No frame under {source.batch_dir.frames_dir} could be embedded (e.g. {preset_id}, {problem}); "
                "materialise frames again."
            )
        duration_s = time.perf_counter() - started
        meta = EmbeddingsMeta(
            **card_for(model.card, source.max_frames).model_dump(),
            generated_at=utc_now(),
            count=len(kept),
            frames=sum(counts[row] for row in kept),
            dtype=model.dtype,
            precision=precision,
            device=model.device,
            libraries=model.libraries,
            duration_s=round(duration_s, 3),
            computed_frames=work.computed,
            images_per_s=round(work.computed / duration_s, 2) if work.computed else None,
            frames_index_sha256=source.index_sha256,
            frames_sha256=rows.frames_sha256(),
            frames_state=state,
            left_out=left_out,
            note=note,
        )
        writer.commit(kept, [records[row].preset_id for row in kept], meta)
    return load_embeddings(folder)


def card_for(card: ModelCard, max_frames_per_preset: int) -> ModelCard:
    """Return the card of rows that mean over at most so many frames."""
    return card.model_copy(update={"max_frames_per_preset": max_frames_per_preset})


def is_current(source: FrameSource, card: ModelCard, dtype: str | None = None) -> bool:
    """Return whether the files that lie in the batch's folder are what embedding it again would give.

    The rows are looked through, not compared with the frames. `dtype` is a precision that was asked for; None accepts
    any. A preset that was left out is tried again when the reason may pass by itself: its file could not be read.
    """
    try:
        made = load_embeddings(source.batch_dir)
    except UserError:
        return False
    meta = made.meta
    return (
        meta.card == card_for(card, source.max_frames)
        and dtype in (None, meta.dtype)
        and meta.frames_index_sha256 == source.index_sha256
        and not any(UNREADABLE in reason for reason in meta.left_out.values())
        and meta.frames_state == source.state()
        and made.preset_ids == [record.preset_id for record in source.records if record.preset_id not in meta.left_out]
        and rows_are_sound(made.vectors)
    )


@dataclass
class _Work:
    """One embedding under way: reads ahead, looks up, decodes what is unknown, encodes, gathers rows."""

    source: FrameSource
    model: EmbeddingModel
    cache: FrameVectorCache | None
    rows: RowMeans
    computed: int = 0
    _under_way: dict[bytes, list[FrameFile]] = field(default_factory=dict)
    """Frames that wait for the vector of a digest: presets may share a picture."""

    def run(self, pool: ThreadPoolExecutor, encoder: Encoder[bytes], progress: Progress | None) -> None:
        with encoder:
            for decoded in self._decoded(pool):
                if isinstance(decoded, FrameProblem):
                    self.rows.fail(decoded.row, decoded.text)
                elif isinstance(decoded, tuple):
                    self._take(encoder.add(*decoded))
                if progress is not None:
                    progress(self.rows.done, len(self.source.records))
            self._take(encoder.drain())
        if progress is not None:
            progress(self.rows.done, len(self.source.records))

    def _take(self, finished: Iterator[tuple[bytes, Vectors]]) -> None:
        for digest, raw in finished:
            waiting = self._under_way.pop(digest)
            self.computed += 1
            vector = unit_vector(raw)
            if vector is None:
                for frame in waiting:
                    self.rows.fail(frame.row, NO_FINITE_VECTOR)
                continue
            if self.cache is not None:
                self.cache.put(digest, vector)
            for frame in waiting:
                self.rows.add(frame.row, frame.position, digest, vector)

    def _decoded(self, pool: ThreadPoolExecutor) -> Iterator[tuple[bytes, Pixels] | FrameProblem | None]:
        """Yield (digest, picture) of frames to be computed, a few decoded ahead, problems, and None for a known one."""
        ahead: deque[tuple[bytes, Future[Pixels | FrameProblem]]] = deque()
        most_ahead = 2 * max(1, self.model.images_a_pass(DEFAULT_BATCH_SIZE)) * self.model.passes_at_once
        for window in self._windows(pool):
            files = [frame for frame in window if isinstance(frame, FrameFile)]
            yield from (frame for frame in window if isinstance(frame, FrameProblem))
            known = self._known([frame.sha1 for frame in files])
            for frame in files:
                if frame.row in self.rows.problems:
                    continue
                if frame.sha1 not in known and frame.sha1 not in self._under_way:
                    # A picture that occurs twice may have become known since the window was looked up.
                    known.update(self._known([frame.sha1]))
                if frame.sha1 in known:
                    self.rows.add(frame.row, frame.position, frame.sha1, known[frame.sha1])
                    yield None
                elif frame.sha1 in self._under_way:
                    self._under_way[frame.sha1].append(frame)
                else:
                    self._under_way[frame.sha1] = [frame]
                    ahead.append((frame.sha1, pool.submit(decode_frame, frame, self.model.prepare)))
                while len(ahead) > most_ahead:
                    yield from self._outcome(*ahead.popleft())
        while ahead:
            yield from self._outcome(*ahead.popleft())

    def _known(self, digests: Sequence[bytes]) -> dict[bytes, Vectors]:
        return self.cache.get(digests) if self.cache is not None else {}

    def _outcome(
        self, digest: bytes, future: Future[Pixels | FrameProblem]
    ) -> Iterator[tuple[bytes, Pixels] | FrameProblem]:
        picture = future.result()
        if isinstance(picture, FrameProblem):
            reason = picture.text.partition(": ")[2]
            for frame in self._under_way.pop(digest):
                yield FrameProblem(frame.row, f"{frame.name}: {reason}")
        else:
            yield digest, picture

    def _windows(self, pool: ThreadPoolExecutor) -> Iterator[list[FrameFile | FrameProblem]]:
        """Yield the frames' files in windows, the next one read while this one is worked on."""

        def read(part: Sequence[tuple[int, int, str]]) -> list[Future[FrameFile | FrameProblem]]:
            return [pool.submit(read_frame, self.source.batch_dir.path, *frame) for frame in part]

        names = frame_names(self.source.records, self.source.max_frames)
        reading: list[Future[FrameFile | FrameProblem]] = []
        count = _FEWEST_IN_WINDOW
        while part := list(itertools.islice(names, count)):
            following = read(part)
            if reading:
                window = [future.result() for future in reading]
                count = _window_for(window)
                yield window
            reading = following
        yield [future.result() for future in reading]


def _window_for(window: Sequence[FrameFile | FrameProblem]) -> int:
    """Return how many frames to read together after these, by their size."""
    mean_bytes = max(1, sum(len(frame.data) for frame in window if isinstance(frame, FrameFile)) // len(window))
    return max(_FEWEST_IN_WINDOW, min(_WINDOW, _WINDOW_BYTES // mean_bytes))
