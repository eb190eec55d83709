"""The one place where assets, checks, sensors, jobs and resources meet."""

import os
import sys
from collections.abc import Mapping
from typing import Any

import dagster as dg

from aivj_assets.orchestration.assets.audio_style_model import audio_style_model, audio_style_publication
from aivj_assets.orchestration.assets.clusters import clusters
from aivj_assets.orchestration.assets.embeddings import embeddings
from aivj_assets.orchestration.assets.frames import frames
from aivj_assets.orchestration.assets.gate_report import gate_report
from aivj_assets.orchestration.assets.k_report import k_report
from aivj_assets.orchestration.assets.presets import presets
from aivj_assets.orchestration.assets.publication import publication
from aivj_assets.orchestration.assets.qa_samples import qa_samples
from aivj_assets.orchestration.assets.reactivity import reactivity
from aivj_assets.orchestration.assets.rehearsal import rehearsal, rehearsal_clean
from aivj_assets.orchestration.assets.run_record import run_record
from aivj_assets.orchestration.assets.style import style_index, style_policy
from aivj_assets.orchestration.assets.style_map import style_map
from aivj_assets.orchestration.automation import declarative_automation, with_conditions
from aivj_assets.orchestration.checks import CHECKS
from aivj_assets.orchestration.fleet.settings import FleetSettings, is_cluster
from aivj_assets.orchestration.gate_sensor import refresh_gate_report
from aivj_assets.orchestration.jobs import (
    audio_style_model_job,
    batch_job,
    gate_report_job,
    k_report_job,
    publish_job,
    reactivity_job,
    rehearsal_job,
    style_map_job,
)
from aivj_assets.orchestration.lineage.acts import lineage_job
from aivj_assets.orchestration.remedies import try_remedies
from aivj_assets.orchestration.resources import DataRootResource, EmbedderResource, GuardResource, RendererResource
from aivj_assets.orchestration.retention_sensor import forget_superseded_runs
from aivj_assets.orchestration.schedules import nightly_rendering
from aivj_assets.orchestration.sensors import new_manifest_batches, publish_accepted_batches
from aivj_assets.orchestration.verdicts.sensor import import_qa_verdicts

ASSETS = [
    presets,
    frames,
    embeddings,
    clusters,
    style_index,
    style_policy,
    qa_samples,
    run_record,
    publication,
    k_report,
    style_map,
    audio_style_model,
    audio_style_publication,
    rehearsal,
    gate_report,
    reactivity,
]


def _executor(environ: Mapping[str, str]) -> dg.ExecutorDefinition:
    """Return the executor: one process a step. A fork server that has loaded the code starts steps 1-2 s sooner.

    Windows has no fork. In the cluster profile steps go to the workers' queues.
    """
    if is_cluster(environ):
        settings = FleetSettings.of(environ)
        # Needs the extra `cluster`.
        from aivj_assets.orchestration.fleet.executor import fleet_executor

        return fleet_executor(settings)
    if sys.platform == "win32":
        return dg.multiprocess_executor
    forkserver = {"start_method": {"forkserver": {"preload_modules": ["aivj_assets.definitions"]}}}
    return dg.multiprocess_executor.configured(forkserver, name="multiprocess")


def build_definitions(overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Return the code location; `overrides` replaces resources by name (tests, other deployments)."""
    resources: dict[str, Any] = {
        "data_root": DataRootResource(),
        "guard": GuardResource.configure_at_launch(),
        "renderer": RendererResource(),
        "embedder": EmbedderResource.configure_at_launch(),
    }
    return dg.Definitions(
        assets=with_conditions(ASSETS),
        asset_checks=[*CHECKS, rehearsal_clean],
        jobs=[
            batch_job,
            publish_job,
            k_report_job,
            style_map_job,
            audio_style_model_job,
            rehearsal_job,
            reactivity_job,
            gate_report_job,
            lineage_job,
        ],
        sensors=[
            new_manifest_batches,
            publish_accepted_batches,
            refresh_gate_report,
            try_remedies,
            import_qa_verdicts,
            forget_superseded_runs,
            declarative_automation,
        ],
        schedules=[nightly_rendering(os.environ)],
        resources={**resources, **(overrides or {})},
        executor=_executor(os.environ),
    )


@dg.definitions
def defs() -> dg.Definitions:
    """Return the code location that `dg dev`, the workspace file and runs load."""
    return build_definitions()
