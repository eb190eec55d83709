"""`aivj remedy`: run a rejected batch again with the one change that fits."""

from __future__ import annotations

from typing import Annotated

import typer

from aivj_assets.cli.options import RootOption, data_root
from aivj_assets.cli.terminal import console
from aivj_assets.layout import BatchKey


def remedy(
    batch: Annotated[str, typer.Argument(help="A rejected batch: <pack> or <pack>/batch-0001.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be tried, and why.")] = False,
    root: RootOption = None,
) -> None:
    """Run a rejected batch again with the one change of a parameter that fits the evidence, and compare its figures."""
    from aivj_assets.orchestration.commands.remedy import remedy_and_report

    raise typer.Exit(remedy_and_report(console, data_root(root), BatchKey.parse(batch), dry_run=dry_run))
