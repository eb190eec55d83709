"""`aivj gates`: which batch stands where."""

from __future__ import annotations

from typing import Annotated

import typer

from aivj_assets.cli.options import AsJsonOption, RootOption, data_root
from aivj_assets.cli.terminal import console


def gates(
    pack: Annotated[str | None, typer.Argument(help="Pack or batch; by default all.")] = None,
    as_json: AsJsonOption = False,
    root: RootOption = None,
) -> None:
    """Show which batch stands where; exit status 0 only when all asked for are accepted."""
    from aivj_assets.orchestration.commands.gates import gates_and_report

    raise typer.Exit(gates_and_report(console, data_root(root), pack, as_json=as_json))
