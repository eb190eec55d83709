"""`aivj profile`: what is frozen for a lineage, and how a person replaces it."""

from __future__ import annotations

from typing import Annotated

import typer

from aivj_assets.cli.options import AsJsonOption, RootOption, named_root
from aivj_assets.cli.terminal import console
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey


def profile(
    pack: Annotated[str, typer.Argument(help="A pack, for its lineage; or the name of a lineage.")],
    refreeze: Annotated[
        str | None,
        typer.Option(
            "--refreeze",
            help="Make the pixel parameters and the model card of this batch the lineage's; needs --reason.",
        ),
    ] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why; kept in the history.")] = None,
    as_json: AsJsonOption = False,
    root: RootOption = None,
) -> None:
    """Show what a lineage is frozen to and which batch carries what; --refreeze replaces it."""
    from aivj_assets.orchestration.profile import profile_and_report

    if reason is not None and refreeze is None:
        raise UserError("--reason goes with --refreeze BATCH.")
    batch = None if refreeze is None else _batch_of(pack, refreeze)
    profile_and_report(console, named_root(root), pack, refreeze_to=batch, reason=reason or "", as_json=as_json)


def _batch_of(pack: str, name: str) -> BatchKey:
    """Return the batch that `name` means: its whole key, or for a split pack its last part (`batch-0002`)."""
    short = name.startswith("batch-")
    return BatchKey.parse(f"{pack}/{name}" if short else name)
