"""`aivj run BATCH --allow-unaccepted REASON`: a look past the gates, marked in all it makes and never published."""

from __future__ import annotations

import os

import dagster as dg
from rich.console import Console

from aivj_assets.errors import EXIT_INTERRUPTED, UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.commands.batch import (
    BatchOptions,
    merged_settings,
    print_problems,
    quiet_output,
    run_progress,
)
from aivj_assets.orchestration.guard import batch_states
from aivj_assets.orchestration.instance import open_instance, report_dead_runs, storage_errors
from aivj_assets.orchestration.launch import run_batch
from aivj_assets.orchestration.resources import check_run_can_have_its_model
from aivj_assets.orchestration.run_config import batch_run_config
from aivj_assets.orchestration.stages import STAGES, ancestors
from aivj_assets.report.console import require_batch


def stages_past_the_gates(instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey) -> list[str]:
    """Return the stages that rest on the first one that is not accepted, in the order in which they are made.

    Raises `UserError` when all are accepted, and when the first that is not has not even been made.
    """
    for state in batch_states(instance, root, batch, list(STAGES)):
        if state.problem is None:
            continue
        if state.kind == "missing":
            raise UserError(
                f"Batch {batch}: '{state.stage}' is not made yet, so that there is nothing to look at past the gates: "
                f"aivj run {batch}"
            )
        after = [name for name in STAGES if state.stage in ancestors(name)]
        if after:
            return after
    raise UserError(f"Batch {batch} is accepted: there is no gate to pass over. aivj run {batch} makes it.")


def past_the_gates_and_report(
    console: Console, root: DataRoot, batch: BatchKey, options: BatchOptions, reason: str
) -> int:
    """Make what follows the stage that is not accepted, or `options.only`; returns the exit status."""
    require_batch(root, batch)
    config = batch_run_config(merged_settings(root, batch.pack, options))
    guard = {"allow_unaccepted": True, "reason": reason}
    config["resources"] = {**config.get("resources", {}), "guard": {"config": guard}}
    log_path = root.dagster_home / "aivj-run.log"
    with storage_errors(root), open_instance(root, os.environ) as instance, quiet_output(console, log_path) as shown:
        report_dead_runs(instance, root)
        stages = list(options.only) or stages_past_the_gates(instance, root, batch)
        if "embeddings" in stages:
            check_run_can_have_its_model(root, batch.pack, config)
        with run_progress(shown, root, batch) as watch:
            outcome = run_batch(instance, root, batch, config, only=stages, watch=watch)
    if outcome.interrupted:
        return EXIT_INTERRUPTED
    print_problems(console, outcome)
    if outcome.success:
        console.print(
            f"Made past the gates ({reason}): {', '.join(stages)}. All of it is marked as not accepted, joins no "
            f"lineage and is never published: {root.batch(batch).path}",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
    return 0 if outcome.success else 1
