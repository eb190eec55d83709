"""An asyncio loop on a thread of its own, driven from ordinary blocking code.

Playwright's blocking interface cannot be interrupted while a browser hangs, and refuses to run where a loop already
runs (a notebook). On a thread of its own every call has a deadline, and the caller keeps hearing Ctrl-C.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
# Windows does not interrupt a wait for a lock on Ctrl-C: wait in small steps.
_POLL_S = 0.1
_STOP_WAIT_S = 5.0


class CallTimeoutError(Exception):
    """A call had no answer within its deadline; it was cancelled."""


class EventLoopThread:
    """A running event loop; `call` runs a coroutine on it and waits."""

    def __init__(self, name: str = "browser-loop") -> None:
        self._loop = _new_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(
        self,
        coroutine: Coroutine[Any, Any, T],
        timeout_s: float,
        *,
        watch: Callable[[], None] | None = None,
        watch_every_s: float = 1.0,
    ) -> T:
        """Run a coroutine and return its result; raises `CallTimeoutError` after `timeout_s`, or what it raised.

        `watch` is called on the waiting thread about every `watch_every_s` seconds; what it raises ends the call.
        """
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        deadline = time.monotonic() + timeout_s
        next_watch = time.monotonic() + watch_every_s
        try:
            while True:
                left_s = deadline - time.monotonic()
                try:
                    return future.result(timeout=max(0.0, min(_POLL_S, left_s)))
                except concurrent.futures.TimeoutError:
                    if future.done():
                        raise  # the coroutine's own TimeoutError
                if left_s <= 0:
                    raise CallTimeoutError(f"no answer within {timeout_s:.1f} s")
                if watch is not None and time.monotonic() >= next_watch:
                    watch()
                    next_watch = time.monotonic() + watch_every_s
        finally:
            if not future.done():
                future.cancel()

    def stop(self) -> None:
        """Cancel what still runs, end the loop and its thread; waits at most a few seconds."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop)
            self._thread.join(_STOP_WAIT_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()


def _new_loop() -> asyncio.AbstractEventLoop:
    # Subprocesses need the proactor on Windows; a notebook may have set the selector policy.
    if sys.platform == "win32":
        return asyncio.ProactorEventLoop()
    return asyncio.new_event_loop()


async def _cancel_all() -> None:
    loop = asyncio.get_running_loop()
    tasks = [task for task in asyncio.all_tasks(loop) if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=1.0) if tasks else None
    loop.stop()
