"""What `aivj k-report` does: the asset of the pack in a run of its own, and its result in the terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.console import Console

from aivj_assets.contracts.k_report import KReport
from aivj_assets.layout import DataRoot
from aivj_assets.orchestration.commands.pack import make_pack_asset
from aivj_assets.report.k_report import print_k_report


def k_report_and_show(
    console: Console, root: DataRoot, pack: str, *, ks: Sequence[int] | None, seed: int | None, as_json: bool
) -> int:
    """Make the report of a pack and print it; returns the exit status. Raises `UserError` for an unknown pack."""
    made = make_pack_asset(
        console, root, pack, "k_report", {"ks": None if ks is None else list(ks), "seed": seed},
        progress_file=root.k_report_progress(pack), title="Comparing k", stopped="An earlier report stays as it was.",
        quiet=as_json,
    )  # fmt: skip
    if not made:
        return 1
    report = KReport.load(root.k_report(pack, ".json"))
    if as_json:
        console.file.write(json.dumps(report.to_json(), indent=2) + "\n")
        return 0
    print_k_report(console, report)
    console.print(f"Page: {root.k_report(pack, '.html')}", markup=False, highlight=False, soft_wrap=True)
    return 0
