"""Looking again and again at work that another process does, for a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

_REFRESH_S = 0.5


@contextmanager
def following(look: Callable[[], None]) -> Iterator[None]:
    """Call `look` twice a second, in a thread of its own, while the block runs."""
    done = Event()

    def follow() -> None:
        while not done.wait(_REFRESH_S):
            look()

    follower = Thread(target=follow, name="progress", daemon=True)
    follower.start()
    try:
        yield
    finally:
        done.set()
        follower.join(timeout=5)
