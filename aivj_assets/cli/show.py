"""`aivj show`: a pack as a live show, in a page on this machine."""

from __future__ import annotations

import os
import signal
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from aivj_assets.cli.options import RootOption, named_root
from aivj_assets.cli.terminal import say
from aivj_assets.layout import web_engine_dir


def show(
    pack: Annotated[str, typer.Argument(help="A published pack.")],
    audio: Annotated[
        Path | None, typer.Option("--audio", help="A track that the page offers at once: wav, flac, ogg or mp3.")
    ] = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port on 127.0.0.1.")] = 3010,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, max=2**32 - 1, help="Seed of the picks; by default another for each show."),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
    root: RootOption = None,
) -> None:
    """Play music and show a pack's presets to it, picked live, in a page on 127.0.0.1; Ctrl-C ends it."""
    from aivj_assets.render.web_engine import PAGE_DIR, ensure_web_engine
    from aivj_assets.report.console import require_pack
    from aivj_assets.show.server import ShowOptions, ShowServer

    place = named_root(root)
    require_pack(place, pack)
    engine = ensure_web_engine(web_engine_dir(os.environ), progress=say)
    options = ShowOptions(place, pack, PAGE_DIR, engine.node_modules, audio, seed)
    with ShowServer(options, port) as server:
        say(f"Ready: {server.url}   (logs: {place.shows_dir(pack)}; Ctrl-C ends it)")
        previous = signal.signal(signal.SIGTERM, _interrupt)
        if open_page:
            webbrowser.open(server.url)
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            say("Ended.")
        finally:
            signal.signal(signal.SIGTERM, previous)


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt
