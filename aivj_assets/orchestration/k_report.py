"""What `aivj k-report` does: the asset of the pack in a run of its own, its progress and its result in the terminal."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console

from aivj_assets.contracts.k_report import KReport
from aivj_assets.contracts.progress import WorkProgress
from aivj_assets.errors import StoppedError
from aivj_assets.layout import DataRoot
from aivj_assets.orchestration.commands import print_problems, quiet_output
from aivj_assets.orchestration.follow import following
from aivj_assets.orchestration.instance import open_instance, report_dead_runs, storage_errors
from aivj_assets.orchestration.launch import run_k_report
from aivj_assets.report.console import progress_bar, require_pack
from aivj_assets.report.k_report import print_k_report


def k_report_and_show(
    console: Console, root: DataRoot, pack: str, *, ks: Sequence[int] | None, seed: int | None, as_json: bool
) -> int:
    """Make the report of a pack and print it; returns the exit status. Raises `UserError` for an unknown pack."""
    require_pack(root, pack)
    given = {"ks": None if ks is None else list(ks), "seed": seed}
    config = {name: value for name, value in given.items() if value is not None}
    errors = Console(stderr=True)
    log_path = root.dagster_home / "aivj-run.log"
    with storage_errors(root), open_instance(root, os.environ) as instance:
        report_dead_runs(instance, root)
        # The bar stands on the error output, which is turned to the log as well: it needs the terminal's own.
        with quiet_output(console, log_path) as shown, _progress(shown, root, pack, quiet=as_json):
            outcome = run_k_report(instance, pack, {"ops": {"k_report": {"config": config}}} if config else {})
    if outcome.interrupted:
        errors.print("Stopped. An earlier report stays as it was.", soft_wrap=True)
        raise StoppedError
    if not outcome.success:
        print_problems(errors if as_json else console, outcome)
        return 1
    path = root.k_report(pack, ".json")
    report = KReport.load(path)
    if as_json:
        console.file.write(json.dumps(report.to_json(), indent=2) + "\n")
        return 0
    print_k_report(console, report)
    console.print(f"Page: {root.k_report(pack, '.html')}", markup=False, highlight=False, soft_wrap=True)
    return 0


@contextmanager
def _progress(console: Console, root: DataRoot, pack: str, *, quiet: bool) -> Iterator[None]:
    """Show how many fits of how many are done."""
    if quiet:
        yield
        return
    path = root.k_report_progress(pack)
    with progress_bar(console, transient=True) as progress:
        task = progress.add_task("Comparing k", total=None)

        def look() -> None:
            state = WorkProgress.under_way(path)
            if state is not None:
                progress.update(task, completed=state.done, total=state.total)

        with following(look):
            yield
