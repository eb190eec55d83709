"""Replacing a whole folder, so that a reader finds the old one or the new one, never a mixture."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from aivj_assets.errors import UserError
from aivj_assets.layout import replace_file


@contextmanager
def rebuilt_folder(target: Path, *, keep: Sequence[str] = ()) -> Iterator[Path]:
    """Yield an empty folder beside `target` to build in; when the block ends without an error, it takes its place.

    Windows neither renames over a folder nor renames one in which a file is open: the old folder is renamed away, the
    new one renamed in, the old one deleted as far as possible. When the old one cannot be moved it stays, untouched,
    and `UserError` says so. Leftovers of a crash are cleared by the next success. One writer at a time.

    Files and folders named in `keep` are another writer's: the new folder takes them over as they are at the end.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    token = uuid.uuid4().hex[:8]
    new, old = (target.with_name(f".{target.name}.{state}-{token}") for state in ("new", "old"))
    new.mkdir()
    try:
        yield new
        _take_over(target, new, keep)
        _swap(new, target, old)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    for leftover in target.parent.glob(f".{target.name}.*-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _take_over(target: Path, new: Path, keep: Sequence[str]) -> None:
    """Copy what is kept: moved, it would be lost by a crash between two renames."""
    for name in keep:
        source = target / name
        if source.is_dir():
            shutil.copytree(source, new / name)
        elif source.exists():
            shutil.copy2(source, new / name)


def _swap(new: Path, target: Path, old: Path) -> None:
    existed = target.exists()
    if existed:
        try:
            replace_file(target, old)
        except PermissionError as error:
            raise UserError(
                f"{target} is open in another program ({error.strerror or 'access denied'}); close it and try again. "
                "The earlier version is unchanged."
            ) from None
    try:
        replace_file(new, target)
    except OSError:
        if existed:
            replace_file(old, target)
        raise
