"""`aivj remedy`: what fits a rejected batch, the run that tries it, and its figures before and after."""

from __future__ import annotations

import json
import os

from rich.console import Console
from rich.table import Table

from aivj_assets.errors import EXIT_INTERRUPTED
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.commands.batch import print_problems, quiet_output, run_progress
from aivj_assets.orchestration.diary import diary_at_end
from aivj_assets.orchestration.gate_report import gate_report_at_end
from aivj_assets.orchestration.guard import acceptance_problem
from aivj_assets.orchestration.instance import open_instance, report_dead_runs, storage_errors
from aivj_assets.orchestration.launch import publish_after, run_batch
from aivj_assets.orchestration.remedies import AFTER_TAG, Treatment, comparison, find_treatment
from aivj_assets.orchestration.requires import require_not_waiting
from aivj_assets.orchestration.resources import check_run_can_have_its_model
from aivj_assets.orchestration.stages import PUBLISHED_STAGE
from aivj_assets.render.diagnose import NoRemedy
from aivj_assets.report.console import require_batch


def remedy_and_report(console: Console, root: DataRoot, batch: BatchKey, *, dry_run: bool) -> int:
    """Try the change that fits a rejected batch and say what came of it; returns the exit status.

    With `dry_run` it is only told. Status 0: the batch is accepted now (or there is something to try); 1: it is not, or
    no change fits. Raises `UserError` when the batch's frames are not rejected.
    """
    require_batch(root, batch)
    log_path = root.dagster_home / "aivj-run.log"
    with storage_errors(root), open_instance(root, os.environ) as instance:
        report_dead_runs(instance, root)
        treatment = find_treatment(instance, root, batch)
        if isinstance(treatment, NoRemedy):
            _say(console, f"No change of a parameter fits batch {batch}: {treatment.advice}.")
            return 1
        _tell(console, treatment)
        if dry_run:
            return 0
        require_not_waiting(instance, root, batch.pack)
        check_run_can_have_its_model(root, batch.pack, treatment.run_config)
        with (
            quiet_output(console, log_path) as shown,
            diary_at_end(instance, root, [batch], shown),
            gate_report_at_end(instance, root, shown),
        ):
            with run_progress(shown, root, batch) as watch:
                outcome = run_batch(instance, root, batch, treatment.run_config, watch=watch, more_tags=treatment.tags)
            run = instance.get_run_by_id(outcome.run_id)
            after = json.loads(run.tags.get(AFTER_TAG, "{}")) if run is not None else {}
            accepted = acceptance_problem(instance, root, batch, PUBLISHED_STAGE) is None
            if outcome.success and accepted:
                outcome = publish_after(instance, batch.pack, outcome)
    if outcome.interrupted:
        return EXIT_INTERRUPTED
    print_problems(console, outcome)
    if after:
        _print_figures(console, treatment, after)
    _say(console, f"Batch {batch} is {'accepted' if accepted else 'still not accepted'}.")
    return 0 if accepted and outcome.success else 1


def _tell(console: Console, treatment: Treatment) -> None:
    remedy = treatment.remedy
    what = "the whole batch is rendered again" if remedy.is_pixel else "only the failed presets are rendered again"
    _say(console, f"Batch {treatment.batch}, try {treatment.tries + 1}: {remedy}: {remedy.evidence}; {what}.")
    if treatment.frozen_problem is not None:
        _say(console, f"Afterwards a person has to re-freeze: {treatment.frozen_problem}.")


def _print_figures(console: Console, treatment: Treatment, after: dict[str, object]) -> None:
    table = Table(title=str(treatment.remedy), title_justify="left")
    for heading in ("figure", "required", "before", "after"):
        table.add_column(heading)
    for row in comparison(treatment.before, after):
        table.add_row(*row)
    console.print(table)


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
