"""One process at a time changes what several runs share: a pack's profile, a lineage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from aivj_assets.errors import UserError
from aivj_assets.orchestration.fleet.settings import FleetSettings, is_cluster


@contextmanager
def held_lock(path: Path, *, timeout_s: float = 60.0) -> Iterator[None]:
    """Hold a lock file; raises `UserError` when another process holds it for longer than `timeout_s`.

    The operating system frees it when its holder dies. In the cluster profile the database holds a lock of that name
    too: some network folders lock files for the processes of one machine only (sshfs: two hosts made the database's
    tables at once).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            if is_cluster(os.environ):
                # Not at the top: the extra `cluster` is needed for it.
                from aivj_assets.orchestration.fleet.storage import database_lock

                url = FleetSettings.of(os.environ).postgres_url
                stack.enter_context(database_lock(url, path.as_posix(), timeout_s=timeout_s))
            stack.enter_context(FileLock(path, timeout=timeout_s))
        except (Timeout, TimeoutError):
            raise UserError(f"{path} stays locked; another process hangs. End it and try again.") from None
        yield
