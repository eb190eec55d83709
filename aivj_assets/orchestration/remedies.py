"""Remedies: a rejected batch run again with the one change of a parameter that fits the evidence.

By `aivj remedy BATCH`, or by the sensor `try_remedies`, which is off until a person starts it and gives up after two
tries. Figures before and after stand in the run's tags and in the metadata of `frames`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from aivj_assets.contracts.frames_index import read_records
from aivj_assets.contracts.frames_meta import FramesMeta
from aivj_assets.contracts.gates import GATES, GateVerdict, evaluate_gates, measure_folder
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.pack_settings import PackSettings
from aivj_assets.contracts.render_parameters import settable
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir, BatchKey, DataRoot, sha256_file
from aivj_assets.orchestration.guard import latest_verdict, materialization_record, stage_state
from aivj_assets.orchestration.instance import MANIFEST_TAG
from aivj_assets.orchestration.jobs import batch_job
from aivj_assets.orchestration.parameters import render_parameters
from aivj_assets.orchestration.pictures import markdown_table
from aivj_assets.orchestration.profile import frozen_pixels_finding
from aivj_assets.orchestration.resources import DataRootResource
from aivj_assets.orchestration.run_config import batch_run_config
from aivj_assets.render.diagnose import NoRemedy, RejectedBatch, Remedy, choose_remedy

REMEDY_TAG = "aivj/remedy"
BEFORE_TAG = "aivj/remedy_before"
AFTER_TAG = "aivj/remedy_after"
MOST_TRIES = 2


@dataclass(frozen=True)
class Treatment:
    """A remedy with all that its run needs."""

    batch: BatchKey
    remedy: Remedy
    run_config: dict[str, Any]
    """That of the run which made the frames, with the change; pixel parameters as the batch has them."""
    before: dict[str, Any]
    tries: int
    """How many remedies this manifest has had."""
    frozen_problem: str | None
    """Why the batch will be rejected all the same until a person re-freezes the lineage; None when it will not."""

    @property
    def tags(self) -> dict[str, str]:
        """The tags of its run."""
        what = {"parameter": self.remedy.parameter, "value": self.remedy.value, "try": self.tries + 1}
        return {
            REMEDY_TAG: f"{self.remedy} ({self.remedy.evidence})",
            BEFORE_TAG: json.dumps({**what, **self.before}, sort_keys=True),
        }


def figures_of(verdicts: list[GateVerdict], failed: int) -> dict[str, Any]:
    """Return a batch's gate values and how many presets failed, for a comparison before and after."""
    return {verdict.gate.name: verdict.value for verdict in verdicts} | {"failed": failed}


def find_treatment(instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey) -> Treatment | NoRemedy:
    """Return what to try for a batch whose frames are rejected.

    Raises `UserError` when its frames are not rejected: accepted, incomplete, stale or not made.
    """
    state = stage_state(instance, root, batch, "frames")
    if state.problem is None:
        raise UserError(f"Batch {batch}: its frames are accepted; there is nothing to remedy (aivj gates {batch}).")
    if not state.rejected:
        raise UserError(f"Batch {batch}: its frames are not rejected: {state.problem}. First: aivj run {batch}")
    folder, manifest = root.batch(batch), Manifest.load(root.manifest(batch))
    meta, records = FramesMeta.load(folder.frames_meta), read_records(folder.frames_index)
    figures = measure_folder(manifest, folder)
    verdicts = evaluate_gates(figures)
    rendered_with = settable(meta.pixel_parameters)
    rejected = RejectedBatch(
        [records[preset.id] for preset in manifest.presets if preset.id in records],
        render_parameters({**_known(meta.operational_parameters), **rendered_with}),
        folder,
    )
    remedy = choose_remedy(rejected, verdicts)
    if isinstance(remedy, NoRemedy):
        return NoRemedy(_with_frozen(instance, batch, remedy.advice))
    change = (
        {remedy.parameter: remedy.value} if remedy.is_pixel else {remedy.parameter: remedy.value, "retryFailed": True}
    )
    # Pixel parameters stay those of the batch: with others its frames would all be rendered again.
    run_config = _run_config(instance, root, batch, {**rendered_with, **change})
    frozen = None
    if remedy.is_pixel:
        changed = {**meta.pixel_parameters, remedy.parameter: remedy.value}
        finding = frozen_pixels_finding(instance, root, batch, changed)
        frozen = None if finding.passed else finding.detail
    tries = tries_of(instance, root, batch)
    return Treatment(batch, remedy, run_config, figures_of(verdicts, figures.failed), tries, frozen)


def _run_config(
    instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey, render: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the pack's configuration, that of the run which made the frames on top, and `render` on top of both."""
    settings = PackSettings.of_pack(root, batch.pack)
    made = materialization_record(instance, "frames", batch.key)
    run = instance.get_run_by_id(made.run_id) if made is not None and made.run_id is not None else None
    given: dict[str, Any] = dict(run.run_config) if run is not None else {}
    known: dict[str, Any] = given.get("ops", {}).get("frames", {}).get("config", {})
    kept = {name: value for name, value in known.items() if name not in {"resume", "stopAfterSec"}}
    settings = settings.model_copy(update={"render": {**settings.render, **kept, **render}})
    config = batch_run_config(settings)
    for part in ("ops", "resources"):
        own = {name: value for name, value in given.get(part, {}).items() if name not in {"frames", "guard"}}
        config[part] = {**config.get(part, {}), **own}
    return config


def _known(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return recorded parameters without those of another version or place."""
    own = ("timeoutMs", "refreshEvery")
    return {name: parameters[name] for name in own if name in parameters}


def _with_frozen(instance: dg.DagsterInstance, batch: BatchKey, advice: str) -> str:
    verdict = latest_verdict(instance, "frames", "parameters_frozen", batch.key)
    if verdict is not None and not verdict[0]:
        return f"{advice}; its pixel parameters are not its lineage's: aivj profile {batch.pack} shows both"
    return advice


def tries_of(instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey) -> int:
    """Return how many runs of a batch's manifest as it is were remedies."""
    digest = sha256_file(root.manifest(batch))
    tags = {"dagster/partition": batch.key, MANIFEST_TAG: digest}
    return sum(REMEDY_TAG in run.tags for run in instance.get_runs(dg.RunsFilter(tags=tags)))


def remedy_request(root: DataRoot, treatment: Treatment, run_key: str) -> dg.RunRequest:
    """Return the run that tries a remedy."""
    batch = treatment.batch
    tags = {**treatment.tags, MANIFEST_TAG: sha256_file(root.manifest(batch)), "aivj/pack": batch.pack}
    return dg.RunRequest(run_key=run_key, partition_key=batch.key, run_config=treatment.run_config, tags=tags)


def remedy_facts(
    instance: dg.DagsterInstance, run: dg.DagsterRun, manifest: Manifest, folder: BatchDir
) -> dict[str, Any]:
    """Return what `frames` tells of a remedy's run: figures before and after; nothing for another run.

    The figures after are kept in the run's tags too.
    """
    told = run.tags.get(BEFORE_TAG)
    if REMEDY_TAG not in run.tags or told is None:
        return {}
    before = json.loads(told)
    figures = measure_folder(manifest, folder)
    after = figures_of(evaluate_gates(figures), figures.failed)
    instance.add_run_tags(run.run_id, {AFTER_TAG: json.dumps(after, sort_keys=True)})
    return {
        "remedy": run.tags[REMEDY_TAG],
        "remedy_figures": dg.MetadataValue.md(
            markdown_table(("figure", "required", "before", "after"), comparison(before, after))
        ),
    }


def comparison(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return (figure, required, before, after) for each gate, and the failed presets."""
    rows = [
        (
            gate.name,
            f"{gate.comparison} {gate.threshold:g}",
            _figure(before.get(gate.name)),
            _figure(after.get(gate.name)),
        )
        for gate in GATES
    ]
    return [*rows, ("failed presets", "", _figure(before.get("failed")), _figure(after.get("failed")))]


def _figure(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "-"


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.FAILURE,
    request_job=batch_job,
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=15,
    description="A batch whose frames were rejected is run again with the one change of a parameter that fits the "
    f"evidence, at most {MOST_TRIES} times a manifest. Off until a person starts it.",
)
def try_remedies(context: dg.RunStatusSensorContext, data_root: DataRootResource) -> dg.RunRequest | dg.SkipReason:
    """Ask for a remedy's run after a run that made the frames which are rejected now."""
    run, instance, root = context.dagster_run, context.instance, data_root.get()
    partition = run.tags.get("dagster/partition")
    made = materialization_record(instance, "frames", partition) if partition is not None else None
    if partition is None or made is None or made.run_id != run.run_id:
        return dg.SkipReason("the frames of no batch are of this run")
    batch = BatchKey.parse(partition)
    try:
        treatment = find_treatment(instance, root, batch)
    except UserError as error:
        return dg.SkipReason(str(error))
    problem = _left_to_a_person(treatment)
    if isinstance(treatment, NoRemedy) or problem is not None:
        return dg.SkipReason(f"{batch}: {problem}")
    return remedy_request(root, treatment, f"remedy:{batch}:{run.run_id}")


def _left_to_a_person(treatment: Treatment | NoRemedy) -> str | None:
    """Return why the sensor tries nothing, None when it does."""
    if isinstance(treatment, NoRemedy):
        return f"no change of a parameter fits: {treatment.advice}"
    if treatment.tries >= MOST_TRIES:
        return f"{treatment.tries} remedies were tried; a person has to look at it"
    if treatment.frozen_problem is not None:
        return f"{treatment.remedy} would need a re-freeze: {treatment.frozen_problem}. aivj remedy {treatment.batch}"
    return None
