"""`aivj demo`, `aivj run` and `aivj publish`: the main job."""

from __future__ import annotations

import json
import os
from typing import Annotated, Any

import typer

from aivj_assets.cli.options import (
    DeviceOption,
    EmbedderOption,
    PrecisionOption,
    PretrainedOption,
    RootOption,
    data_root,
)
from aivj_assets.cli.terminal import console, counting, say
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, web_engine_dir

STARTER_PACK = "starter"

KOption = Annotated[
    int | None, typer.Option("--k", min=1, help="Number of clusters; by default 64, fewer in small packs.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="A rendering parameter, e.g. --set warmupFrames=90; may be repeated.")
]


def demo(
    presets: Annotated[int, typer.Option("--presets", min=1, help="Presets of the starter pack.")] = 60,
    k: KOption = None,
    embedder: EmbedderOption = "auto",
    pretrained: PretrainedOption = None,
    root: RootOption = None,
) -> None:
    """Run the main job on a starter pack of real presets and print a summary."""
    from aivj_assets.contracts.pack_settings import PACK_SETTINGS_NAME, set_lineage
    from aivj_assets.orchestration.commands.batch import BatchOptions, run_and_report
    from aivj_assets.packs.importer import import_pack
    from aivj_assets.render.web_engine import ensure_web_engine

    place = data_root(root)
    engine = ensure_web_engine(web_engine_dir(os.environ), progress=say)
    pack = STARTER_PACK if presets == 60 else f"{STARTER_PACK}-{presets}"
    with counting("Importing presets") as progress:
        import_pack(place, engine.package("butterchurn-presets"), pack, limit=presets, progress=progress)
    if not (place.pack_dir(pack) / PACK_SETTINGS_NAME).exists():
        # Ids fixed at 60 presets would be poor ones for a library that comes later.
        set_lineage(place, pack, pack)
    options = BatchOptions(k=k, embedder=embedder, pretrained=pretrained)
    raise typer.Exit(run_and_report(console, place, BatchKey(pack), options, reuse=True))


def run(
    batch: Annotated[str, typer.Argument(help="Batch: <pack> or <pack>/batch-0001; a pack with --all-batches.")],
    k: KOption = None,
    k_reason: Annotated[
        str | None, typer.Option("--k-reason", help="Why this k (see aivj k-report); kept in the run record.")
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option("--strategy", help="How the batch joins its lineage: lineage (default) or minor; see the README."),
    ] = None,
    embedder: EmbedderOption = None,
    pretrained: PretrainedOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    set_: SetOption = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Materialise only this asset; may be repeated.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Render failed presets again, whatever their reason.")
    ] = False,
    allow_unaccepted: Annotated[
        str | None,
        typer.Option(
            "--allow-unaccepted",
            metavar="REASON",
            help="Look past the gates: make what follows the stage that is not accepted, marked and never published.",
        ),
    ] = None,
    all_batches: Annotated[
        bool, typer.Option("--all-batches", help="Run each batch of the pack that is not accepted and current.")
    ] = False,
    root: RootOption = None,
) -> None:
    """Run the main job for one batch, resuming where an earlier run stopped, and publish its pack."""
    from aivj_assets.orchestration.commands.all_batches import run_all_and_report
    from aivj_assets.orchestration.commands.batch import BatchOptions, run_and_report

    if k_reason is not None and k is None:
        raise UserError("--k-reason goes with --k; for all runs of a pack, aivj-pack.json holds both under clusters.")
    settings = parse_settings(set_ or [])
    if retry_failed:
        settings["retryFailed"] = True
    options = BatchOptions(
        k=k, k_reason=k_reason, strategy=strategy, embedder=embedder, pretrained=pretrained, device=device,
        precision=precision, render=settings, only=only or [],
    )  # fmt: skip
    if allow_unaccepted is not None:
        if all_batches or not allow_unaccepted.strip():
            raise UserError("--allow-unaccepted takes a reason and goes with one batch.")
        from aivj_assets.orchestration.commands.bypass import past_the_gates_and_report

        key, reason = BatchKey.parse(batch), " ".join(allow_unaccepted.split())
        raise typer.Exit(past_the_gates_and_report(console, data_root(root), key, options, reason))
    if all_batches:
        raise typer.Exit(run_all_and_report(console, data_root(root), batch, options))
    raise typer.Exit(run_and_report(console, data_root(root), BatchKey.parse(batch), options))


def publish(pack: Annotated[str, typer.Argument(help="Pack to publish.")], root: RootOption = None) -> None:
    """Publish a pack's style index and policy from its accepted batches."""
    from aivj_assets.orchestration.commands.batch import publish_and_report

    raise typer.Exit(publish_and_report(console, data_root(root), pack))


def parse_settings(pairs: list[str]) -> dict[str, Any]:
    """Return {name: value} of `name=value` pairs; values are JSON where they parse as such, else text."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name:
            raise UserError(f"--set {pair}: write it as name=value, e.g. --set warmupFrames=90.")
        try:
            settings[name] = json.loads(text)
        except ValueError:
            settings[name] = text
    return settings
