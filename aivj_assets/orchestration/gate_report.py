"""Making `gates.json` and `gates.html`: by the asset `gate_report`, and at the end of commands that run batches."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from rich.console import Console

from aivj_assets.contracts.gate_report import BatchStatus, GateReport
from aivj_assets.contracts.pack_settings import PACK_SETTINGS_NAME
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.batch_status import gate_report
from aivj_assets.orchestration.commands.ui import UI_URL_VARIABLE, default_ui_url
from aivj_assets.report.gates_page import write_gates_page

GATE_REPORT_JOB = "gate_report_job"
_RUNS_LOOKED_AT = 25
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def make_gate_report(
    instance: dg.DagsterInstance, root: DataRoot, *, ui_url: str | None = None
) -> tuple[GateReport, list[BatchKey]]:
    """Write `gates.json` and the page; returns the report and the batches of which it says something new.

    `ui_url` is where Dagster's UI shows runs; by default that of the UI that started this process, else what the last
    report had. Raises `UserError` when a file cannot be written.
    """
    last = read_gate_report(root)
    url = ui_url or os.environ.get(UI_URL_VARIABLE, "").strip() or (last.ui_url if last else None) or default_ui_url()
    report = gate_report(instance, root, url)
    path = root.gate_report(".json")
    try:
        report.save(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}.") from None
    write_gates_page(root.gate_report(".html"), report)
    known = _by_key(last.batches) if last else {}
    changed = [key for key, status in _by_key(report.batches).items() if known.get(key) != status]
    return report, [BatchKey.parse(key) for key in changed]


def read_gate_report(root: DataRoot) -> GateReport | None:
    """Return the last report; None where there is none that can be read."""
    try:
        return GateReport.load(root.gate_report(".json"))
    except UserError:
        return None


@contextmanager
def gate_report_at_end(instance: dg.DagsterInstance, root: DataRoot, console: Console) -> Iterator[None]:
    """Bring the page up to date when the block ends, however it does; a page that cannot be made stops nothing."""
    try:
        yield
    finally:
        try:
            make_gate_report(instance, root)
        except Exception as error:  # noqa: BLE001 - the command's own work is done, whatever is wrong with the page
            line = f"The page of the gates is not brought up to date: {error}"
            console.print(line, highlight=False, markup=False, soft_wrap=True)


def seen_digest(instance: dg.DagsterInstance, root: DataRoot) -> str | None:
    """Return a digest that changes when a run has ended, or a file by which a batch's state may change; cheap.

    None while there is no batch. Runs that only make the report do not count.
    """
    batches = root.find_batches()
    if not batches and not root.find_made_batches():
        return None
    records = instance.get_run_records(
        dg.RunsFilter(statuses=_ENDED), limit=_RUNS_LOOKED_AT, order_by="update_timestamp"
    )
    last = next((record for record in records if record.dagster_run.job_name != GATE_REPORT_JOB), None)
    places = [root.manifest(batch) for batch in batches] + [root.batch(batch).run_meta for batch in batches]
    places += [root.pack_dir(pack) / PACK_SETTINGS_NAME for pack in sorted({batch.pack for batch in batches})]
    places += [root.lineage(name).removed for name in root.find_lineages()]
    seen = {
        "run": None if last is None else [last.dagster_run.run_id, last.dagster_run.status.value, last.end_time],
        "files": [_stamp(root, path) for path in places],
    }
    return hashlib.sha256(json.dumps(seen).encode("utf-8")).hexdigest()


def _stamp(root: DataRoot, path: Path) -> list[object]:
    name = path.relative_to(root.path).as_posix()
    try:
        found = path.stat()
    except OSError:
        return [name]
    return [name, found.st_mtime_ns, found.st_size]


def _by_key(batches: list[BatchStatus]) -> Mapping[str, BatchStatus]:
    return {status.batch: status for status in batches}
