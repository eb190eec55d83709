"""What `aivj gates` does: which batch stands where, from Dagster's records of the data root."""

from __future__ import annotations

import json
import os

from rich.console import Console

from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot
from aivj_assets.orchestration.batch_status import batch_statuses
from aivj_assets.orchestration.instance import open_instance, report_dead_runs, storage_errors
from aivj_assets.report.gates_table import print_gates


def gates_and_report(console: Console, root: DataRoot, wanted: str | None, *, as_json: bool) -> int:
    """Print the state of a pack's batches, of one batch, or of all; returns 0 when all of them are accepted, else 1.

    A batch that a person removed from its lineage does not count, unless it was asked for by name. Raises `UserError`
    when there is no such batch.
    """
    listed = any(wanted in (None, batch.pack, batch.key) for batch in root.find_batches())
    if not listed and not root.dagster_home.is_dir():
        # Nothing is made for a mistyped name.
        raise _no_batch(root, wanted)
    with storage_errors(root), open_instance(root, os.environ) as instance:
        # A run whose process was killed would be shown as at work.
        report_dead_runs(instance, root)
        statuses = batch_statuses(instance, root, wanted)
    if not statuses:
        raise _no_batch(root, wanted)
    if as_json:
        console.file.write(json.dumps([status.to_json() for status in statuses], indent=2) + "\n")
    else:
        print_gates(console, statuses)
    counted = [status for status in statuses if status.state != "removed" or status.batch == wanted]
    return 0 if counted and all(status.accepted for status in counted) else 1


def _no_batch(root: DataRoot, wanted: str | None) -> UserError:
    named = f"'{wanted}' " if wanted else ""
    return UserError(f"No batch {named}under {root.presets_dir}. Make a pack: aivj pack import SOURCE --pack NAME.")
