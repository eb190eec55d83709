"""`k_report`: figures over a sweep of k for a pack's accepted batches; it recommends, a person chooses."""

import time
from collections.abc import Callable
from typing import Any

import dagster as dg
from pydantic import Field

from aivj_assets.cluster.k_recommend import recommend_k
from aivj_assets.cluster.k_report import (
    DEFAULT_KS,
    DEFAULT_SEED,
    FloatRows,
    PackRows,
    check_ks,
    sweep_k,
    use_of_clusters,
)
from aivj_assets.cluster.libraries import library_versions
from aivj_assets.contracts.base import utc_now
from aivj_assets.contracts.embeddings import EmbeddingsMeta, load_embeddings, read_embedding_ids, require_same_card
from aivj_assets.contracts.frames_index import OkRecord, read_records
from aivj_assets.contracts.k_report import KReport, KReportBatch
from aivj_assets.contracts.pack_settings import PackSettings
from aivj_assets.contracts.progress import WorkProgress
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot, check_pack_name, sha256_file
from aivj_assets.orchestration.guard import acceptance_problem
from aivj_assets.orchestration.partitions import PACKS
from aivj_assets.orchestration.pictures import markdown_table
from aivj_assets.orchestration.resources import DataRootResource
from aivj_assets.orchestration.step import user_errors
from aivj_assets.report.k_report import COLUMNS, k_plots, write_k_page
from aivj_assets.report.pictures import as_markdown_image
from aivj_assets.style.energy import energy_by_motion
from aivj_assets.style.policy import MOST_SWITCHES

_STAGE = "embeddings"
# Dagster stores metadata with the event: seven pictures stay under 250 KB together.
_PICTURE_BYTES = 35_000


class KReportConfig(dg.Config):
    """Which numbers of clusters, and the seed."""

    ks: list[int] = Field(
        default=list(DEFAULT_KS), description="those with fewer than 8 presets a cluster are left out"
    )
    seed: int = Field(default=DEFAULT_SEED, ge=0)


@dg.asset(
    partitions_def=PACKS,
    # A pack's batches are looked up when the report is made: the guard decides which of them count.
    deps=[dg.AssetDep(_STAGE, partition_mapping=dg.AllPartitionMapping())],
    group_name="pack",
    kinds={"scikitlearn"},
)
def k_report(
    context: dg.AssetExecutionContext, config: KReportConfig, data_root: DataRootResource
) -> dg.MaterializeResult[Any]:
    """Sweep k over a pack's accepted embeddings: cohesion, stability and more beside random clusters; writes a page."""
    root = data_root.get()
    with user_errors():
        report = make_report(context.instance, root, check_pack_name(context.partition_key), config.ks, config.seed)
        for batch, why in report.left_out.items():
            context.log.warning(f"Batch {batch} does not count: {why}")
        return dg.MaterializeResult(data_version=dg.DataVersion(report.digest), metadata=_facts(root, report))


def make_report(instance: dg.DagsterInstance, root: DataRoot, pack: str, ks: list[int], seed: int) -> KReport:
    """Measure a pack's accepted batches, write `k-report.json` and the page; raises `UserError`."""
    started = time.monotonic()
    wanted = check_ks(ks)
    batches, left_out = _accepted(instance, root, pack)
    cards = {f"batch {batch}": EmbeddingsMeta.load(root.batch(batch).embeddings_meta).card for batch in batches}
    require_same_card(cards, f"embed all with one model (aivj profile {pack} shows which is the pack's).")
    digests = {batch: sha256_file(root.batch(batch).embeddings) for batch in batches}
    ids = {batch: read_embedding_ids(root.batch(batch).embedding_ids) for batch in batches}
    rows = PackRows([(_opener(root, batch, ids[batch]), ids[batch]) for batch in batches])
    energies = energy_by_motion({name: value for batch in batches for name, value in _motion(root, batch).items()})
    use = use_of_clusters(_switches(root, pack))
    progress_file = root.k_report_progress(pack)

    def progress(done: int, total: int) -> None:
        WorkProgress(done=done, total=total).save(progress_file)

    try:
        sweep = sweep_k(rows, use=use, energy_of=energies.energies.__getitem__, ks=wanted, seed=seed, progress=progress)
    except UserError as error:
        raise UserError(f"Pack '{pack}': {error}") from None
    finally:
        progress_file.unlink(missing_ok=True)
    # A sweep takes minutes: figures of rows that were replaced meanwhile are of neither.
    if {batch: sha256_file(root.batch(batch).embeddings) for batch in batches} != digests:
        raise UserError(f"Pack '{pack}': a batch was embedded anew meanwhile; make the report again.")
    card = next(iter(cards.values()))
    report = KReport(
        generated_at=utc_now(),
        pack=pack,
        batches=[
            KReportBatch(batch=batch.key, presets=len(ids[batch]), embeddings_sha256=digests[batch])
            for batch in batches
        ],
        left_out=left_out,
        presets=sweep.presets,
        dim=card.dim,
        model=card.name,
        seed=seed,
        sampling=sweep.sampling,
        use=use,
        figures=sweep.figures,
        ks_left_out=sweep.left_out,
        recommendation=recommend_k(sweep.figures, use),
        libraries=library_versions(),
        duration_s=round(time.monotonic() - started, 3),
    )
    write_k_page(root.k_report(pack, ".html"), report)
    report.save(root.k_report(pack, ".json"))
    return report


def _switches(root: DataRoot, pack: str) -> int:
    """Return the switches for which a cluster is to stay away: what a person set for the pack, else the most."""
    told = PackSettings.of_pack(root, pack).policy.selection.cluster_cooldown_switches
    return MOST_SWITCHES if told is None else told


def _accepted(instance: dg.DagsterInstance, root: DataRoot, pack: str) -> tuple[list[BatchKey], dict[str, str]]:
    """Return the batches whose embeddings are accepted, and the others with why they do not count."""
    batches = [batch for batch in root.find_batches() if batch.pack == pack]
    problems = {batch: acceptance_problem(instance, root, batch, _STAGE) for batch in batches}
    left_out = {batch.key: problem.rstrip(".") for batch, problem in problems.items() if problem is not None}
    accepted = [batch for batch in batches if batch.key not in left_out]
    if accepted:
        return accepted, left_out
    if not left_out:
        raise UserError(f"There is no pack '{pack}' under {root.presets_dir}.")
    key, why = next(iter(left_out.items()))
    more = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
    raise UserError(f"Pack '{pack}' has no batch with accepted embeddings ({key}: {why}{more}): aivj run {key} first.")


def _opener(root: DataRoot, batch: BatchKey, ids: list[str]) -> Callable[[], FloatRows]:
    def opened() -> FloatRows:
        embeddings = load_embeddings(root.batch(batch))
        if embeddings.preset_ids != ids:
            raise UserError(f"batch {batch} was embedded anew meanwhile; make the report again.")
        return embeddings.vectors

    return opened


def _motion(root: DataRoot, batch: BatchKey) -> dict[str, float]:
    records = read_records(root.batch(batch).frames_index)
    return {preset_id: record.metrics.motion for preset_id, record in records.items() if isinstance(record, OkRecord)}


def _facts(root: DataRoot, report: KReport) -> dict[str, Any]:
    head = ("k", *(f"{column.heading} {column.unit}".strip() for column in COLUMNS))
    rows = [
        (
            figure.k,
            *(column.value(figure) + (f" ({column.control(figure)})" if column.control else "") for column in COLUMNS),
        )
        for figure in report.figures
    ]
    curves = {
        f"curve_{plot.note.name}": dg.MetadataValue.md(
            f"{as_markdown_image(plot.picture, alt=plot.words, limit_bytes=_PICTURE_BYTES)}\n\n"
            f"Tells: {plot.note.tells} Does not tell: {plot.note.cannot_tell}"
        )
        for plot in k_plots(report)
    }
    return {
        "suggested_k": report.recommendation.k,
        "reason": report.recommendation.reason,
        "against": dg.MetadataValue.md("\n".join(f"- {line}" for line in report.recommendation.against) or "none"),
        "presets": report.presets,
        "batches": dg.MetadataValue.md("\n".join(f"- {batch.batch}" for batch in report.batches)),
        "batches_left_out": dg.MetadataValue.md(markdown_table(("batch", "why"), list(report.left_out.items()))),
        "figures": dg.MetadataValue.md(
            markdown_table(head, rows) + "\n\nIn brackets: random clusters of the same sizes."
        ),
        **curves,
        "seed": report.seed,
        "duration_s": report.duration_s,
        "page": dg.MetadataValue.path(str(root.k_report(report.pack, ".html"))),
        "file": dg.MetadataValue.path(str(root.k_report(report.pack, ".json"))),
    }
