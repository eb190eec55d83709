"""`aivj setup`, `aivj doctor` and `aivj ui`: what this machine has, and what is served on it."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from aivj_assets.cli.options import AsJsonOption, EmbedderOption, PretrainedOption, RootOption, data_root
from aivj_assets.cli.terminal import console, nothing_is_made, say
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, web_engine_dir


def setup() -> None:
    """Get the web engine (npm packages) and a browser."""
    from aivj_assets.render.provision import provide

    provide(os.environ, engine_dir=web_engine_dir(os.environ), echo=say)


def doctor(
    batch: Annotated[
        str | None,
        typer.Argument(help="Batch whose preflight is shown: its folders, its model, room for what is left of it."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Leave out the measurement of one or two minutes.")] = False,
    apply: Annotated[
        bool, typer.Option("--apply", help="Set the recommended number of browsers as the limit of Dagster's pool.")
    ] = False,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Look at broker, database, shared folder and every announced worker.")
    ] = False,
    as_json: AsJsonOption = False,
    embedder: EmbedderOption = None,
    pretrained: PretrainedOption = None,
    root: RootOption = None,
) -> None:
    """Show what this machine has and how many browsers suit it; exit status 1 when something stops rendering."""
    if cluster:
        from aivj_assets.orchestration.fleet.doctor import fleet_doctor_and_report

        if batch is not None or quick or apply:
            raise UserError("--cluster looks at the cluster alone: leave the batch, --quick and --apply out.")
        raise typer.Exit(fleet_doctor_and_report(console, data_root(root), as_json=as_json))
    from aivj_assets.orchestration.commands.doctor import DoctorOptions, doctor_and_report

    options = DoctorOptions(
        quick=quick, apply=apply, as_json=as_json, batch=BatchKey.parse(batch) if batch else None, embedder=embedder,
        pretrained=pretrained,
    )  # fmt: skip
    with nothing_is_made():
        status = doctor_and_report(console, data_root(root), options)
    raise typer.Exit(status)


def ui(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port on 127.0.0.1.")] = 3000,
    embedder: EmbedderOption = None,
    pretrained: PretrainedOption = None,
    automation: Annotated[
        str | None,
        typer.Option(
            "--automation",
            help="job: one run makes a whole batch; declarative: accepted frames flow on. Kept until changed.",
        ),
    ] = None,
    root: RootOption = None,
) -> None:
    """Start Dagster's web UI and daemon on 127.0.0.1; Ctrl-C stops both."""
    from aivj_assets.orchestration.commands.ui import serve_ui

    status = serve_ui(
        console, data_root(root), port=port, embedder=embedder, pretrained=pretrained, automation=automation
    )
    raise typer.Exit(status)
