"""What `aivj adopt` does: the adoption, then the main job's remaining assets, publication, and a summary."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from dagster import DagsterEventType
from rich.console import Console

from aivj_assets.errors import EXIT_INTERRUPTED
from aivj_assets.layout import BatchKey, DataRoot, check_pack_name, project_root
from aivj_assets.orchestration.adopt.adoption import ADOPTED_STAGES, AdoptOptions, AdoptOutcome, adopt_pack
from aivj_assets.orchestration.commands.batch import print_problems, quiet_output
from aivj_assets.orchestration.diary import diary_at_end
from aivj_assets.orchestration.guard import acceptance_problem
from aivj_assets.orchestration.instance import open_instance, report_dead_runs, storage_errors
from aivj_assets.orchestration.launch import RunOutcome, Watcher, publish_after, run_batch
from aivj_assets.orchestration.reuse import LAST_STAGE, is_published
from aivj_assets.orchestration.stages import PUBLISHED_STAGE, STAGES
from aivj_assets.packs.adopt import Tell
from aivj_assets.report.console import print_summary, progress_bar, require_batch, summarise_batch

REMAINING_STAGES = tuple(name for name in STAGES if name not in ADOPTED_STAGES)


def adopt_and_report(console: Console, root: DataRoot, pack: str, options: AdoptOptions) -> int:
    """Adopt a folder as a pack of one batch, finish and publish it, print what became of it; returns the exit status.

    Raises `UserError`, with nothing written, when the folder or the pack does not allow it.
    """
    batch = BatchKey(check_pack_name(pack))
    require_batch(root, batch)
    log_path = root.dagster_home / "aivj-run.log"
    with (
        storage_errors(root),
        open_instance(root, os.environ) as instance,
        quiet_output(console, log_path) as shown,
        diary_at_end(instance, root, [batch], shown),
    ):
        report_dead_runs(instance, root)
        with _telling(shown) as tell:
            adopted = adopt_pack(instance, root, batch, options, tell)
        _print_adopted(shown, batch, adopted)
        outcome = _finish(shown, instance, root, batch) if adopted.in_force else RunOutcome("", success=False)
        accepted = acceptance_problem(instance, root, batch, PUBLISHED_STAGE) is None
    if outcome.interrupted:
        return EXIT_INTERRUPTED
    outcome.rejected, outcome.warnings = [*adopted.rejected, *outcome.rejected], [*adopted.warnings, *outcome.warnings]
    print_problems(console, outcome)
    command = "aivj ui" if root.path == project_root() else f'aivj ui --root "{root.path}"'
    print_summary(console, summarise_batch(root, batch), accepted=accepted, ui_command=command)
    return 0 if outcome.success and accepted else 1


def _finish(console: Console, instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey) -> RunOutcome:
    """Make what follows clusters by the main job, and publish; nothing is made again that is there and current."""
    outcome = RunOutcome("", success=True)
    if acceptance_problem(instance, root, batch, LAST_STAGE) is not None:
        with _watching(console, batch) as watch:
            outcome = run_batch(instance, root, batch, {}, only=REMAINING_STAGES, watch=watch)
    elif is_published(root, batch.pack):
        console.print("Everything is there and current: nothing to do.")
        return outcome
    return publish_after(instance, batch.pack, outcome) if outcome.success else outcome


def _print_adopted(console: Console, batch: BatchKey, adopted: AdoptOutcome) -> None:
    looked = adopted.folder
    ok = looked.frames_meta.ok
    what = f"{ok:,} ok presets of {len(looked.manifest.presets):,} with {len(looked.copies):,} frames"
    clusters = f"{len(set(looked.numbers)):,} clusters, rows of {looked.rows.meta.card.name}"
    if adopted.is_new:
        _say(console, f"Batch {batch}, taken from {looked.folder}: {what}; {clusters}.")
        _say(console, f"Frames copied now: {adopted.copied:,} of {len(looked.copies):,}.")
    else:
        _say(console, f"Batch {batch} is adopted from {looked.folder.name} already: {what}; {clusters}.")
    for note in adopted.notes:
        _say(console, f"Note: {note}.")
    if adopted.in_force:
        _say(console, f"Lineage '{adopted.lineage}' has these cluster ids as its baseline.")
    else:
        _say(console, f"The batch is rejected: lineage '{adopted.lineage}' still has no version.")


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _telling(console: Console) -> Iterator[Tell]:
    """Show a bar for each thing that is counted."""
    with progress_bar(console, transient=True) as progress:
        tasks = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield tell


@contextmanager
def _watching(console: Console, batch: BatchKey) -> Iterator[Watcher]:
    """Show how many of the assets after clusters are made."""
    with progress_bar(console) as progress:
        task = progress.add_task(f"Batch {batch}", total=len(REMAINING_STAGES))

        def watch(event: dg.DagsterEvent) -> None:
            if event.event_type == DagsterEventType.ASSET_MATERIALIZATION and event.asset_key:
                progress.update(task, advance=1, description=f"Batch {batch}: {event.asset_key.to_user_string()} done")

        yield watch
