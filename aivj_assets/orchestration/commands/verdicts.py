"""What `aivj qa …` does: verdicts are imported, batches and publications follow; a look at what is known of a pack."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aivj_assets.contracts.clusters import cluster_id
from aivj_assets.contracts.lineage import RemovedBatches
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.commands.batch import print_problems, quiet_output
from aivj_assets.orchestration.gate_report import gate_report_at_end
from aivj_assets.orchestration.instance import open_instance, report_dead_runs, storage_errors
from aivj_assets.orchestration.launch import run_publication
from aivj_assets.orchestration.lineage.acts import has_accepted_batch
from aivj_assets.orchestration.lineage.store import lineage_of
from aivj_assets.orchestration.verdicts.intake import Stored, import_files, restore_presets
from aivj_assets.orchestration.verdicts.known import Judged
from aivj_assets.orchestration.verdicts.published import says_what_persons_say
from aivj_assets.orchestration.verdicts.record import bring_up_to_date
from aivj_assets.report.console import require_pack

_COLOURS = {"good": "green", "mixed": "yellow", "bad": "red"}


def import_and_report(console: Console, root: DataRoot, paths: Sequence[Path]) -> int:
    """Import files of verdicts, bring records and publications up to date, say what came of it; returns the status.

    Raises `UserError`, with nothing stored, when a file cannot be imported.
    """
    return _follow(console, root, import_files(root, paths))


def restore_and_report(console: Console, root: DataRoot, pack: str, preset_ids: Sequence[str]) -> int:
    """Take back that presets of a pack's lineage are dropped, and publish; returns the exit status."""
    require_pack(root, pack)
    return _follow(console, root, [restore_presets(root, lineage_of(root, pack), preset_ids)])


def _follow(console: Console, root: DataRoot, stored: Sequence[Stored]) -> int:
    """Bring records and publications up to date with what was stored."""
    for made in stored:
        for line in stored_lines(made):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    status = 0
    log_path = root.dagster_home / "aivj-run.log"
    with (
        storage_errors(root),
        open_instance(root, os.environ) as instance,
        quiet_output(console, log_path) as shown,
        gate_report_at_end(instance, root, shown),
    ):
        report_dead_runs(instance, root)
        for made in stored:
            judged = Judged.open(root, made.lineage)
            if judged is None:
                continue

            def say(text: str) -> None:
                shown.print(text, highlight=False, markup=False, soft_wrap=True)

            for batch in bring_up_to_date(instance, judged, say):
                note = judged.conclusion(batch).note
                say(f"{batch}: {note}.")
            status |= _publish(instance, judged, shown)
    return status


def _publish(instance: dg.DagsterInstance, judged: Judged, console: Console) -> int:
    status = 0
    for pack in packs_to_publish(instance, judged):
        console.print(f"Publishing '{pack}' ...", highlight=False, markup=False)
        outcome = run_publication(instance, pack)
        print_problems(console, outcome)
        status |= 0 if outcome.success else 1
    if status:
        console.print("The verdicts are stored; what was published before stays.", highlight=False, markup=False)
    return status


def packs_to_publish(instance: dg.DagsterInstance, judged: Judged) -> list[str]:
    """Return the packs of a lineage that have an accepted batch and are published with other verdicts than those."""
    packs = sorted({BatchKey.parse(key).pack for key in judged.lineage.keys})
    return [
        pack
        for pack in packs
        if not says_what_persons_say(judged.root, judged, pack) and has_accepted_batch(instance, judged.root, pack)
    ]


def stored_lines(made: Stored) -> list[str]:
    """Return what to tell a person of an import, a sentence a line."""
    lines = [f"Look at: {text}" for text in made.told]
    if not made.changed:
        return [*lines, f"Lineage {made.lineage}: nothing new."]
    parts = [f"{len(made.clusters)} clusters" if len(made.clusters) != 1 else "1 cluster"]
    if made.labels:
        parts.append(f"{len(made.labels)} renamed")
    if made.dropped:
        parts.append(f"{len(made.dropped)} presets blacklisted")
    if made.kept:
        parts.append(f"{len(made.kept)} presets no longer blacklisted")
    return [*lines, f"Lineage {made.lineage}: {', '.join(parts)}."]


def show_verdicts(console: Console, root: DataRoot, pack: str) -> None:
    """Print what is known of a pack's clusters, and how far each of its batches is reviewed; raises `UserError`."""
    require_pack(root, pack)
    folder = lineage_of(root, pack)
    judged = Judged.open(root, folder.name)
    if judged is None:
        raise UserError(f"Lineage '{folder.name}' of pack '{pack}' has no version yet: aivj run {pack}.")
    living = [cluster_id(int(number)) for number in sorted(judged.lineage.version.state.numbers.tolist())]
    table = Table(
        title=f"Verdicts of lineage {folder.name}, version {judged.lineage.facts.number}", title_justify="left"
    )
    for name in ("cluster", "label", "verdict", "by", "at", "note"):
        table.add_column(name, overflow="fold")
    for name in living:
        one = judged.known.get(name)
        if one is None:
            table.add_row(name, escape(judged.lineage.labels[name]), "-", "-", "-", "-")
            continue
        colour = _COLOURS.get(one.verdict or "", "bright_black")
        verdict = f"[{colour}]{one.verdict or '-'}[/]" + (f" (ask again: {one.why})" if one.why else "")
        cells = (one.reviewer or "-", one.at[:16].replace("T", " "), one.note or "-")
        table.add_row(name, escape(judged.lineage.labels[name]), verdict, *(escape(cell) for cell in cells))
    console.print(table)
    removed = RemovedBatches.of(folder).batches
    for key in judged.lineage.keys:
        batch = BatchKey.parse(key)
        if batch.pack != pack or key in removed or not root.batch(batch).clusters.exists():
            continue
        qa = judged.conclusion(batch)
        console.print(f"{batch}: {qa.verdict or qa.state}, {qa.note}.", highlight=False, markup=False, soft_wrap=True)
    dropped = judged.verdicts.dropped
    if dropped:
        text = f"{len(dropped)} presets are blacklisted by a person: {root.quality_blacklist(pack)}"
        console.print(text, highlight=False, markup=False, soft_wrap=True)
