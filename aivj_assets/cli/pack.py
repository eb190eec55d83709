"""`aivj pack import` and `aivj pack split`: make a pack, cut a large one into batches."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from aivj_assets.cli.options import RootOption, data_root, named_root
from aivj_assets.cli.terminal import console, counting, say
from aivj_assets.layout import BatchKey, web_engine_dir

pack_app = typer.Typer(help="Make packs and split them into batches.", no_args_is_help=True)


@pack_app.command("import")
def pack_import(
    source: Annotated[str, typer.Argument(help="Folder of .milk or .json presets, or 'butterchurn-presets'.")],
    pack: Annotated[str, typer.Option("--pack", help="Name of the pack.")],
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Take a random sample of so many usable presets.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of the sample.")] = None,
    dedupe: Annotated[
        bool, typer.Option("--dedupe", help="Keep one of several presets with the same content.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Make the pack anew from another source.")] = False,
    keep_blacklisted: Annotated[
        bool, typer.Option("--keep-blacklisted", help="Take presets too that failed for good in a pack before.")
    ] = False,
    lineage: Annotated[
        str | None,
        typer.Option("--lineage", help="Lineage of its cluster ids, kept in aivj-pack.json; by default main."),
    ] = None,
    root: RootOption = None,
) -> None:
    """Make a pack: copy presets under public/presets/<pack> and write its manifest."""
    from aivj_assets.contracts.pack_settings import set_lineage
    from aivj_assets.packs.importer import import_pack
    from aivj_assets.render.web_engine import ensure_web_engine

    place = data_root(root)
    if lineage is not None:
        place.lineage(lineage)
    origin: str | Path = source
    if source == "butterchurn-presets" and not Path(source).exists():
        origin = ensure_web_engine(web_engine_dir(os.environ), progress=say).package(source)
    with counting("Reading presets") as progress:
        report = import_pack(
            place, origin, pack, limit=limit, seed=seed, dedupe=dedupe, replace=replace,
            keep_blacklisted=keep_blacklisted, progress=progress,
        )  # fmt: skip
    counts = report.counts
    bad = sum(left.reason == "blacklisted" for left in report.left_out)
    of_them = f" ({bad} blacklisted: --keep-blacklisted takes them)" if bad else ""
    copies = sum(len(ids) - 1 for ids in report.duplicates.values())
    console.print(
        f"Pack '{pack}': {counts.included} presets of {counts.scanned} scanned, {counts.left_out} left out{of_them}, "
        f"{copies} copies of others. Manifest: {place.manifest(BatchKey(pack))}",
        highlight=False,
        soft_wrap=True,
    )
    for left in report.left_out[:10]:
        console.print(
            f"  left out: {left.rel_path}: {left.reason} ({left.detail})", highlight=False, markup=False, soft_wrap=True
        )
    if lineage is not None:
        set_lineage(place, pack, lineage)
    # A split pack that has grown gets further batches first.
    console.print(f"Next: aivj {'pack split' if place.is_split(pack) else 'run'} {pack}", highlight=False)


@pack_app.command("split")
def pack_split(
    pack: Annotated[str, typer.Argument(help="Name of the pack.")],
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", help="So many presets a batch at most; by default 10000.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", help="Seed of the shuffle that makes each batch a fair sample; by default 1."),
    ] = None,
    in_order: Annotated[
        bool, typer.Option("--in-order", help="Cut in the manifest's order, without a shuffle.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Split a pack that has run as one batch.")] = False,
    root: RootOption = None,
) -> None:
    """Split a large pack into batches; again when it has grown: presets it gained get batches of their own."""
    from aivj_assets.packs.split import split_pack

    result = split_pack(named_root(root), pack, batch_size=batch_size, seed=seed, in_order=in_order, force=force)
    sizes, made = result.sizes, result.made
    total = f"Pack '{pack}': {sum(sizes.values()):,} presets in {_batches(len(sizes))}, {result.options.order}"
    if made:
        smallest, largest = (figure(sizes[batch] for batch in made) for figure in (min, max))
        what = f"made {made[0]}" + (f" to {made[-1]}" if len(made) > 1 else "")
        each = f"{smallest:,}" + (f" to {largest:,}" if largest > smallest else "") + (" each" if len(made) > 1 else "")
        say(f"{total}; {what} with {each}{', in place of the split before' if result.replaced else ''}.")
    else:
        say(f"{total}; nothing to do.")
    if result.vanished:
        say(f"Note: {_some(result.vanished)} left the root manifest; the batches keep {_them(result.vanished)}.")
    if result.changed:
        keeper = "its batch keeps what it has" if len(result.changed) == 1 else "the batches keep what they have"
        say(f"Note: the root manifest says other things about {_some(result.changed)}; {keeper}.")
    for batch, count in result.taken_out.items():
        now = "those that the root manifest names are in a new batch now"
        say(f"Note: {count} presets were taken out of {batch}; {now}.")
    if made:
        say(f"Next: aivj run {pack} --all-batches")


def _batches(count: int) -> str:
    return "one batch" if count == 1 else f"{count} batches"


def _some(ids: Sequence[str]) -> str:
    return f"{len(ids)} presets, e.g. '{ids[0]}'" if len(ids) > 1 else f"preset '{ids[0]}'"


def _them(ids: Sequence[str]) -> str:
    return "them" if len(ids) > 1 else "it"
