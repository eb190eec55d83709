"""A batch's embeddings brought up to date: kept where nothing has changed, else made with what is known already."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from aivj_assets.contracts.embeddings import Embeddings, ModelCard, Precision, load_embeddings
from aivj_assets.contracts.progress import WorkProgress
from aivj_assets.embed.cache import FrameVectorCache, cache_limit_bytes, trim_cache
from aivj_assets.embed.choose import EmbedderChoice, check_model_available, choose_dtype, load_model
from aivj_assets.embed.embed import DEFAULT_BATCH_SIZE, FrameSource, Progress, card_for, embed_batch, is_current
from aivj_assets.embed.encoder import Log
from aivj_assets.embed.frames import sample_frames
from aivj_assets.embed.model import Pixels, TorchModel
from aivj_assets.embed.precision import AUTO, FLOAT32, SAMPLE_FRAMES, agreeing_model

_PROGRESS_EVERY_S = 1.0


def require_embedding(
    choice: EmbedderChoice, environ: Mapping[str, str], *, device: str | None = None, precision: str = AUTO
) -> None:
    """Raise `UserError` when a batch could not be embedded so: no weights, no such device, a mistyped setting.

    For before rendering starts: it takes seconds, and loads no weights.
    """
    cache_limit_bytes(environ)
    if device is not None or precision != AUTO:
        choose_dtype(choice, precision, device)
    check_model_available(choice, environ)


def update_embeddings(
    source: FrameSource,
    choice: EmbedderChoice,
    environ: Mapping[str, str],
    *,
    cache_dir: Path,
    device: str | None = None,
    precision: str = AUTO,
    batch_size: int = DEFAULT_BATCH_SIZE,
    log: Log,
    before: Callable[[ModelCard], None] | None = None,
    progress: Progress | None = None,
) -> tuple[Embeddings, bool]:
    """Return a batch's embeddings and whether the files on disk were kept because nothing behind them has changed.

    The fast precision of the device is taken where its vectors of a sample of the batch's frames agree with those of
    float32. `before` is told the card before anything is embedded. The cache in `cache_dir` is cut to its limit
    afterwards. Raises `UserError` as `load_model` and
    `embed_batch` do.
    """
    limit_bytes = cache_limit_bytes(environ)
    dtype, reason = choose_dtype(choice, precision, device)
    loader = _Loader(source, choice, environ, device)
    model = loader.load(dtype)
    if is_current(source, model.card, None if precision == AUTO else dtype):
        return load_embeddings(source.batch_dir), True
    if before is not None:
        before(card_for(model.card, source.max_frames))
    model, found = agreeing_model(model, lambda: loader.load(FLOAT32), reason, loader.sample)
    log(f"{model.card.name} on {model.device} in {found.summary}")
    cache = FrameVectorCache(cache_dir, model.card, model.dtype, log=log)
    with _told_in_a_file(source, progress) as tell:
        made = embed_batch(
            source,
            model,
            cache=cache,
            precision=found,
            batch_size=batch_size,
            note=choice.reason,
            progress=tell,
            log=log,
        )
    meta = made.meta
    log(f"{meta.computed_frames} frames computed, {meta.frames - (meta.computed_frames or 0)} known already")
    trim_cache(cache_dir, limit_bytes)
    return made, False


def load_for(
    source: FrameSource,
    choice: EmbedderChoice,
    environ: Mapping[str, str],
    *,
    device: str | None = None,
    precision: str = AUTO,
) -> tuple[TorchModel, Precision]:
    """Load the model that `update_embeddings` would take for these frames, and what was found of its precision."""
    dtype, reason = choose_dtype(choice, precision, device)
    loader = _Loader(source, choice, environ, device)
    return agreeing_model(loader.load(dtype), lambda: loader.load(FLOAT32), reason, loader.sample)


@dataclass(frozen=True)
class _Loader:
    source: FrameSource
    choice: EmbedderChoice
    environ: Mapping[str, str]
    device: str | None

    def load(self, dtype: str) -> TorchModel:
        return load_model(
            self.choice,
            self.environ,
            device=self.device,
            dtype=dtype,
            max_frames_per_preset=self.source.max_frames,
        )

    def sample(self, model: TorchModel) -> list[Pixels]:
        return sample_frames(self.source.batch_dir.path, self.source.records, model.prepare, SAMPLE_FRAMES)


@contextmanager
def _told_in_a_file(source: FrameSource, progress: Progress | None) -> Iterator[Progress]:
    """Yield a progress callable that also keeps the batch's progress file, at most once a second."""
    path = source.batch_dir.embedding_progress
    due = 0.0

    def tell(done: int, total: int) -> None:
        nonlocal due
        if progress is not None:
            progress(done, total)
        if time.monotonic() >= due:
            due = time.monotonic() + _PROGRESS_EVERY_S
            # Somebody may be reading it (Windows), the disk may be full: no reason to lose the work.
            with suppress(OSError):
                WorkProgress(done=done, total=total).save(path)

    try:
        yield tell
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
