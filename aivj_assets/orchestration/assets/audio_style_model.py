"""`audio_style_model`: which styles fit what is heard, learned from shows, judged, and published if it is better."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import dagster as dg
import numpy as np
from pydantic import Field

from aivj_assets.contracts.audio_style_model import MODEL_BEATS_BASELINE, AudioStyleModel, ModelVerdict
from aivj_assets.contracts.embeddings import EmbeddingsMeta, load_embeddings
from aivj_assets.contracts.progress import WorkProgress
from aivj_assets.contracts.reactivity import Reactivity
from aivj_assets.errors import UserError
from aivj_assets.layout import (
    AUDIO_STYLE_NAME,
    DataRoot,
    check_pack_name,
    sha256_file,
    write_json_atomic,
)
from aivj_assets.orchestration.assets.publication import publishable_batches
from aivj_assets.orchestration.check_specs import partitioned_check
from aivj_assets.orchestration.file_lock import held_lock
from aivj_assets.orchestration.guard import data_version_of, latest_evaluation, materialization_record
from aivj_assets.orchestration.lineage.join import LINEAGE_TIMEOUT_S
from aivj_assets.orchestration.lineage.store import lineage_of
from aivj_assets.orchestration.partitions import PACKS
from aivj_assets.orchestration.pictures import markdown_table
from aivj_assets.orchestration.resources import DataRootResource
from aivj_assets.orchestration.step import user_errors
from aivj_assets.report.audio_style import COMPARED, compared_rows, evidence_rows
from aivj_assets.show.learn.audio_embedding import with_embeddings
from aivj_assets.show.learn.design import tier_shares
from aivj_assets.show.learn.evidence import read_logs
from aivj_assets.show.learn.other_pairs import energy_pairs, generated_timelines, reactivity_pairs
from aivj_assets.show.learn.retrieval import PresetRows
from aivj_assets.show.learn.train import Material, Options, check_options, digest, prepare_evidence, train
from aivj_assets.show.published import read_index

MODEL = "audio_style_model"
# A second training of a pack waits for the first.
_LOCK_TIMEOUT_S = 3600.0
_PUBLISHED, _WITHDRAWN, _STAYS = "published", "withdrawn", "not published"


class AudioStyleConfig(dg.Config):
    """What is trained, and on what beside the shows."""

    model: Literal["logistic", "mlp"] = Field(default="logistic", description="logistic regression or a small network")
    styles: Literal["one", "several"] = Field(
        default="one", description="one style fits best, or several may fit at once"
    )
    seed: int = Field(default=1, ge=0)
    bootstrap_energy: bool = Field(
        default=False, description="also train on windows of generated sets with styles of their tier: circular"
    )
    reactivity: bool = Field(default=False, description="also train on what aivj reactivity measured")
    audio_embedding: str | None = Field(
        default=None, description="clap:<name on the hub or folder> or openl3; such a model is never published"
    )
    audio_dir: str | None = Field(default=None, description="folder with the tracks, for audio_embedding")


_CHECK = partitioned_check(
    MODEL_BEATS_BASELINE.name,
    asset=MODEL,
    partitions_def=PACKS,
    description=f"{MODEL_BEATS_BASELINE.rule[0].upper()}{MODEL_BEATS_BASELINE.rule[1:]}, over at least "
    f"{MODEL_BEATS_BASELINE.min_groups} tracks and {MODEL_BEATS_BASELINE.min_judged} judged picks. If not: the "
    f"rule stays; {MODEL_BEATS_BASELINE.remedy}.",
)


@dg.asset(
    partitions_def=PACKS,
    # The published index says which clusters there are.
    deps=["publication"],
    check_specs=[_CHECK],
    group_name="pack",
    kinds={"scikitlearn"},
)
def audio_style_model(
    context: dg.AssetExecutionContext, config: AudioStyleConfig, data_root: DataRootResource
) -> Iterator[dg.MaterializeResult[Any]]:
    """Learn from a pack's shows which clusters fit what is heard, and whether that beats the frequency in each tier."""
    root = data_root.get()
    with user_errors():
        started = time.monotonic()
        pack = check_pack_name(context.partition_key)
        made, is_new = make_model(context.instance, root, pack, config)
        context.log.info(made.verdict if is_new else f"Nothing has changed since the last training. {made.verdict}")
        # Yielded: a function with a check of its own may not return a single result by its annotation.
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(sha256_file(root.audio_style_model(pack))),
            metadata={**_facts(root, made), "trained_anew": is_new, "duration_s": round(time.monotonic() - started, 3)},
            check_results=[_check_result(made)],
        )


@dg.asset(partitions_def=PACKS, deps=[MODEL], group_name="pack", kinds={"json"}, pool="publication")
def audio_style_publication(
    context: dg.AssetExecutionContext, data_root: DataRootResource
) -> dg.MaterializeResult[Any]:
    """Put the model beside the pack's index when its check passed; else take an earlier one away, and say why."""
    root = data_root.get()
    with user_errors():
        pack = check_pack_name(context.partition_key)
        with held_lock(lineage_of(root, pack).lock, timeout_s=LINEAGE_TIMEOUT_S):
            verdict = recorded_verdict(context.instance, root, pack)
            done = publish_model(root, pack, verdict)
        context.log.info(f"{done}: {verdict.sentence}")
        path = root.published(pack, AUDIO_STYLE_NAME)
        version = sha256_file(path) if path.exists() else "none"
        return dg.MaterializeResult(
            data_version=dg.DataVersion(version),
            metadata={"model": done, "because": verdict.sentence, "file": dg.MetadataValue.path(str(path))},
        )


def make_model(
    instance: dg.DagsterInstance, root: DataRoot, pack: str, config: AudioStyleConfig
) -> tuple[AudioStyleModel, bool]:
    """Train a pack's model unless the last one was made of the very same; returns it and whether it is new.

    Raises `UserError` when there is nothing to learn from; the last model then stays.
    """
    options = Options(config.model, config.styles, config.seed)
    check_options(options)
    progress_file, path = root.audio_style_progress(pack), root.audio_style_model(pack)

    def tell(done: int, total: int) -> None:
        WorkProgress(done=done, total=total).save(progress_file)

    with held_lock(root.audio_style_lock(pack), timeout_s=_LOCK_TIMEOUT_S):
        try:
            material = gather_material(instance, root, pack, config)
            last = _last_model(path)
            if last is not None and last.inputs_sha256 == digest(material, options):
                return last, False
            made = train(material, options, progress=tell)
            made.save(path)
            return made, True
        finally:
            progress_file.unlink(missing_ok=True)


def _last_model(path: Path) -> AudioStyleModel | None:
    try:
        return AudioStyleModel.load(path)
    except UserError:
        return None


def gather_material(instance: dg.DagsterInstance, root: DataRoot, pack: str, config: AudioStyleConfig) -> Material:
    """Read what a model is made from; raises `UserError` when the pack is not published or has no evidence."""
    index = read_index(root, pack)
    material = Material(
        pack=pack,
        index=index,
        index_hash=sha256_file(root.published_files(pack)[-1]),
        logs=read_logs(root.shows_dir(pack).glob("*.jsonl"), pack),
    )
    if config.reactivity:
        if not root.reactivity(pack).exists():
            raise UserError(f"Pack '{pack}' has no reactivity yet: aivj reactivity {pack}.")
        material.reactivity = reactivity_pairs(Reactivity.load(root.reactivity(pack)), material.clusters)
    if config.bootstrap_energy:
        shares = tier_shares(material.index, material.clusters)
        timelines = generated_timelines(config.seed)
        material.circular = energy_pairs(timelines, shares, material.clusters, seed=config.seed)
    material = prepare_evidence(material)
    if config.audio_embedding is not None:
        folder = None if config.audio_dir is None else Path(config.audio_dir).expanduser()
        material = with_embeddings(material, config.audio_embedding, folder, root.audio_embedding_cache_dir)
    presets, problem = read_presets(instance, root, pack)
    return replace(material, presets=presets, presets_problem=problem)


def read_presets(instance: dg.DagsterInstance, root: DataRoot, pack: str) -> tuple[PresetRows | None, str | None]:
    """Return the embeddings of a pack's accepted batches, or why there is no retrieval."""
    batches, _ = publishable_batches(instance, root, pack)
    if not batches:
        return None, "the pack has no accepted batch"
    cards = {EmbeddingsMeta.load(root.batch(batch).embeddings_meta).card.name for batch in batches}
    if len(cards) > 1:
        return None, "the pack's batches are embedded by different models"
    loaded = [load_embeddings(root.batch(batch)) for batch in batches]
    ids = [preset_id for embeddings in loaded for preset_id in embeddings.preset_ids]
    # A copy: on Windows a mapped file cannot be replaced by a run.
    return PresetRows(np.concatenate([np.array(one.vectors) for one in loaded]), ids, cards.pop()), None


def recorded_verdict(instance: dg.DagsterInstance, root: DataRoot, pack: str) -> ModelVerdict:
    """Return whether the model that lies there may be published, by the recorded result of its check."""
    made = materialization_record(instance, MODEL, pack)
    found = latest_evaluation(instance, MODEL, MODEL_BEATS_BASELINE.name, pack)
    if made is None or found is None or found.target_storage_id != made.storage_id:
        return ModelVerdict(False, f"The rule stays: the model has no recorded check; run aivj audio-style {pack}.")
    path = root.audio_style_model(pack)
    if not path.exists() or sha256_file(path) != data_version_of(made.event):
        return ModelVerdict(False, f"The rule stays: the model's file was changed; run aivj audio-style {pack}.")
    model = AudioStyleModel.load(path)
    return ModelVerdict(found.passed and model.published, model.verdict)


def publish_model(root: DataRoot, pack: str, verdict: ModelVerdict) -> str:
    """Write or remove the published model; returns what was done, in a word."""
    path = root.published(pack, AUDIO_STYLE_NAME)
    if not verdict.passed:
        was_there = path.exists()
        path.unlink(missing_ok=True)
        return _WITHDRAWN if was_there else _STAYS
    told = AudioStyleModel.load(root.audio_style_model(pack)).to_json()
    # An app has no embeddings to look for a place among.
    told.pop("retrieval", None)
    if not path.exists() or json.loads(path.read_text(encoding="utf-8")) != told:
        write_json_atomic(path, told)
    return _PUBLISHED


def _check_result(made: AudioStyleModel) -> dg.AssetCheckResult:
    against = made.evaluation.against_baseline
    figures = {} if against is None else {
        "log_loss_difference": round(against.difference, 6),
        "interval_low": round(against.interval.low, 6),
        "interval_high": round(against.interval.high, 6),
    }  # fmt: skip
    return dg.AssetCheckResult(
        asset_key=MODEL,
        check_name=MODEL_BEATS_BASELINE.name,
        passed=made.published,
        severity=dg.AssetCheckSeverity.ERROR,
        description=made.verdict,
        metadata={"tracks": made.evaluation.groups, "judged_picks": made.evaluation.judged, **figures},
    )


def _facts(root: DataRoot, made: AudioStyleModel) -> dict[str, Any]:
    score = None if made.retrieval is None else made.retrieval.score
    retrieval = made.retrieval_problem or "made, not scored: the liked picks are of one track"
    if score is not None:
        retrieval = (
            f"liked presets of held-out tracks stand at {score.model_median_rank_fraction:.2f} of all (median, 0 is "
            f"first), {score.baseline_median_rank_fraction:.2f} by the tier's mean"
        )
    return {
        "verdict": made.verdict,
        "published": made.published,
        "circular": made.circular,
        "compared": dg.MetadataValue.md(markdown_table(COMPARED, compared_rows(made.evaluation))),
        "evidence": dg.MetadataValue.md(markdown_table(("what", "count"), evidence_rows(made.evidence))),
        "parameters": dg.MetadataValue.json(made.parameters),
        "inputs": len(made.inputs),
        "clusters": len(made.clusters),
        "tracks": made.evaluation.groups,
        "folds": made.evaluation.folds,
        "bootstraps": made.evaluation.bootstraps,
        "retrieval": retrieval,
        "audio_embedding": made.audio_embedding.model if made.audio_embedding else "none",
        "index_hash": made.index_hash,
        "file": dg.MetadataValue.path(str(root.audio_style_model(made.pack))),
    }
