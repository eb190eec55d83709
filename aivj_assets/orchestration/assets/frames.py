"""`frames`: plan shards → render each shard (one browser each) → collect them into `frames-index.jsonl`."""

import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from aivj_assets.contracts.base import utc_now
from aivj_assets.contracts.frames_index import count_flags, read_records
from aivj_assets.contracts.frames_meta import FramesMeta
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.pack_settings import PackSettings
from aivj_assets.contracts.progress import RenderProgress
from aivj_assets.contracts.render_parameters import (
    RenderParameters,
    fingerprint,
    operational_parameters,
    pixel_parameters,
)
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir, BatchKey, sha256_file
from aivj_assets.orchestration.adopt.kept import require_not_adopted
from aivj_assets.orchestration.assets.frames_facts import frames_facts
from aivj_assets.orchestration.batch_lock import parent_is_alive
from aivj_assets.orchestration.budget import record_incomplete, stop_at, why_incomplete
from aivj_assets.orchestration.fleet.renderers import browsers_at_once, require_renderer
from aivj_assets.orchestration.fleet.settings import RENDER_TAGS
from aivj_assets.orchestration.fleet.steps import go_on_elsewhere, why_stop
from aivj_assets.orchestration.instance import BROWSER_POOL
from aivj_assets.orchestration.parameters import effective_parameters, render_config_schema, render_parameters
from aivj_assets.orchestration.partitions import BATCHES
from aivj_assets.orchestration.preflight import look_before_rendering, preflight_metadata
from aivj_assets.orchestration.profile import frozen_pixels_finding
from aivj_assets.orchestration.remedies import remedy_facts
from aivj_assets.orchestration.resources import DataRootResource, EmbedderResource, RendererResource
from aivj_assets.orchestration.step import BatchStep, batch_step, hold_batch, run_owner, user_errors
from aivj_assets.render.resume import finish_index, plan_rendering
from aivj_assets.render.shard import render_shard as render_presets
from aivj_assets.render.shard_plan import TIME_IS_OVER, ShardOutcome, ShardPlan

FINGERPRINT_TAG = "aivj/fingerprint"


@dg.op(
    ins={"presets": dg.In(dg.Nothing)},
    out={"shards": dg.DynamicOut(dict[str, Any]), "job": dg.Out(dict[str, Any])},
    config_schema=render_config_schema(),
    # Asking the browser what it is takes a browser.
    pool=BROWSER_POOL,
    tags=RENDER_TAGS,
)
def plan_frames(
    context: dg.OpExecutionContext, data_root: DataRootResource, renderer: RendererResource, embedder: EmbedderResource
) -> Iterator[Any]:
    """Check what can be checked in seconds, keep what earlier runs rendered, cut the rest into shards."""
    with batch_step(context, data_root.get(), "frames") as step:
        settings = PackSettings.of_pack(step.root, step.batch.pack)
        parameters = effective_parameters(step.root, step.batch.pack, context.op_config)
        _require_own_places(step, parameters)
        require_renderer(step.root, step.batch.pack)
        manifest_path = step.root.manifest(step.batch)
        device, precision = embedder.where(settings)
        preflight = look_before_rendering(
            context.instance,
            step.root,
            step.batch,
            Manifest.load(manifest_path).presets,
            parameters,
            environment=renderer.get,
            choose=lambda: embedder.choose(settings),
            device=device,
            precision=precision,
        )
        preflight.tell(context.log)
        report = preflight.require()
        pixels = pixel_parameters(parameters, report.page)
        # It is no reason to refuse: what a person wants to freeze must be on a batch first.
        frozen = frozen_pixels_finding(context.instance, step.root, step.batch, pixels)
        if not frozen.passed:
            context.log.warning(f"The check will reject this batch: {frozen.detail}")
        digest = fingerprint(pixels)
        require_not_adopted(step.root, step.batch, digest, resume=parameters.resume)
        presets = Manifest.load(manifest_path).presets
        plan = plan_rendering(
            presets,
            root=step.root,
            batch=step.batch,
            batch_dir=step.folder,
            parameters=parameters,
            page=report.page,
            parallel=browsers_at_once(context.instance, step.root),
            stop_at_epoch_s=stop_at(context.run),
        )
        context.instance.add_run_tags(context.run.run_id, {FINGERPRINT_TAG: plan.fingerprint})
        context.log.info(
            f"Batch {step.batch}: {len(presets)} presets, {len(plan.kept)} kept from earlier runs, "
            f"{len(plan.pending)} to render in {len(plan.shards)} shards; fingerprint {plan.fingerprint}."
        )
        plan_id = uuid.uuid4().hex
        progress = RenderProgress(plan_id=plan_id, total=len(presets), todo=len(plan.pending))
        progress.save(step.folder.render_plan)
        job = {
            "plan_id": plan_id,
            "inputs": step.inputs,
            "parameters": parameters.model_dump(mode="json", by_alias=True),
            "pixel_parameters": pixels,
            "fingerprint": plan.fingerprint,
            "renderer_class": report.renderer_class,
            "browser_version": report.browser_version,
            "page": report.page.to_json(),
            "manifest_sha256": sha256_file(manifest_path),
            "kept": len(plan.kept),
            "preflight": preflight.facts(),
            "started_epoch_s": time.time(),
        }
    yield dg.Output(job, "job")
    for shard in plan.shards:
        work = {"plan_id": plan_id, "shard": shard.model_dump(mode="json")}
        yield dg.DynamicOutput(work, mapping_key=shard.name, output_name="shards")


def _require_current_plan(folder: BatchDir, plan_id: str) -> None:
    """Refuse the plan of a run that another run has overtaken: its shards would overwrite that run's frames.

    "Re-execute from failure" skips the planning and takes up the old plan.
    """
    current = RenderProgress.under_way(folder.render_plan)
    if current is None or current.plan_id != plan_id:
        raise UserError(
            "The plan of this rendering is out of date: another run has planned or finished the batch since. "
            "Launch a new run of the batch; it keeps what is rendered."
        )


def _require_own_places(step: BatchStep, parameters: RenderParameters) -> None:
    """Refuse a `manifest` or `outDir` of another batch: no batch reads or writes another one's folder."""
    places = (
        ("manifest", parameters.manifest, step.root.manifest(step.batch)),
        ("outDir", parameters.out_dir, step.folder.path),
    )
    for name, value, own in places:
        if value is not None and (step.root.path / value).resolve() != own.resolve():
            raise UserError(
                f"Batch {step.batch}: {name} is '{value}', but this batch's is {own}; leave {name} unset, and choose "
                "the batch by its partition and the place by AIVJ_ROOT."
            )


@dg.op(pool=BROWSER_POOL, tags=RENDER_TAGS, out=dg.Out(dict[str, Any]))
def render_shard(
    context: dg.OpExecutionContext, work: dict[str, Any], data_root: DataRootResource, renderer: RendererResource
) -> dict[str, Any]:
    """Render one shard in one browser's lifetime."""
    plan = ShardPlan.model_validate(work["shard"])
    with user_errors():
        hold_batch(context, data_root.get(), BatchKey.parse(plan.batch_key))
        _require_current_plan(plan.batch_dir, work["plan_id"])
        require_renderer(data_root.get(), BatchKey.parse(plan.batch_key).pack)
        owner = run_owner()
        outcome = render_presets(
            plan,
            environment=renderer.get(),
            # A step whose run was killed must not go on by itself, nor one that another worker has taken over.
            should_stop=lambda: why_stop() if parent_is_alive(owner) else "the run that started this step has ended",
            say=context.log.info,
        )
        if not parent_is_alive(owner):
            # Without a word: a step that ends well here would be skipped when the run is taken up again.
            os._exit(1)
        go_on_elsewhere()
    return vars(outcome)


# Not required: a rendering that its budget ended gives no frames, and its run has not failed.
@dg.op(out=dg.Out(dg.Nothing, is_required=False))
def collect_frames(
    context: dg.OpExecutionContext, job: dict[str, Any], outcomes: list[dict[str, Any]], data_root: DataRootResource
) -> Iterator[dg.Output[None]]:
    """Merge the shards into the index and materialise, if every preset has a record."""
    with batch_step(context, data_root.get(), "frames") as step:
        _require_current_plan(step.folder, job["plan_id"])
        parameters = render_parameters(job["parameters"])
        shards = [ShardOutcome(**outcome) for outcome in outcomes]
        manifest = Manifest.load(step.root.manifest(step.batch))
        presets = manifest.presets
        if sha256_file(step.root.manifest(step.batch)) != job["manifest_sha256"]:
            raise UserError(
                f"Batch {step.batch}: its manifest changed while frames were rendered; run the batch again."
            )
        finished = finish_index(step.folder, presets, job["fingerprint"])
        if not finished.complete:
            why = why_incomplete(shard.stop_reason for shard in shards)
            sentence = (
                f"Batch {step.batch} is incomplete: {len(finished.left)} of {finished.total} presets have no record "
                f"yet ({why}). What is rendered is kept; run the batch again to go on."
            )
            if why != TIME_IS_OVER:
                raise UserError(sentence)
            record_incomplete(context, sentence, total=finished.total, left=len(finished.left))
            return
        meta = FramesMeta(
            generated_at=utc_now(),
            batch=step.batch.key,
            manifest_sha256=job["manifest_sha256"],
            fingerprint=job["fingerprint"],
            pixel_parameters=job["pixel_parameters"],
            operational_parameters=operational_parameters(parameters),
            renderer_class=job["renderer_class"],
            browser_version=job["browser_version"],
            page=job["page"],
            total=finished.total,
            ok=finished.ok,
            failed=finished.failed,
            reused=job["kept"],
            failure_reasons=finished.failure_reasons,
            warnings=finished.warnings,
            flags=count_flags(read_records(step.folder.frames_index).values()),
            duration_s=round(time.time() - job["started_epoch_s"], 3),
            index_sha256=sha256_file(step.folder.frames_index),
        )
        if shards or not _is_same_rendering(step.folder.frames_meta, meta):
            meta.save(step.folder.frames_meta)
        step.folder.render_plan.unlink(missing_ok=True)
        rendered = sum(shard.ok + shard.failed - shard.reused for shard in shards)
        remedy = remedy_facts(context.instance, context.run, manifest, step.folder)
        preflight = preflight_metadata(job["preflight"])
        yield step.output({**frames_facts(step.folder, presets, meta, rendered), **remedy, **preflight})


def _is_same_rendering(path: Path, meta: FramesMeta) -> bool:
    """Whether the stored meta tells of the same index: then nothing was rendered and nothing is rewritten."""
    try:
        stored = FramesMeta.load(path)
    except UserError:
        return False
    return (stored.index_sha256, stored.fingerprint, stored.manifest_sha256) == (
        meta.index_sha256,
        meta.fingerprint,
        meta.manifest_sha256,
    )


@dg.config_mapping(config_schema=render_config_schema())
def _frames_config(parameters: dict[str, Any]) -> dict[str, Any]:
    return {"plan_frames": {"config": parameters}}


@dg.graph_asset(
    partitions_def=BATCHES,
    ins={"presets": dg.AssetIn("presets", dagster_type=dg.Nothing)},
    config=_frames_config,
    group_name="batch",
    kinds={"playwright", "chromium"},
)
def frames(presets: Any) -> Any:
    """Frames of every preset of the batch, rendered in headless Chromium at a fixed step of simulated time.

    `frames-index.jsonl` holds a record for each preset: its frames and metrics, or why it failed.
    """
    job_shards = plan_frames(presets)
    return collect_frames(job_shards.job, job_shards.shards.map(render_shard).collect())
