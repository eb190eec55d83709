"""A Celery worker in a process of its own, started and ended by `aivj worker` (`worker.py`).

It ends when its standard input says so or closes: that works alike on all systems, and no signal of the terminal
reaches the browsers of the steps at work.
"""

from __future__ import annotations

import _thread
import argparse
import os
import signal
import sys
import threading
import time
from contextlib import suppress

import psutil

from aivj_assets.errors import UserError
from aivj_assets.layout import resolve_data_root
from aivj_assets.orchestration.batch_lock import ProcessMark
from aivj_assets.orchestration.fleet.announce import announced
from aivj_assets.orchestration.fleet.settings import FleetSettings
from aivj_assets.orchestration.step import end_with

FINISH, GIVE_BACK = "finish", "give back"
"""What standard input may say: end after the steps at work, or at once."""
READY_LINE = "ready"
_LOG_FORMAT = "[%(asctime)s %(levelname)s] %(message)s"


def pool_of(platform: str) -> str:
    """Return the kind of Celery pool that works on a `sys.platform`.

    Windows has no fork, which `prefork` needs: steps run in threads, one after the other with a concurrency of 1.
    """
    return "threads" if platform == "win32" else "prefork"


def celery_arguments(name: str, queues: str, concurrency: int, platform: str) -> list[str]:
    """Return the arguments of `celery worker`."""
    return [
        "worker", "--queues", queues, "--concurrency", str(concurrency), "--pool", pool_of(platform),
        "--hostname", name, "--loglevel", "INFO", "--without-gossip", "--without-mingle",
    ]  # fmt: skip


def listen(descriptor: int) -> None:
    """Do what standard input says; its end, when the process that started this one is gone, means `GIVE_BACK`.

    `descriptor` is read without Python's buffer: its lock, held here, would stop each forked process as it begins.
    """
    told, finishing = b"", False
    while GIVE_BACK.encode() not in told and (part := os.read(descriptor, 64)):
        told += part
        if FINISH.encode() in told and not finishing:
            finishing = True
            interrupt(signal.SIGINT)
    if sys.platform != "win32":
        # Asked to end they would record that their steps failed; what they hold unacknowledged goes back.
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                child.kill()
        interrupt(signal.SIGQUIT)
        return
    # Celery's own second Ctrl-C; the first one may still have to come.
    for _ in range(1 if finishing else 2):
        interrupt(signal.SIGINT)
        time.sleep(1)


def interrupt(number: int) -> None:
    """Let this process's main thread handle a signal, as if it came from the terminal.

    Celery ends after the steps at work by SIGINT, and gives them back by SIGQUIT or a second SIGINT.
    """
    if sys.platform == "win32":
        _thread.interrupt_main(number)
    else:
        os.kill(os.getpid(), number)


def main(arguments: list[str] | None = None) -> int:
    """Run one worker until it is told to end; returns the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--queues", required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--renderer")
    parser.add_argument("--renderer-class")
    given = parser.parse_args(arguments)
    from celery.signals import worker_process_init, worker_ready

    from aivj_assets import definitions
    from aivj_assets.orchestration.fleet.look import add_command
    from aivj_assets.orchestration.fleet.tasks import worker_app

    settings = FleetSettings.of(os.environ)
    add_command()
    own_process = pool_of(sys.platform) == "prefork"
    app = worker_app(settings, own_process=own_process)
    # Loaded before the steps' processes are forked, so that they start at once.
    definitions.build_definitions().get_repository_def()
    threading.Thread(target=listen, args=(sys.stdin.fileno(),), name="listener", daemon=True).start()
    worker_ready.connect(lambda **_facts: print(READY_LINE, flush=True), weak=False)  # noqa: T201 - to `worker.py`
    worker_process_init.connect(lambda **_facts: end_with(ProcessMark.of(os.getppid())), weak=False)
    renderer = (given.renderer, given.renderer_class or "unknown") if given.renderer else None
    with announced(
        resolve_data_root(os.environ), name=given.name, queues=given.queues.split(","), concurrency=given.concurrency,
        renderer=renderer,
    ):  # fmt: skip
        app.worker_main(celery_arguments(given.name, given.queues, given.concurrency, sys.platform))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as problem:
        sys.exit(str(problem))
