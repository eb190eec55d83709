"""What the commands that make a pack's own assets share: a run of the asset, its progress, how it ended."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from aivj_assets.contracts.progress import WorkProgress
from aivj_assets.errors import StoppedError
from aivj_assets.layout import DataRoot
from aivj_assets.orchestration.commands.batch import print_problems, quiet_output
from aivj_assets.orchestration.commands.follow import following
from aivj_assets.orchestration.instance import open_instance, report_dead_runs, storage_errors
from aivj_assets.orchestration.launch import run_pack_job
from aivj_assets.report.console import progress_bar, require_pack

Describe = Callable[[WorkProgress], str]


def make_pack_asset(
    console: Console,
    root: DataRoot,
    pack: str,
    asset: str,
    config: Mapping[str, Any],
    *,
    progress_file: Path,
    title: str | Describe,
    stopped: str,
    quiet: bool = False,
) -> bool:
    """Materialise a pack's asset by its job `<asset>_job`, with a progress bar; returns whether that succeeded.

    `config` is the asset's own, what is None left out. `progress_file` is where the asset tells how far it has come
    (`WorkProgress`), `title` the bar's text or what it is made of. `stopped` is said after Ctrl-C, which raises
    `StoppedError`. What failed is printed, with `quiet`, which shows no bar either, on the error output. Raises
    `UserError` for an unknown pack.
    """
    require_pack(root, pack)
    errors = Console(stderr=True)
    given = {name: value for name, value in config.items() if value is not None}
    run_config = {"ops": {asset: {"config": given}}} if given else {}
    with storage_errors(root), open_instance(root, os.environ) as instance:
        report_dead_runs(instance, root)
        # The bar stands on the error output, which is turned to the log as well: it needs the terminal's own.
        with (
            quiet_output(console, root.dagster_home / "aivj-run.log") as shown,
            _progress(shown, progress_file, title, quiet=quiet),
        ):
            outcome = run_pack_job(instance, pack, f"{asset}_job", run_config)
    if outcome.interrupted:
        errors.print(f"Stopped. {stopped}", soft_wrap=True)
        raise StoppedError
    if not outcome.success:
        print_problems(errors if quiet else console, outcome)
    return outcome.success


@contextmanager
def _progress(console: Console, path: Path, title: str | Describe, *, quiet: bool) -> Iterator[None]:
    if quiet:
        yield
        return
    with progress_bar(console, transient=True) as progress:
        task = progress.add_task(title if isinstance(title, str) else "", total=None)

        def look() -> None:
            state = WorkProgress.under_way(path)
            if state is not None:
                words = title if isinstance(title, str) else title(state)
                progress.update(task, completed=state.done, total=state.total, description=words)

        with following(look):
            yield
