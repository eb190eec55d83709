"""`aivj qa …`: what a person concluded on the QA page, and what it changes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aivj_assets.cli.options import RootOption, data_root, named_root
from aivj_assets.cli.terminal import console

qa_app = typer.Typer(help="Verdicts of the QA page: import them, look at them.", no_args_is_help=True)


@qa_app.command("import")
def qa_import(
    files: Annotated[list[Path], typer.Argument(help="verdicts.json of the QA page; several in any order.")],
    root: RootOption = None,
) -> None:
    """Store verdicts, labels and presets to drop; records, diary and published packs follow."""
    from aivj_assets.orchestration.commands.verdicts import import_and_report

    raise typer.Exit(import_and_report(console, data_root(root), files))


@qa_app.command("restore")
def qa_restore(
    pack: Annotated[str, typer.Argument(help="Name of the pack.")],
    presets: Annotated[list[str], typer.Argument(help="Ids of presets that a verdict dropped.")],
    root: RootOption = None,
) -> None:
    """Take presets back that verdicts dropped (near-duplicates, blacklisted): they are published again."""
    from aivj_assets.orchestration.commands.verdicts import restore_and_report

    raise typer.Exit(restore_and_report(console, data_root(root), pack, presets))


@qa_app.command("show")
def qa_show(pack: Annotated[str, typer.Argument(help="Name of the pack.")], root: RootOption = None) -> None:
    """Show what is known of a pack's clusters, what is asked for again, and how far its batches are reviewed."""
    from aivj_assets.orchestration.commands.verdicts import show_verdicts

    show_verdicts(console, named_root(root), pack)
