"""`aivj pack split`: cut a large pack into batches, and what a pack has gained into further ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from aivj_assets.cli_options import RootOption, named_root

console = Console(soft_wrap=False)


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
        _say(f"{total}; {what} with {each}{', in place of the split before' if result.replaced else ''}.")
    else:
        _say(f"{total}; nothing to do.")
    if result.vanished:
        _say(f"Note: {_some(result.vanished)} left the root manifest; the batches keep {_them(result.vanished)}.")
    if result.changed:
        keeper = "its batch keeps what it has" if len(result.changed) == 1 else "the batches keep what they have"
        _say(f"Note: the root manifest says other things about {_some(result.changed)}; {keeper}.")
    for batch, count in result.taken_out.items():
        now = "those that the root manifest names are in a new batch now"
        _say(f"Note: {count} presets were taken out of {batch}; {now}.")
    if made:
        _say(f"Next: aivj run {pack} --all-batches")


def _batches(count: int) -> str:
    return "one batch" if count == 1 else f"{count} batches"


def _some(ids: Sequence[str]) -> str:
    return f"{len(ids)} presets, e.g. '{ids[0]}'" if len(ids) > 1 else f"preset '{ids[0]}'"


def _them(ids: Sequence[str]) -> str:
    return "them" if len(ids) > 1 else "it"


def _say(text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
