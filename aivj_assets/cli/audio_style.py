"""`aivj audio-style`: learn from shows which styles fit what is heard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aivj_assets.cli.options import AsJsonOption, RootOption, data_root
from aivj_assets.cli.terminal import console
from aivj_assets.errors import UserError

MODELS, STYLES, BOOTSTRAPS = ("logistic", "mlp"), ("one", "several"), ("energy",)


def audio_style(
    pack: Annotated[str, typer.Argument(help="Pack whose shows are learned from.")],
    model: Annotated[
        str | None, typer.Option("--model", help="logistic (default): logistic regression; mlp: a small network.")
    ] = None,
    styles: Annotated[
        str | None, typer.Option("--styles", help="one (default): one style fits best; several may fit at once.")
    ] = None,
    audio_embedding: Annotated[
        str | None,
        typer.Option(
            "--audio-embedding",
            help="Hear more: clap:<name on the hub, or a folder> or openl3. An app cannot, so it is never published.",
        ),
    ] = None,
    audio_dir: Annotated[
        Path | None, typer.Option("--audio-dir", help="Folder with the tracks that were played, for --audio-embedding.")
    ] = None,
    bootstrap: Annotated[
        str | None,
        typer.Option("--bootstrap", help="energy: begin from styles of the music's tier. Circular, and marked so."),
    ] = None,
    reactivity: Annotated[
        bool, typer.Option("--reactivity", help="Also learn from what aivj reactivity measured.")
    ] = False,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of fits, control and bootstrap.")] = None,
    as_json: AsJsonOption = False,
    root: RootOption = None,
) -> None:
    """Learn from skips and favourites which styles fit what is heard; published (status 0) if it beats the rule."""
    from aivj_assets.orchestration.commands.audio_style import audio_style_and_show

    chosen = (("model", model, MODELS), ("styles", styles, STYLES), ("bootstrap", bootstrap, BOOTSTRAPS))
    for name, given, known in chosen:
        if given is not None and given not in known:
            raise UserError(f"--{name} {given}: use {' or '.join(known)}.")
    config = {
        "model": model, "styles": styles, "seed": seed, "audio_embedding": audio_embedding,
        "audio_dir": None if audio_dir is None else str(audio_dir.expanduser().resolve()),
        "bootstrap_energy": True if bootstrap else None, "reactivity": reactivity or None,
    }  # fmt: skip
    raise typer.Exit(audio_style_and_show(console, data_root(root), pack, config, as_json=as_json))
