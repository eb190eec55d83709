"""Is a batch finished as asked? Then `aivj demo` shows it again without a run, and `--all-batches` passes it over."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from aivj_assets.contracts.frames_index import FailedRecord, read_records
from aivj_assets.contracts.frames_meta import FramesMeta
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.pack_settings import PACK_SETTINGS_NAME, PackSettings
from aivj_assets.contracts.render_parameters import RenderParameters, fingerprint, pixel_parameters
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.guard import acceptance_problem
from aivj_assets.orchestration.jobs import batch_job
from aivj_assets.orchestration.lineage.join import ids_are_current
from aivj_assets.orchestration.lineage.store import lineage_of
from aivj_assets.orchestration.parameters import effective_parameters
from aivj_assets.orchestration.resources import RendererResource
from aivj_assets.orchestration.run_config import batch_run_config
from aivj_assets.orchestration.stages import STAGES
from aivj_assets.orchestration.verdicts.known import Judged
from aivj_assets.orchestration.verdicts.published import says_what_persons_say
from aivj_assets.render.environment import BrowserReport
from aivj_assets.render.probe import describe_renderer
from aivj_assets.render.resume import needs_rendering

LAST_STAGE = "run_record"
_RUNS_LOOKED_AT = 20


def config_digest(run_config: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a run configuration as canonical JSON.

    The note on why a model was taken does not count: it quotes the network's error, which differs from time to time.
    """
    counted = json.loads(json.dumps(run_config, default=str))
    # How a run is executed and logged changes nothing that it makes.
    for name in ("execution", "loggers"):
        counted.pop(name, None)
    counted.get("resources", {}).get("embedder", {}).get("config", {}).pop("note", None)
    _drop_budget(counted)
    text = json.dumps(counted, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _drop_budget(run_config: dict[str, Any]) -> None:
    """Take out what ends a rendering early: it changes nothing that is made."""
    ops = run_config.get("ops", {})
    ops.get("frames", {}).get("config", {}).pop("stopAfterSec", None)
    if ops.get("frames") in ({}, {"config": {}}):
        del ops["frames"]
    if run_config.get("ops") == {}:
        del run_config["ops"]


def is_finished(
    instance: dg.DagsterInstance,
    root: DataRoot,
    batch: BatchKey,
    run_config: Mapping[str, Any],
    *,
    describe: Callable[[RenderParameters], BrowserReport] | None = None,
) -> bool:
    """Whether running the batch now would change nothing.

    Its last run had this configuration and succeeded, everything down to the run record is accepted and made from the
    manifest of today, the browser of today gives the same fingerprint, and no preset is left to render. `describe`
    says what a browser renders with; by default one is started for it.
    """
    last = _last_run(instance, batch)
    if last is None or config_digest(_configuration_of(root, batch, last)) != config_digest(run_config):
        return False
    if acceptance_problem(instance, root, batch, LAST_STAGE) is not None or not ids_are_current(root, batch):
        return False
    folder = root.batch(batch)
    given = run_config.get("ops", {}).get("frames", {}).get("config", {})
    parameters = effective_parameters(root, batch.pack, given)
    page = (describe or describe_here)(parameters).page
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


def describe_here(parameters: RenderParameters) -> BrowserReport:
    """Start a browser of this machine and return what it says of itself."""
    return describe_renderer(RendererResource().get(), parameters)


def _last_run(instance: dg.DagsterInstance, batch: BatchKey) -> dg.RunRecord | None:
    """Return the latest successful run of the main job, or of all its assets (the UI's "Materialize all")."""
    everything = {dg.AssetKey(name) for name in STAGES}
    succeeded = dg.RunsFilter(tags={"dagster/partition": batch.key}, statuses=[dg.DagsterRunStatus.SUCCESS])
    for record in instance.get_run_records(succeeded, limit=_RUNS_LOOKED_AT):
        run = record.dagster_run
        if run.job_name == batch_job.name or everything <= (run.asset_selection or set()):
            return record
    return None


def _configuration_of(root: DataRoot, batch: BatchKey, record: dg.RunRecord) -> Mapping[str, Any]:
    """Return what a run was configured with: what it was given, over the pack's settings if they are still those.

    A run that the UI started is given nothing and took the settings; `aivj run` and the sensor hand them over.
    """
    given: Mapping[str, Any] = record.dagster_run.run_config
    path = root.pack_dir(batch.pack) / PACK_SETTINGS_NAME
    if path.exists() and path.stat().st_mtime > record.create_timestamp.timestamp():
        return given
    return _merged(batch_run_config(PackSettings.of_pack(root, batch.pack)), given)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(below)
    for name, value in above.items():
        known = made.get(name)
        made[name] = _merged(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return made


def is_published(root: DataRoot, pack: str) -> bool:
    """Whether the files that the app fetches lie beside the pack's manifest and say what persons say by now."""
    if not all(path.is_file() for path in root.published_files(pack)):
        return False
    try:
        judged = Judged.open(root, lineage_of(root, pack).name)
        return judged is None or says_what_persons_say(root, judged, pack)
    except UserError:
        # Whoever publishes then says what is broken.
        return False
