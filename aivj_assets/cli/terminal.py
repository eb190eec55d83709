"""How commands speak: plain lines, bars of progress, and what Ctrl-C says where nothing was made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from aivj_assets.errors import StoppedError

console = Console(soft_wrap=False)
EXIT_FAILED = 1


def say(text: str) -> None:
    """Print one line as it is: paths stay whole, brackets are no markup."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def nothing_is_made() -> Iterator[None]:
    """Say on Ctrl-C that there is nothing to go on with, in place of what commands that make something say."""
    try:
        yield
    except KeyboardInterrupt:
        Console(stderr=True, soft_wrap=True).print("Stopped. Nothing was changed.")
        raise StoppedError from None


@contextmanager
def counting(title: str, *, quiet: bool = False) -> Iterator[Any]:
    """Show a progress bar, on the error output with `quiet`; yields a callable (done, total)."""
    from aivj_assets.report.console import progress_bar

    with progress_bar(Console(stderr=True) if quiet else console, transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
