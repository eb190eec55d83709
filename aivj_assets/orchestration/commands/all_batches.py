"""`aivj run PACK --all-batches`: every batch of a pack that is not accepted and current, one after the other."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from rich.console import Console

from aivj_assets.contracts.clusters import Clusters
from aivj_assets.contracts.lineage import RemovedBatches
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.contracts.style import StyleIndex
from aivj_assets.errors import EXIT_INTERRUPTED, UserError
from aivj_assets.layout import PUBLISHED_CLUSTERS_NAME, BatchKey, DataRoot, check_pack_name
from aivj_assets.orchestration.commands.batch import (
    BatchOptions,
    merged_settings,
    print_problems,
    quiet_output,
    run_progress,
)
from aivj_assets.orchestration.diary import diary_at_end
from aivj_assets.orchestration.gate_report import gate_report_at_end
from aivj_assets.orchestration.guard import acceptance_problem, latest_materialization
from aivj_assets.orchestration.instance import open_instance, report_dead_runs, storage_errors
from aivj_assets.orchestration.launch import RunOutcome, run_batch, run_publication
from aivj_assets.orchestration.lineage.store import Lineage, lineage_of
from aivj_assets.orchestration.requires import require_not_waiting
from aivj_assets.orchestration.resources import check_run_can_have_its_model
from aivj_assets.orchestration.reuse import LAST_STAGE, describe_here, is_finished, is_published
from aivj_assets.orchestration.run_config import batch_run_config
from aivj_assets.orchestration.stages import PUBLISHED_STAGE
from aivj_assets.render.environment import BrowserReport
from aivj_assets.report.batches import BatchLine, print_batches, read_presets

Describe = Callable[[RenderParameters], BrowserReport]


@dataclass
class _Turn:
    """What one batch's turn brought."""

    batch: BatchKey
    done: str = ""
    """What was done: `ran`, `was current`, or nothing when its turn never came."""
    duration_s: float = 0.0
    outcome: RunOutcome | None = None
    problem: str | None = "its turn did not come"
    """Why the batch is not accepted."""
    unfinished: bool = True
    """Whether Ctrl-C came before its end."""


@dataclass
class _Call:
    """One call of the command."""

    console: Console
    root: DataRoot
    instance: dg.DagsterInstance
    config: Mapping[str, Any]
    describe: Describe = field(default_factory=lambda: _once(describe_here))


def run_all_and_report(console: Console, root: DataRoot, pack: str, options: BatchOptions) -> int:
    """Run the batches of a pack in order, publish once, print one table; returns the exit status.

    A batch that is accepted and finished as asked is passed over; one that is rejected or fails holds up no other.
    After Ctrl-C what is done stays, unpublished until the same command or `aivj publish`. The status is 0 when every
    batch is accepted and the pack is published. Raises `UserError` for a pack without batches and for `options.only`.
    """
    if options.only:
        raise UserError("--only materialises assets of one batch: name it in place of --all-batches.")
    found = _batches_of(root, pack)
    removed = RemovedBatches.of(lineage_of(root, pack)).batches
    batches = [batch for batch in found if batch.key not in removed]
    for key, gone in removed.items():
        console.print(
            f"{key} was removed from its lineage ({gone.reason}) and is left out; to let it in: aivj lineage readmit "
            f"{key}",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip
    config = batch_run_config(merged_settings(root, pack, options))
    turns = [_Turn(batch) for batch in batches]
    published: RunOutcome | None = None
    log_path = root.dagster_home / "aivj-run.log"
    with (
        storage_errors(root),
        open_instance(root, os.environ) as instance,
        quiet_output(console, log_path) as shown,
        diary_at_end(instance, root, found, shown),
        gate_report_at_end(instance, root, shown),
    ):
        report_dead_runs(instance, root)
        require_not_waiting(instance, root, pack)
        call = _Call(shown, root, instance, config)
        interrupted = _take_turns(call, turns)
        if not interrupted:
            published = _publish(call, pack, turns)
            interrupted = published is not None and published.interrupted
    print_batches(console, pack, [_line(root, turn) for turn in turns])
    if interrupted:
        return EXIT_INTERRUPTED
    if published is not None:
        print_problems(console, published)
        if published.success:
            console.print(f"Published: {root.pack_dir(pack)}", highlight=False, markup=False, soft_wrap=True)
    accepted = all(turn.problem is None for turn in turns)
    return 0 if accepted and (published is None or published.success) else 1


def _batches_of(root: DataRoot, pack: str) -> list[BatchKey]:
    if "/" in pack:
        raise UserError(f"--all-batches runs all batches of a pack: name the pack in place of '{pack}'.")
    check_pack_name(pack)
    found = root.find_batches()
    batches = [batch for batch in found if batch.pack == pack]
    if not batches:
        known = ", ".join(sorted({batch.pack for batch in found})) or "none yet"
        raise UserError(f"The pack '{pack}' has no batch under {root.presets_dir} (packs that have: {known}).")
    return batches


def _once(describe: Describe) -> Describe:
    """Return `describe` so that it starts one browser: all batches of a call are asked for the same parameters."""
    known: list[BrowserReport] = []

    def first(parameters: RenderParameters) -> BrowserReport:
        if not known:
            known.append(describe(parameters))
        return known[0]

    return first


def _take_turns(call: _Call, turns: Sequence[_Turn]) -> bool:
    """Run what is to be run; returns whether Ctrl-C ended it."""
    interrupted = False
    try:
        for number, turn in enumerate(turns, start=1):
            _take_turn(call, turn, f"Batch {number} of {len(turns)}, {turn.batch}")
            if turn.outcome is not None and turn.outcome.interrupted:
                interrupted = True
                break
    except KeyboardInterrupt:
        interrupted = True
    for turn in turns:
        # Another run may have finished a batch meanwhile; what this call's own run failed at stays told.
        failed = turn.outcome is not None and not turn.outcome.success and not turn.outcome.interrupted
        if turn.problem is None or failed:
            continue
        if acceptance_problem(call.instance, call.root, turn.batch, LAST_STAGE) is None:
            turn.problem = None
    return interrupted


def _take_turn(call: _Call, turn: _Turn, title: str) -> None:
    """Run one batch unless it is current, and say how that went; a mistake in its own files ends its turn only."""
    started = time.monotonic()
    try:
        Manifest.load(call.root.manifest(turn.batch))
        if is_finished(call.instance, call.root, turn.batch, call.config, describe=call.describe):
            turn.done, turn.problem, turn.unfinished = "was current", None, False
            call.console.print(f"{title}: accepted and current", highlight=False, markup=False)
            return
        check_run_can_have_its_model(call.root, turn.batch.pack, call.config)
        turn.done = "ran"
        with run_progress(call.console, call.root, turn.batch, title) as watch:
            turn.outcome = run_batch(call.instance, call.root, turn.batch, call.config, watch=watch)
        turn.problem = _why(call, turn.batch, turn.outcome)
    except UserError as error:
        turn.problem = str(error)
    turn.duration_s = time.monotonic() - started
    turn.unfinished = turn.outcome is not None and turn.outcome.interrupted
    verdict = "accepted" if turn.problem is None else "stopped" if turn.unfinished else "not accepted"
    call.console.print(f"{title}: {verdict} ({turn.duration_s:.0f} s)", highlight=False, markup=False)
    if turn.outcome is None:
        call.console.print("Failed:", turn.problem, highlight=False, markup=False, soft_wrap=True)
    elif not turn.outcome.interrupted:
        print_problems(call.console, turn.outcome)


def _why(call: _Call, batch: BatchKey, outcome: RunOutcome) -> str | None:
    """Return why a batch is not accepted after its run, in the words of the run where it has any.

    What to try has been printed with the run: here it would fill the table.
    """
    if outcome.interrupted:
        return "stopped"
    told = [sentence.partition(". Try: ")[0] for sentence in [*outcome.rejected, *outcome.problems]]
    if told:
        return "; ".join(told)
    problem = acceptance_problem(call.instance, call.root, batch, PUBLISHED_STAGE)
    if problem is None and not outcome.success:
        return f"run {outcome.run_id} did not succeed; its log is in the UI (aivj ui)"
    return problem


def _publish(call: _Call, pack: str, turns: Sequence[_Turn]) -> RunOutcome | None:
    """Publish the pack unless that was done for these very batches, or none is accepted."""
    accepted = [
        turn.batch
        for turn in turns
        if acceptance_problem(call.instance, call.root, turn.batch, PUBLISHED_STAGE) is None
    ]
    if not accepted or _publication_is_current(call, pack, accepted):
        return None
    call.console.print(f"Publishing '{pack}' ...", highlight=False, markup=False)
    return run_publication(call.instance, pack)


def _publication_is_current(call: _Call, pack: str, accepted: Sequence[BatchKey]) -> bool:
    """Whether what is published was made from these batches as they are now."""
    last = latest_materialization(call.instance, "publication", pack)
    if last is None or not is_published(call.root, pack):
        return False
    made = [latest_materialization(call.instance, PUBLISHED_STAGE, batch.key) for batch in accepted]
    if any(event is None or event[0] > last[0] for event in made):
        return False
    try:
        index = StyleIndex.load(call.root.published_files(pack)[-1])
        clusters = Clusters.load(call.root.published(pack, PUBLISHED_CLUSTERS_NAME))
        lineage = Lineage.open(lineage_of(call.root, pack))
    except UserError:
        return False
    told = clusters.lineage
    if lineage is None or told is None or told.name != lineage.name or lineage.ids_changed_after(told.version):
        return False
    listed = (index.model_extra or {}).get("batches")
    names = [item.get("batch") for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    return names == [batch.key for batch in accepted]


def _line(root: DataRoot, turn: _Turn) -> BatchLine:
    done = f"{turn.done}, {turn.duration_s:.0f} s" if turn.outcome is not None else turn.done
    return BatchLine(turn.batch, done, turn.problem, read_presets(root, turn.batch), unfinished=turn.unfinished)
