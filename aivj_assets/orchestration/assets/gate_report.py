"""`gate_report`: one static page and one JSON file that tell which batch stands where."""

from typing import Any

import dagster as dg
from pydantic import Field

from aivj_assets.contracts.gate_report import STATES, GateReport
from aivj_assets.contracts.gates import GATES
from aivj_assets.layout import DataRoot
from aivj_assets.orchestration.diary import keep_diary
from aivj_assets.orchestration.gate_report import make_gate_report
from aivj_assets.orchestration.pictures import markdown_table
from aivj_assets.orchestration.resources import DataRootResource
from aivj_assets.orchestration.stages import PUBLISHED_STAGE
from aivj_assets.orchestration.step import user_errors


class GateReportConfig(dg.Config):
    """Where the page's links to runs lead."""

    ui_url: str | None = Field(
        default=None,
        description="Dagster's UI, e.g. http://127.0.0.1:3000; by default that of the UI that started the run",
    )


@dg.asset(
    # Whatever state a batch is in: the page tells of all of them.
    deps=[dg.AssetDep(name, partition_mapping=dg.AllPartitionMapping()) for name in ("frames", PUBLISHED_STAGE)],
    group_name="overview",
    kinds={"html"},
)
def gate_report(
    context: dg.AssetExecutionContext, config: GateReportConfig, data_root: DataRootResource
) -> dg.MaterializeResult[Any]:
    """Write `artifacts/aivj/gates.html`: batches by gates with values, trends, failures, and what next; per batch.

    Dagster's badge of a check shows the partition that ran last; this page shows each. The diary of the batches is
    brought up to date as well.
    """
    root = data_root.get()
    with user_errors():
        report, changed = make_gate_report(context.instance, root, ui_url=config.ui_url)
        keep_diary(context.instance, root, changed, context.log.warning)
        return dg.MaterializeResult(metadata=_facts(root, report))


def _facts(root: DataRoot, report: GateReport) -> dict[str, Any]:
    head = ("batch", "state", *(f"{gate.name} {gate.comparison} {gate.threshold:g}" for gate in GATES), "judged (UTC)")
    rows = []
    for status in report.batches:
        results = {result.gate: result for result in status.gates}
        cells = [results.get(gate.name) for gate in GATES]
        shown = ["-" if cell is None else f"{cell.shown}{' failed' if cell.passed is False else ''}" for cell in cells]
        rows.append((status.batch, status.state, *shown, (status.judged_at or "-")[:16].replace("T", " ")))
    return {
        "batches": len(report.batches),
        **{state.replace(" ", "_"): report.counts[state] for state in STATES if report.counts.get(state)},
        "gates": dg.MetadataValue.md(markdown_table(head, rows) if rows else "no batch yet"),
        "page": dg.MetadataValue.path(str(root.gate_report(".html"))),
        "file": dg.MetadataValue.path(str(root.gate_report(".json"))),
    }
