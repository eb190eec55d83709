"""Forward passes beside each other, fed picture by picture; a pass that does not fit on the device is halved."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, Self, TypeVar

import numpy as np

from aivj_assets.embed.model import EmbeddingModel, Pixels, Vectors
from aivj_assets.errors import UserError

Key = TypeVar("Key")
Log = Callable[[str], None]


@dataclass
class _Pass(Generic[Key]):
    keys: list[Key]
    images: list[Pixels]
    outcome: Future[Vectors] = field(default_factory=Future)


class Encoder(Generic[Key]):
    """Collects pictures to passes and keeps as many passes running as the model's device takes.

    `add` and `drain` yield (key, vector float32 [d], not normalised) of passes that are finished, in the order of the
    keys. Pictures in memory: at most `batch_size` a pass, for the passes that run and as many that wait.
    """

    def __init__(self, model: EmbeddingModel, batch_size: int, log: Log | None = None) -> None:
        self._model = model
        self._images_a_pass = max(1, model.images_a_pass(batch_size))
        self._log = log
        self._pool = ThreadPoolExecutor(model.passes_at_once, thread_name_prefix="encode")
        self._filling: _Pass[Key] = _Pass([], [])
        self._running: deque[_Pass[Key]] = deque()
        self._most_running = 2 * model.passes_at_once

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for waiting in self._running:
            waiting.outcome.cancel()
        self._pool.shutdown(wait=True)

    def add(self, key: Key, image: Pixels) -> Iterator[tuple[Key, Vectors]]:
        """Queue a picture; yields what is finished, waiting when enough passes are under way."""
        self._filling.keys.append(key)
        self._filling.images.append(image)
        if len(self._filling.keys) >= self._images_a_pass:
            self._start(self._filling)
            self._filling = _Pass([], [])
        while self._running and (len(self._running) > self._most_running or self._running[0].outcome.done()):
            yield from self._finish(self._running.popleft())

    def drain(self) -> Iterator[tuple[Key, Vectors]]:
        """Run what is queued and yield all that is left."""
        if self._filling.keys:
            self._start(self._filling)
            self._filling = _Pass([], [])
        while self._running:
            yield from self._finish(self._running.popleft())

    def _start(self, one: _Pass[Key]) -> None:
        one.outcome = self._pool.submit(self._model.encode, np.stack(one.images))
        self._running.append(one)

    def _finish(self, one: _Pass[Key]) -> Iterator[tuple[Key, Vectors]]:
        import torch

        try:
            vectors = one.outcome.result()
        except torch.OutOfMemoryError:
            yield from self._halved(one)
        else:
            yield from zip(one.keys, vectors, strict=True)

    def _halved(self, one: _Pass[Key]) -> Iterator[tuple[Key, Vectors]]:
        """Run a pass again in parts that fit; passes after it take the smaller size too."""
        import torch

        count = len(one.keys)
        if count == 1:
            raise UserError(
                f"The device {self._model.device} has not enough memory for one image; close other programs that use "
                "it, or use device cpu."
            )
        half = (count + 1) // 2
        if half < self._images_a_pass:
            self._images_a_pass = half
            if self._log is not None:
                self._log(f"{self._model.device} ran out of memory: a pass is now {half} images")
        # What still runs holds memory of its own.
        for other in self._running:
            other.outcome.exception()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        for start in range(0, count, half):
            part = _Pass(one.keys[start : start + half], one.images[start : start + half])
            part.outcome = self._pool.submit(self._model.encode, np.stack(part.images))
            yield from self._finish(part)
