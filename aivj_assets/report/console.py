"""What the command line shows: the gate table, the summary of a batch, progress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from aivj_assets.contracts.clusters import Clusters
from aivj_assets.contracts.embeddings import EmbeddingsMeta
from aivj_assets.contracts.frames_meta import FramesMeta
from aivj_assets.contracts.gates import BatchFigures, GateVerdict, evaluate_gates, measure_folder
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.progress import RenderProgress, WorkProgress
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot, check_pack_name
from aivj_assets.report.record import left_out_reasons


@dataclass(frozen=True)
class BatchSummary:
    """A batch as its files tell it. Parts that do not exist yet are None."""

    batch: BatchKey
    figures: BatchFigures
    verdicts: list[GateVerdict]
    frames: FramesMeta | None
    embeddings: EmbeddingsMeta | None
    clusters: Clusters | None
    qa_page: Path | None
    published: list[Path] = field(default_factory=list)
    recorded: int = 0
    """Presets with a record, those in the logs of a rendering that was stopped included."""


def summarise_batch(root: DataRoot, batch: BatchKey) -> BatchSummary:
    """Read a batch's files; raises `UserError` when it has no readable manifest."""
    folder = root.batch(batch)
    manifest = Manifest.load(root.manifest(batch))
    figures = measure_folder(manifest, folder)
    page = folder.qa_dir / "index.html"
    return BatchSummary(
        batch,
        figures,
        evaluate_gates(figures),
        FramesMeta.load(folder.frames_meta) if folder.frames_meta.exists() else None,
        EmbeddingsMeta.load(folder.embeddings_meta) if folder.embeddings_meta.exists() else None,
        Clusters.load(folder.clusters) if folder.clusters.exists() else None,
        page if page.exists() else None,
        [path for path in root.published_files(batch.pack) if path.exists()],
        figures.total - figures.without_record + (read_render_progress(root, batch) or (0, 0))[0],
    )


def print_summary(
    console: Console, summary: BatchSummary, *, accepted: bool, ui_command: str, failed: bool = False
) -> None:
    """Print the table that ends a run: counts, gates with value and threshold, clusters, places.

    Of a run that `failed` nothing is told that an earlier one made.
    """
    stands, accepted = accepted, accepted and not failed
    figures = summary.figures
    table = Table(title=f"Batch {summary.batch}", title_justify="left", show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    if figures.without_record:
        table.add_row("verdict", "[yellow]incomplete[/]: neither accepted nor rejected")
        table.add_row("presets", f"{figures.total}: {summary.recorded} have a record so far")
    else:
        verdict = "[green]accepted[/]" if accepted else "[red]not accepted[/]"
        as_before = "[red]this run failed[/]; the batch stays accepted as it was before"
        table.add_row("verdict", as_before if failed and stands else verdict)
        table.add_row("presets", f"{figures.total}: {figures.ok} ok, {figures.failed} failed")
        _add_gates(table, summary)
    if summary.frames and not figures.without_record:
        flags = ", ".join(f"{flag} {count}" for flag, count in summary.frames.flags.items() if count)
        if flags:
            table.add_row("ok, but look", escape(flags))
        renderer = summary.frames.pixel_parameters.get("renderer", "")
        table.add_row("renderer", escape(f"{summary.frames.renderer_class}: {renderer}"))
        table.add_row("fingerprint", summary.frames.fingerprint)
    if accepted and summary.embeddings:
        meta = summary.embeddings
        note = f"; {meta.note}" if meta.note else ""
        table.add_row("embedder", escape(f"{meta.model} ({meta.pretrained}), {meta.dim} dimensions{note}"))
        if meta.left_out:
            reasons = ", ".join(f"{reason} {count}" for reason, count in left_out_reasons(meta.left_out))
            table.add_row("embedded", escape(f"{meta.count} of {figures.total}; left out: {reasons}"))
    if accepted and summary.clusters:
        table.add_row("clusters", escape(clusters_cell(summary.clusters)))
    console.print(table)
    # Below the table: a path that is folded into a cell cannot be copied.
    places = [("open the UI", ui_command)]
    if accepted and summary.published:
        places.insert(0, ("published", str(summary.published[0].parent / "aivj-*.json")))
    if accepted and summary.qa_page:
        places.insert(0, ("QA page", str(summary.qa_page)))
    for name, place in places:
        console.print(f"{name + ':':<13}{place}", markup=False, highlight=False, soft_wrap=True)


def clusters_cell(clusters: Clusters) -> str:
    """Return in how many clusters of its lineage a batch has presets, and how the lineage's k came about."""
    lineage = clusters.lineage
    whole = "" if lineage is None else f" of the {lineage.k} of lineage {lineage.name}, version {lineage.version}"
    return f"{clusters.k}{whole} ({clusters.k_reason})"


def _add_gates(table: Table, summary: BatchSummary) -> None:
    reasons = summary.figures.failure_reasons
    if reasons:
        table.add_row("reasons", escape(", ".join(f"{reason} {count}" for reason, count in reasons.items())))
    for verdict in summary.verdicts:
        table.add_row(verdict.gate.name, gate_cell(verdict))


def gate_cell(verdict: GateVerdict) -> str:
    """Return one gate's value, threshold and verdict as rich markup."""
    colour, word = ("green", "passed") if verdict.passed else ("red", "failed")
    return f"{verdict.shown()}  (required {verdict.gate.comparison} {verdict.gate.threshold:g})  [{colour}]{word}[/]"


def print_checkup(
    console: Console, sections: Sequence[tuple[str, Sequence[tuple[str, str]]]], problems: Sequence[tuple[str, bool]]
) -> None:
    """Print sections of (label, value) lines, then problems as (line, whether it stops rendering)."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for number, (title, rows) in enumerate(sections):
        if number:
            table.add_row("", "")
        table.add_row(f"[cyan]{escape(title)}[/]", "")
        for label, value in rows:
            table.add_row(f"  {escape(label)}", escape(value))
    console.print(table)
    console.print()
    for text, stops in problems:
        console.print("Stops rendering:" if stops else "Note:", text, markup=False, highlight=False, soft_wrap=True)
    if not problems:
        console.print("Nothing stands in the way.", highlight=False)


def progress_bar(console: Console, *, transient: bool = False) -> Progress:
    """Return the bar of all commands: what is done, how many of how many, for how long."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    # A bar that vanishes leaves an empty line where the output is no terminal.
    return Progress(*columns, console=console, transient=transient, disable=transient and not console.is_terminal)


def read_render_progress(root: DataRoot, batch: BatchKey) -> tuple[int, int] | None:
    """Return (done, to do) of the rendering under way, or None when none is."""
    folder = root.batch(batch)
    plan = RenderProgress.under_way(folder.render_plan)
    if plan is None:
        return None
    try:
        done = folder.logged_records()
    except OSError:
        return None
    return min(done, plan.todo), plan.todo


def read_embedding_progress(root: DataRoot, batch: BatchKey) -> tuple[int, int] | None:
    """Return (presets done, presets in all) of the embedding under way, or None when none is."""
    found = WorkProgress.under_way(root.batch(batch).embedding_progress)
    return None if found is None else (found.done, found.total)


def require_batch(root: DataRoot, batch: BatchKey) -> None:
    """Raise `UserError` when a batch has no manifest, naming the known batches, or one that is malformed."""
    root.require_own_batch(batch)
    try:
        exists = root.manifest(batch).is_file()
    except OSError as error:
        raise UserError(f"{root.manifest(batch)} cannot be looked up: {error.strerror or error}.") from None
    if not exists:
        known = ", ".join(found.key for found in root.find_batches()) or "none yet"
        raise UserError(
            f"There is no batch '{batch}' under {root.presets_dir} (known: {known}). "
            "Make a pack first: aivj pack import SOURCE --pack NAME."
        )
    Manifest.load(root.manifest(batch))


def require_pack(root: DataRoot, pack: str) -> list[BatchKey]:
    """Return a pack's batches; raises `UserError` naming the known packs when it has none."""
    check_pack_name(pack)
    batches = root.find_batches()
    found = [batch for batch in batches if batch.pack == pack]
    if not found:
        known = ", ".join(sorted({batch.pack for batch in batches})) or "none yet"
        raise UserError(f"There is no pack '{pack}' under {root.presets_dir} (known: {known}).")
    return found
