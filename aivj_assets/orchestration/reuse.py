"""Is a batch finished as asked? Then `aivj demo` shows it again without a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import dagster as dg

from aivj_assets.contracts.frames_index import FailedRecord, read_records
from aivj_assets.contracts.frames_meta import FramesMeta
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.render_parameters import fingerprint, pixel_parameters
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.guard import acceptance_problem
from aivj_assets.orchestration.parameters import render_parameters
from aivj_assets.orchestration.resources import RendererResource
from aivj_assets.orchestration.sensors import MANIFEST_TAG
from aivj_assets.render.probe import describe_renderer
from aivj_assets.render.resume import needs_rendering

CONFIG_TAG = "aivj/config_sha256"
_LAST_STAGE = "run_record"


def config_digest(run_config: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a run configuration as canonical JSON.

    The note on why a model was taken does not count: it quotes the network's error, which differs from time to time.
    """
    counted = json.loads(json.dumps(run_config, default=str))
    counted.get("resources", {}).get("embedder", {}).get("config", {}).pop("note", None)
    text = json.dumps(counted, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def is_finished(
    instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey, run_config: Mapping[str, Any], manifest_sha256: str
) -> bool:
    """Whether running the batch now would change nothing.

    Its last run had this manifest and configuration and succeeded, everything down to the run record is accepted and
    current, the browser of today gives the same fingerprint, and no preset is left to render.
    """
    runs = instance.get_runs(
        dg.RunsFilter(
            job_name="batch_job", tags={"dagster/partition": batch.key}, statuses=[dg.DagsterRunStatus.SUCCESS]
        ),
        limit=1,
    )
    wanted = {CONFIG_TAG: config_digest(run_config), MANIFEST_TAG: manifest_sha256}
    if not runs or any(runs[0].tags.get(name) != value for name, value in wanted.items()):
        return False
    if acceptance_problem(instance, root, batch, _LAST_STAGE) is not None:
        return False
    folder = root.batch(batch)
    parameters = render_parameters(run_config.get("ops", {}).get("frames", {}).get("config", {}))
    page = describe_renderer(RendererResource().get(), parameters).page
    digest = fingerprint(pixel_parameters(parameters, page))
    records = read_records(folder.frames_index)
    left = needs_rendering(
        Manifest.load(root.manifest(batch)).presets,
        records,
        root=root,
        batch_dir=folder,
        fingerprint_=digest,
        timeout_ms=parameters.timeout_ms,
        retry_failed=parameters.retry_failed,
    )
    # A failure that may pass is tried again by `aivj run`; an accepted batch does not need it.
    undone = any(parameters.retry_failed or not isinstance(records.get(preset.id), FailedRecord) for preset in left)
    return FramesMeta.load(folder.frames_meta).fingerprint == digest and not undone


def is_published(root: DataRoot, pack: str) -> bool:
    """Whether the three files that the app fetches lie beside the pack's manifest."""
    return all(path.is_file() for path in root.published_files(pack))
