"""Blocking calls onto a loop of another thread: deadlines, errors, a watch."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from aivj_assets.render.event_loop import CallTimeoutError, EventLoopThread


@pytest.fixture
def loop() -> Iterator[EventLoopThread]:
    thread = EventLoopThread("test-loop")
    yield thread
    thread.stop()


async def answer(value: int, after_s: float = 0.0) -> int:
    await asyncio.sleep(after_s)
    return value


def test_a_call_returns_its_result(loop: EventLoopThread) -> None:
    assert loop.call(answer(7), 5) == 7


def test_a_call_works_where_a_loop_already_runs(loop: EventLoopThread) -> None:
    async def notebook_cell() -> int:
        return loop.call(answer(7), 5)

    assert asyncio.run(notebook_cell()) == 7


def test_a_deadline_cancels_the_call(loop: EventLoopThread) -> None:
    cancelled = threading.Event()

    async def hang() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    start = time.monotonic()
    with pytest.raises(CallTimeoutError):
        loop.call(hang(), 0.2)
    assert time.monotonic() - start < 2
    assert cancelled.wait(2)
    assert loop.call(answer(1), 5) == 1


def test_a_timeout_of_the_call_itself_is_not_the_deadline(loop: EventLoopThread) -> None:
    with pytest.raises(TimeoutError) as caught:
        loop.call(asyncio.wait_for(asyncio.sleep(60), 0.1), 5)
    assert not isinstance(caught.value, CallTimeoutError)


def test_what_a_watch_raises_ends_the_call(loop: EventLoopThread) -> None:
    class TooMuchError(Exception):
        pass

    def watch() -> None:
        raise TooMuchError

    with pytest.raises(TooMuchError):
        loop.call(answer(1, after_s=30), 20, watch=watch, watch_every_s=0.1)


def test_stopping_ends_the_thread_whatever_runs() -> None:
    loop = EventLoopThread("test-stop")
    with pytest.raises(CallTimeoutError):
        loop.call(answer(1, after_s=60), 0.1)
    loop.stop()
    loop.stop()
    assert "test-stop" not in [thread.name for thread in threading.enumerate()]
