"""`aivj bench embed` and `aivj cache`: how fast frames are embedded, and what is kept of it."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Annotated

import typer

from aivj_assets.cli.bench import JsonOption, bars, bench_app, finish, work_folder
from aivj_assets.cli.options import DeviceOption, PrecisionOption, PretrainedOption, RootOption, named_root
from aivj_assets.cli.terminal import console, say
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey

cache_app = typer.Typer(help="Show or clear the kept vectors of embedded frames.", no_args_is_help=True)


@bench_app.command("embed")
def bench_embed(
    batch: Annotated[
        str | None, typer.Argument(help="Rendered batch whose frames are used; by default pictures are generated.")
    ] = None,
    embedder: Annotated[
        str | None,
        typer.Option(
            "--embedder",
            help="As for aivj run; by default the pack's (aivj-pack.json), AIVJ_EMBEDDER, else the offline model.",
        ),
    ] = None,
    pretrained: PretrainedOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    images: Annotated[
        int, typer.Option("--images", min=8, help="About so many images; --quality takes the whole batch.")
    ] = 600,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Images at once on a GPU.")] = 64,
    quality: Annotated[
        bool, typer.Option("--quality", help="Say instead how well the vectors tell the batch's presets apart.")
    ] = False,
    json_file: JsonOption = None,
    root: RootOption = None,
) -> None:
    """Measure embedding end to end against the model by itself, or with --quality what the vectors are worth."""
    from aivj_assets.embed.batch import load_for
    from aivj_assets.embed.bench import bench_embedding, generated_frames, limited
    from aivj_assets.embed.bench_tables import print_embed_bench, print_quality_bench
    from aivj_assets.embed.choose import AUTO
    from aivj_assets.embed.figures import bench_quality
    from aivj_assets.orchestration.bench.embed import batch_frames, bench_choice, library_of

    place = named_root(root)
    key = BatchKey.parse(batch) if batch is not None else None
    if quality and key is None:
        raise UserError("--quality needs real frames: name a rendered batch, e.g. aivj bench embed starter --quality.")
    choice = bench_choice(place, key, embedder, pretrained)
    with ExitStack() as stack:
        if key is not None:
            source = batch_frames(place, key)
        else:
            source = stack.enter_context(generated_frames(images, 224, seed=1))
        if not quality:
            source = limited(source, images)
        folder = stack.enter_context(work_folder(None))
        say("Loading the model ...")
        model, found = load_for(
            source, choice, os.environ, device=None if device == AUTO else device, precision=precision or AUTO
        )
        if quality and key is not None:
            with bars({"embedding": "Embedding"}, {"embedding": None}) as progress:
                figures = bench_quality(
                    source, model, found, library_of=library_of(place, key), cache_dir=place.embedding_cache_dir,
                    work_dir=folder, progress=lambda done, total: progress("embedding", done, 0, total),
                )  # fmt: skip
            print_quality_bench(console, figures)
            finish(figures.to_json(), json_file, interrupted=False)
            return
        names = {"model alone": "Model alone", "end to end": "End to end"}
        progress = stack.enter_context(bars(names, dict.fromkeys(names)))
        bench = bench_embedding(
            source, model, found, batch_size=batch_size, work_dir=folder,
            progress=lambda name, done, total: progress(name, done, 0, total),
        )  # fmt: skip
    print_embed_bench(console, bench)
    finish(bench.to_json(), json_file, interrupted=False)


@cache_app.command("show")
def cache_show(root: RootOption = None) -> None:
    """Show what the embedding cache holds and its limit."""
    from aivj_assets.embed.cache import GB, cache_limit_bytes, cache_usage

    place = named_root(root)
    usages = cache_usage(place.embedding_cache_dir)
    for usage in usages:
        say(f"{usage.model} ({usage.dtype}): {usage.frames:,} frames, {usage.size_bytes / GB:.3f} GB")
    total = sum(usage.size_bytes for usage in usages)
    say(f"{place.embedding_cache_dir}: {total / GB:.3f} GB of {cache_limit_bytes(os.environ) / GB:g} GB")


@cache_app.command("clear")
def cache_clear(
    unused_for: Annotated[
        float,
        typer.Option("--unused-for", min=0, help="Only what was not used for so many days; by default all of it."),
    ] = 0.0,
    root: RootOption = None,
) -> None:
    """Remove vectors of the embedding cache; frames of the next run are then embedded again."""
    from aivj_assets.embed.cache import GB, trim_cache

    removed = trim_cache(named_root(root).embedding_cache_dir, 0, older_than_s=unused_for * 86400)
    say(f"Removed {removed / GB:.3f} GB.")
