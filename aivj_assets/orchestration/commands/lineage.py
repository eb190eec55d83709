"""What `aivj lineage …` does: an act in a run of its own and the publications that follow, a look, a replay."""

from __future__ import annotations

import json
import os
from typing import Any

import dagster as dg
from rich.console import Console

from aivj_assets.contracts.base import utc_now
from aivj_assets.contracts.cluster_labels import ClusterLabels, with_person_label, without_person_label
from aivj_assets.contracts.clusters import cluster_id
from aivj_assets.contracts.lineage import RemovedBatches
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.commands.batch import print_problems, quiet_output
from aivj_assets.orchestration.file_lock import held_lock
from aivj_assets.orchestration.guard import acceptance_problem
from aivj_assets.orchestration.instance import open_instance, report_dead_runs, storage_errors
from aivj_assets.orchestration.launch import run_lineage_act, run_publication
from aivj_assets.orchestration.lineage.acts import (
    has_accepted_batch,
    packs_of_act,
    replay,
    require_lineage,
    require_reason,
    require_removed,
)
from aivj_assets.orchestration.lineage.join import LINEAGE_TIMEOUT_S, ids_are_current
from aivj_assets.orchestration.lineage.labels import update_labels
from aivj_assets.orchestration.lineage.store import Lineage, lineage_of
from aivj_assets.orchestration.stages import PUBLISHED_STAGE
from aivj_assets.report.lineage import print_lineage


def show(console: Console, root: DataRoot, name: str, *, as_json: bool) -> None:
    """Print a lineage's versions; raises `UserError` when there is no such lineage."""
    lineage = require_lineage(root.lineage(name))
    removed = RemovedBatches.of(lineage.folder).batches
    versions = list(lineage.history())[::-1]
    if as_json:
        told = [
            {key: value for key, value in facts.to_json().items() if key not in {"state", "stateSha256"}}
            for facts in versions
        ]
        gone = {key: line.to_json() for key, line in removed.items()}
        console.file.write(json.dumps({"lineage": name, "versions": told, "removed": gone}, indent=2) + "\n")
        return
    print_lineage(console, name, versions, removed)


def act_and_report(console: Console, root: DataRoot, config: dict[str, Any]) -> int:
    """Do an act, publish the packs that it changes, say what is left to do; returns the exit status."""
    name = config.get("lineage") or config.get("batch") or ""
    require_reason(config["reason"])
    if "lineage" in config:
        require_lineage(root.lineage(config["lineage"]))
    else:
        _require_batch(root, BatchKey.parse(config["batch"]), config["act"])
    log_path = root.dagster_home / "aivj-run.log"
    published: list[str] = []
    with storage_errors(root), open_instance(root, os.environ) as instance, quiet_output(console, log_path) as shown:
        report_dead_runs(instance, root)
        shown.print(f"{config['act']} of {name} ...", highlight=False, markup=False)
        outcome = run_lineage_act(instance, name, config)
        packs = packs_of_act(root, config["act"], config.get("lineage"), config.get("batch"))
        for pack in packs if outcome.success else []:
            if not has_accepted_batch(instance, root, pack):
                continue
            shown.print(f"Publishing '{pack}' ...", highlight=False, markup=False)
            outcome = run_publication(instance, pack)
            if not outcome.success:
                break
            published.append(pack)
        behind = _behind(instance, root, packs)
    print_problems(console, outcome)
    if outcome.success:
        _tell(console, root, config, published)
    for batch in behind:
        console.print(
            f"{batch}: its sheets show its former ids; aivj run {batch} makes them again (nothing is rendered).",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip
    return 0 if outcome.success else 1


def _require_batch(root: DataRoot, batch: BatchKey, act: str) -> None:
    folder = lineage_of(root, batch.pack)
    lineage = Lineage.open(folder)
    known = [] if lineage is None else lineage.keys
    if act == "readmit":
        require_removed(folder, batch)
    elif batch.key not in known:
        raise UserError(f"Lineage '{folder.name}' has no batch {batch} (it has: {', '.join(known) or 'none'}).")


def _behind(instance: dg.DagsterInstance, root: DataRoot, packs: list[str]) -> list[BatchKey]:
    """Return accepted batches whose own files tell ids that the lineage has changed since."""
    batches = [batch for batch in root.find_batches() if batch.pack in packs]
    removed = {key for pack in packs for key in RemovedBatches.of(lineage_of(root, pack)).batches}
    return [
        batch
        for batch in batches
        if batch.key not in removed
        and acceptance_problem(instance, root, batch, PUBLISHED_STAGE) is None
        and not ids_are_current(root, batch)
    ]


def _tell(console: Console, root: DataRoot, config: dict[str, Any], published: list[str]) -> None:
    if config["act"] == "readmit":
        console.print(f"{config['batch']} may join again. Next: aivj run {config['batch']}", highlight=False)
        return
    name = config.get("lineage") or lineage_of(root, BatchKey.parse(config["batch"]).pack).name
    facts = require_lineage(root.lineage(name)).facts
    console.print(
        f"Lineage {name} is at version {facts.number}: {facts.presets:,} presets in {facts.k} clusters; "
        f"{facts.changed:,} published ids changed ({facts.changed / facts.presets:.1%}), {len(facts.births)} clusters "
        f"founded, {len(facts.retirements)} retired. Published: {', '.join(published) or 'nothing'}.",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip
    parameters = require_lineage(root.lineage(name)).version.state.parameters
    if config["act"] in {"major", "minor"} and not facts.births and facts.k < parameters.limit:
        needed = parameters.births.members_needed(facts.presets)
        console.print(
            f"None was founded below the limit of {parameters.limit}: no group of {needed} presets or more lies far "
            "from all clusters and close together.",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip
    table = root.lineage(name).version(facts.number) / "migration.json"
    if table.exists():
        console.print(f"Migration table: {table}", highlight=False, markup=False, soft_wrap=True)


def label_cluster(console: Console, root: DataRoot, name: str, cluster: str, text: str | None) -> None:
    """Set a person's label, or take it back; raises `UserError` for an unknown cluster or a text that cannot be one."""
    folder = root.lineage(name)
    with held_lock(folder.lock, timeout_s=LINEAGE_TIMEOUT_S):
        lineage = require_lineage(folder)
        known = {cluster_id(number) for number in range(lineage.version.state.next_number)}
        now = utc_now()
        before = (
            ClusterLabels.load(folder.labels)
            if folder.labels.exists()
            else ClusterLabels(generated_at=now, lineage=name)
        )
        after = (
            without_person_label(before, cluster, at=now)
            if text is None
            else with_person_label(before, cluster, text, known_ids=known, at=now)
        )
        after.save_if_changed(folder.labels)
        if text is None:
            update_labels(root, lineage, again=False, say=lambda _: None)
    named = after.labels.get(cluster)
    living = lineage.labels
    label = living.get(cluster) or f"{named.label if named else cluster} (retired)"
    packs = sorted({BatchKey.parse(key).pack for key in lineage.keys})
    console.print(
        f"{cluster} of lineage {name}: {label}. Next, for what is published: aivj publish {packs[0]}"
        + ("" if len(packs) == 1 else f" (and {', '.join(packs[1:])})"),
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip


def replay_and_report(console: Console, root: DataRoot, name: str) -> int:
    """Make every version again from the rows that the lineage keeps; returns 1 when one comes out otherwise."""
    folder = root.lineage(name)
    head = require_lineage(folder)
    with Console(stderr=True).status(f"Replaying {head.facts.number} versions ..."):
        problems = replay(folder)
    for problem in problems:
        console.print(f"Differs: {problem}", highlight=False, markup=False, soft_wrap=True)
    if problems:
        libraries = ", ".join(f"{key} {value}" for key, value in head.version.state.libraries.items())
        console.print(f"It was made with {libraries}.", highlight=False, markup=False, soft_wrap=True)
        return 1
    console.print(f"{head.facts.number} versions replayed in their order: the same to the last bit.", highlight=False)
    return 0
