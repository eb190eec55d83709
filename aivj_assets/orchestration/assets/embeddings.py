"""`embeddings`: one unit vector a preset, by the model that the run names."""

import os
from collections.abc import Callable
from typing import Any

import dagster as dg

from aivj_assets.contracts.embeddings import ModelCard
from aivj_assets.contracts.frames_index import read_records
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.pack_settings import PackSettings
from aivj_assets.embed.batch import update_embeddings
from aivj_assets.embed.embed import FrameSource
from aivj_assets.layout import sha256_file
from aivj_assets.orchestration.embedding_facts import embedding_facts
from aivj_assets.orchestration.fleet.settings import EMBED_TAGS
from aivj_assets.orchestration.instance import EMBEDDER_POOL
from aivj_assets.orchestration.partitions import BATCHES
from aivj_assets.orchestration.profile import frozen_card_finding
from aivj_assets.orchestration.resources import DataRootResource, EmbedderResource, GuardResource
from aivj_assets.orchestration.stages import STAGES
from aivj_assets.orchestration.step import batch_step


@dg.asset(
    partitions_def=BATCHES,
    deps=list(STAGES["embeddings"].inputs),
    group_name="batch",
    kinds={"pytorch"},
    pool=EMBEDDER_POOL,
    op_tags=EMBED_TAGS,
)
def embeddings(
    context: dg.AssetExecutionContext, data_root: DataRootResource, embedder: EmbedderResource, guard: GuardResource
) -> dg.MaterializeResult[Any]:
    """Embed the captured frames: row = normalise(mean(normalise(frame))), one row per ok preset in manifest order."""
    root = data_root.get()
    with batch_step(context, root, "embeddings", guard) as step:
        source = FrameSource.of_batch(
            step.folder,
            read_records(step.folder.frames_index),
            [preset.id for preset in Manifest.load(root.manifest(step.batch)).presets],
            frames_index_sha256=sha256_file(step.folder.frames_index),
            max_frames_per_preset=embedder.max_frames_per_preset,
        )

        def warn_of_another_card(card: ModelCard) -> None:
            # It is no reason to refuse: a card that a person wants to freeze must be on a batch first.
            finding = frozen_card_finding(context.instance, root, step.batch, card)
            if not finding.passed:
                context.log.warning(f"The check will reject this batch: {finding.detail}")

        settings = PackSettings.of_pack(root, step.batch.pack)
        device, precision = embedder.where(settings)
        made, kept = update_embeddings(
            source,
            embedder.choose(settings),
            os.environ,
            cache_dir=root.embedding_cache_dir,
            device=device,
            precision=precision,
            batch_size=embedder.batch_size,
            before=warn_of_another_card,
            progress=_tell_each_tenth(context.log.info),
            log=context.log.info,
        )
        if kept:
            context.log.info("Frames and model are unchanged: the embeddings on disk are kept.")
        return step.result(embedding_facts(root, step.batch, source, made))


def _tell_each_tenth(say: Callable[[str], None]) -> Callable[[int, int], None]:
    """Return a progress callable (presets done, all) that says so ten times at most."""
    told = 0

    def progress(done: int, total: int) -> None:
        nonlocal told
        if 10 * done // total > told:
            told = 10 * done // total
            say(f"{done} of {total} presets embedded")

    return progress
