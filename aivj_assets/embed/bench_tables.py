"""The embedding benchmarks' results as tables for the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aivj_assets.embed.bench import TARGET_RATIO, EmbedBench
from aivj_assets.embed.figures import QualityBench


def print_embed_bench(console: Console, bench: EmbedBench) -> None:
    """Print the rates beside each other and whether the model is kept busy."""
    table = Table(title=f"Embedding {bench.images} images of {bench.presets} presets", title_justify="left")
    table.add_column("")
    table.add_column("images a second", justify="right")
    table.add_row("end to end (read, decode, encode, write)", f"{bench.end_to_end_images_per_s:.1f}")
    blocks = ", ".join(f"{rate:.1f}" for rate in bench.forward_blocks_images_per_s)
    table.add_row(f"the model alone (before, after: {blocks})", f"{bench.forward_images_per_s:.1f}")
    table.add_row("one image after the other", f"{bench.plain_loop_images_per_s:.1f}")
    table.add_row("frames that are known already", f"{bench.known_images_per_s:.0f}")
    console.print(table)
    verdict = "reached" if bench.ratio_reached else "missed"
    memory = "" if bench.peak_rss_bytes is None else f"; peak memory {bench.peak_rss_bytes / 1e6:.0f} MB"
    lines = [
        f"end to end / model alone: {bench.ratio:.3f} (aim {TARGET_RATIO}: {verdict})",
        f"read and decode: {bench.read_and_decode_ms:.2f} ms an image{memory}",
        f"{bench.model} on {bench.device} ({bench.cpus} processors) in {bench.precision.summary}",
    ]
    for line in lines:
        console.print(escape(line), highlight=False, soft_wrap=True)


def print_quality_bench(console: Console, bench: QualityBench) -> None:
    """Print the figures, a line a group."""
    table = Table(
        title=f"{bench.presets} presets, {bench.frames} frames, {bench.pictures} different", title_justify="left"
    )
    for name in ("group", "presets", "R@1", "asked", "near-identical rows", "effective dimension"):
        table.add_column(name, justify="left" if name == "group" else "right")
    for name, group in bench.groups.items():
        retrieval = "-" if group.retrieval_at_1 is None else f"{group.retrieval_at_1:.3f}"
        table.add_row(
            escape(name), str(group.presets), retrieval, str(group.queries),
            f"{group.near_identical_fraction:.1%}", f"{group.effective_dimension:.1f}",
        )  # fmt: skip
    console.print(table)
    for line in bench.legend:
        console.print(escape(line), highlight=False, soft_wrap=True)
    model = f"{bench.model} on {bench.device} in {bench.precision.summary}"
    console.print(escape(model), highlight=False, soft_wrap=True)
