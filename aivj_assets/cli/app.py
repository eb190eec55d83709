"""`aivj …`: a thin skin over the rooms and over Dagster."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from aivj_assets.cli.adopt import adopt
from aivj_assets.cli.audio_style import audio_style
from aivj_assets.cli.bench import bench_app
from aivj_assets.cli.bench_scale import bench_scale
from aivj_assets.cli.bench_tiers import bench_tiers_command
from aivj_assets.cli.cluster import growth
from aivj_assets.cli.duplicates import bench_duplicates
from aivj_assets.cli.embed import cache_app
from aivj_assets.cli.gates import gates
from aivj_assets.cli.k_report import k_report
from aivj_assets.cli.lineage import lineage_app
from aivj_assets.cli.machine import doctor, setup, ui
from aivj_assets.cli.map import bench_map, style_map
from aivj_assets.cli.pack import pack_app
from aivj_assets.cli.profile import profile
from aivj_assets.cli.qa import qa_app
from aivj_assets.cli.reactivity import reactivity
from aivj_assets.cli.rehearse import rehearse
from aivj_assets.cli.remedy import remedy
from aivj_assets.cli.run import demo, publish, run
from aivj_assets.cli.search import search, similar
from aivj_assets.cli.show import show
from aivj_assets.cli.verify import verify
from aivj_assets.cli.worker import worker
from aivj_assets.errors import EXIT_INTERRUPTED, StoppedError, UserError

app = typer.Typer(
    name="aivj", help="Render, embed, cluster, index and gate libraries of MilkDrop presets.", no_args_is_help=True,
    pretty_exceptions_enable=False, add_completion=False,
)  # fmt: skip
EXIT_USER = 2

# The help lists commands in this order.
app.command("setup")(setup)
app.command("demo")(demo)
app.command("run")(run)
app.command("publish")(publish)
app.command("gates")(gates)
app.command("verify")(verify)
app.command("doctor")(doctor)
app.command("ui")(ui)
app.command("search")(search)
app.command("similar")(similar)
bench_app.command("growth")(growth)
bench_app.command("duplicates")(bench_duplicates)
bench_app.command("map")(bench_map)
bench_app.command("tiers")(bench_tiers_command)
bench_app.command("scale")(bench_scale)
app.command("adopt")(adopt)
app.command("profile")(profile)
app.command("remedy")(remedy)
app.command("k-report")(k_report)
app.command("map")(style_map)
app.command("worker")(worker)
app.command("reactivity")(reactivity)
app.command("audio-style")(audio_style)
app.command("rehearse")(rehearse)
app.command("show")(show)
app.add_typer(pack_app, name="pack")
app.add_typer(lineage_app, name="lineage")
app.add_typer(qa_app, name="qa")
app.add_typer(bench_app, name="bench")
app.add_typer(cache_app, name="cache")


def main() -> None:
    """Run the command line: one line for a user's mistake, status 130 after Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # On Windows a pipe or file is written in the system's code page, which lacks letters of presets' names.
            stream.reconfigure(errors="replace")
    try:
        app(standalone_mode=True)
    except UserError as error:
        Console(stderr=True, soft_wrap=True).print("Error:", str(error), highlight=False, markup=False)
        sys.exit(EXIT_USER)
    except KeyboardInterrupt:
        _say_stopped()
        sys.exit(EXIT_INTERRUPTED)
    except SystemExit as done:
        # Typer turns Ctrl-C into this status without a word.
        if done.code == EXIT_INTERRUPTED and not isinstance(done, StoppedError):
            _say_stopped()
        raise


def _say_stopped() -> None:
    line = "Stopped. What is done is kept; the same command goes on from there."
    Console(stderr=True, soft_wrap=True).print(line)
