"""What `aivj run`, `aivj demo` and `aivj publish` do, over Dagster's instance of the data root."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
from dagster import DagsterEventType
from rich.console import Console

from aivj_assets.contracts.pack_settings import PackSettings
from aivj_assets.errors import EXIT_INTERRUPTED, UserError
from aivj_assets.layout import BatchKey, DataRoot, project_root, start_new_log
from aivj_assets.orchestration.commands.follow import following
from aivj_assets.orchestration.diary import diary_at_end
from aivj_assets.orchestration.gate_report import gate_report_at_end
from aivj_assets.orchestration.guard import acceptance_problem
from aivj_assets.orchestration.instance import open_instance, report_dead_runs, storage_errors
from aivj_assets.orchestration.launch import RunOutcome, Watcher, publish_after, run_batch, run_publication
from aivj_assets.orchestration.requires import require_not_waiting
from aivj_assets.orchestration.resources import check_run_can_have_its_model, pack_choice
from aivj_assets.orchestration.reuse import is_finished, is_published
from aivj_assets.orchestration.run_config import batch_run_config
from aivj_assets.orchestration.stages import PUBLISHED_STAGE, STAGES
from aivj_assets.report.console import (
    print_summary,
    progress_bar,
    read_embedding_progress,
    read_render_progress,
    require_batch,
    require_pack,
    summarise_batch,
)


@dataclass(frozen=True)
class BatchOptions:
    """What the command line sets on top of a pack's settings."""

    k: int | None = None
    k_reason: str | None = None
    strategy: str | None = None
    embedder: str | None = None
    pretrained: str | None = None
    device: str | None = None
    precision: str | None = None
    render: dict[str, Any] = field(default_factory=dict)
    only: Sequence[str] = ()


def merged_settings(root: DataRoot, pack: str, options: BatchOptions) -> PackSettings:
    """Return a pack's settings with the command line's on top; `auto` becomes the model that is taken, and why."""
    settings = PackSettings.of_pack(root, pack)
    embedder = settings.embedder
    if options.embedder or options.pretrained:
        choice = pack_choice(embedder, os.environ, model=options.embedder, pretrained=options.pretrained)
        named = {"model": choice.model, "pretrained": choice.pretrained, "note": choice.reason}
        embedder = embedder.model_copy(update=named)
    where = {"device": options.device, "precision": options.precision}
    embedder = embedder.model_copy(update={name: value for name, value in where.items() if value is not None})
    clusters = settings.clusters
    if options.k is not None:
        # The pack's reason is for the pack's k.
        reason = options.k_reason or (clusters.reason if options.k == clusters.k else None)
        clusters = clusters.model_copy(update={"k": options.k, "reason": reason})
    if options.strategy is not None:
        clusters = clusters.model_copy(update={"strategy": options.strategy})
    render = {**settings.render, **options.render}
    return settings.model_copy(update={"embedder": embedder, "clusters": clusters, "render": render})


def run_and_report(
    console: Console, root: DataRoot, batch: BatchKey, options: BatchOptions, *, reuse: bool = False
) -> int:
    """Run a batch, publish its pack when it is accepted, print the summary; returns the exit status.

    With `reuse` a batch that is finished as asked is shown without a run.
    """
    require_batch(root, batch)
    unknown = [name for name in options.only if name not in STAGES]
    if unknown:
        raise UserError(f"'{unknown[0]}' is no asset of a batch; choose from {', '.join(STAGES)}.")
    config = batch_run_config(merged_settings(root, batch.pack, options))
    log_path = root.dagster_home / "aivj-run.log"
    with (
        storage_errors(root),
        open_instance(root, os.environ) as instance,
        quiet_output(console, log_path) as shown,
        diary_at_end(instance, root, [batch], shown),
        gate_report_at_end(instance, root, shown),
    ):
        report_dead_runs(instance, root)
        reused = reuse and is_finished(instance, root, batch, config)
        if reused:
            outcome = RunOutcome("", success=True)
            shown.print("Everything is there and current: nothing to do.")
        else:
            require_not_waiting(instance, root, batch.pack)
            if not options.only or {"frames", "embeddings"} & set(options.only):
                check_run_can_have_its_model(root, batch.pack, config)
            with run_progress(shown, root, batch) as watch:
                outcome = run_batch(instance, root, batch, config, only=options.only or None, watch=watch)
        accepted = acceptance_problem(instance, root, batch, PUBLISHED_STAGE) is None
        # Nothing is rewritten where it says the same already.
        if outcome.success and accepted and not options.only and not (reused and is_published(root, batch.pack)):
            outcome = publish_after(instance, batch.pack, outcome)
    if outcome.interrupted:
        return EXIT_INTERRUPTED
    print_problems(console, outcome)
    if not options.only or outcome.success:
        command = "aivj ui" if root.path == project_root() else f'aivj ui --root "{root.path}"'
        failed = not outcome.success
        print_summary(console, summarise_batch(root, batch), accepted=accepted, ui_command=command, failed=failed)
    return 0 if outcome.success and (accepted or options.only) else 1


def publish_and_report(console: Console, root: DataRoot, pack: str) -> int:
    """Publish a pack and say what was written; returns the exit status."""
    require_pack(root, pack)
    log_path = root.dagster_home / "aivj-run.log"
    with (
        storage_errors(root),
        open_instance(root, os.environ) as instance,
        quiet_output(console, log_path) as shown,
        gate_report_at_end(instance, root, shown),
    ):
        report_dead_runs(instance, root)
        outcome = run_publication(instance, pack)
    print_problems(console, outcome)
    if outcome.success:
        console.print(f"Published: {root.pack_dir(pack)}", highlight=False)
    return 0 if outcome.success else 1


def print_problems(console: Console, outcome: RunOutcome) -> None:
    """Print why a run failed, which gates rejected its batch and which checks warn, one line each."""
    for sentence in outcome.rejected:
        console.print("Rejected:", sentence, highlight=False, markup=False, soft_wrap=True)
    for sentence in outcome.problems:
        console.print("Failed:", sentence, highlight=False, markup=False, soft_wrap=True)
    for sentence in outcome.warnings:
        console.print("Look at:", sentence, highlight=False, markup=False, soft_wrap=True)
    if not outcome.success and not outcome.rejected and not outcome.problems:
        console.print(f"Run {outcome.run_id} did not succeed; its log is in the UI (aivj ui).", highlight=False)


@contextmanager
def quiet_output(console: Console, log_path: Path) -> Iterator[Console]:
    """Send what Dagster and the steps' processes print to a log file; yields a console that still reaches the user.

    The file descriptors themselves are turned, so that the processes of steps inherit the log.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    start_new_log(log_path)
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with log_path.open("ab") as log, os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace") as terminal:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            yield Console(file=terminal, width=console.width, legacy_windows=console.legacy_windows)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, descriptor in enumerate(saved, start=1):
                os.dup2(descriptor, number)
                os.close(descriptor)


@contextmanager
def run_progress(console: Console, root: DataRoot, batch: BatchKey, title: str | None = None) -> Iterator[Watcher]:
    """Show the stage at work and, while frames are rendered or embedded, how many of how many."""
    title = title or f"Batch {batch}"
    with progress_bar(console) as progress:
        stages = progress.add_task(title, total=len(STAGES))
        parts = {
            "frames": (progress.add_task("  rendering", start=False, total=None, visible=False), read_render_progress),
            "embeddings": (
                progress.add_task("  embedding", start=False, total=None, visible=False), read_embedding_progress,
            ),
        }  # fmt: skip
        totals: dict[str, int] = {}

        def watch(event: dg.DagsterEvent) -> None:
            if event.event_type == DagsterEventType.ASSET_MATERIALIZATION and event.asset_key:
                name = event.asset_key.to_user_string()
                progress.update(stages, advance=1, description=f"{title}: {name} done")
                if name in totals:
                    # Nobody may have read its last figures: they go when the stage is done.
                    progress.update(parts[name][0], completed=totals[name])
            elif event.event_type == DagsterEventType.STEP_START and event.step_key:
                name = event.step_key.partition("[")[0].replace("frames.", "frames: ")
                progress.update(stages, description=f"{title}: {name}")

        def look() -> None:
            for name, (task, read) in parts.items():
                state = read(root, batch)
                if state is not None and state[1] > 0:
                    progress.start_task(task)
                    totals[name] = state[1]
                    progress.update(task, completed=state[0], total=state[1], visible=True)

        with following(look):
            yield watch
