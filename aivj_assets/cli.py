"""`aivj …`: a thin skin over the rooms and over Dagster."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from aivj_assets.cli_adopt import adopt
from aivj_assets.cli_audio_style import audio_style
from aivj_assets.cli_bench import bench_app
from aivj_assets.cli_bench_scale import bench_scale
from aivj_assets.cli_bench_tiers import bench_tiers_command
from aivj_assets.cli_cluster import growth
from aivj_assets.cli_duplicates import bench_duplicates
from aivj_assets.cli_embed import cache_app
from aivj_assets.cli_gates import gates
from aivj_assets.cli_k_report import k_report
from aivj_assets.cli_lineage import lineage_app
from aivj_assets.cli_map import bench_map, style_map
from aivj_assets.cli_options import (
    DeviceOption,
    EmbedderOption,
    PrecisionOption,
    PretrainedOption,
    RootOption,
    data_root,
)
from aivj_assets.cli_pack import pack_split
from aivj_assets.cli_profile import profile
from aivj_assets.cli_qa import qa_app
from aivj_assets.cli_reactivity import reactivity
from aivj_assets.cli_rehearse import rehearse
from aivj_assets.cli_remedy import remedy
from aivj_assets.cli_search import search, similar
from aivj_assets.cli_show import show
from aivj_assets.cli_worker import worker
from aivj_assets.errors import EXIT_INTERRUPTED, StoppedError, UserError
from aivj_assets.layout import BatchKey, web_engine_dir

app = typer.Typer(
    name="aivj", help="Render, embed, cluster, index and gate libraries of MilkDrop presets.", no_args_is_help=True,
    pretty_exceptions_enable=False, add_completion=False,
)  # fmt: skip
pack_app = typer.Typer(help="Make packs and split them into batches.", no_args_is_help=True)

console = Console(soft_wrap=False)
EXIT_FAILED, EXIT_USER = 1, 2
STARTER_PACK = "starter"
MAX_WORKERS = 64


KOption = Annotated[
    int | None, typer.Option("--k", min=1, help="Number of clusters; by default 64, fewer in small packs.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="A rendering parameter, e.g. --set warmupFrames=90; may be repeated.")
]


def say(text: str) -> None:
    """Print one line as it is: paths stay whole, brackets are no markup."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


@app.command()
def setup() -> None:
    """Get the web engine (npm packages) and a browser."""
    from aivj_assets.render.provision import provide

    provide(os.environ, engine_dir=web_engine_dir(os.environ), echo=say)


@app.command()
def demo(
    presets: Annotated[int, typer.Option("--presets", min=1, help="Presets of the starter pack.")] = 60,
    k: KOption = None,
    embedder: EmbedderOption = "auto",
    pretrained: PretrainedOption = None,
    root: RootOption = None,
) -> None:
    """Run the main job on a starter pack of real presets and print a summary."""
    from aivj_assets.contracts.pack_settings import PACK_SETTINGS_NAME, set_lineage
    from aivj_assets.orchestration.commands import BatchOptions, run_and_report
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


@app.command()
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
    from aivj_assets.orchestration.all_batches import run_all_and_report
    from aivj_assets.orchestration.commands import BatchOptions, run_and_report

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
        from aivj_assets.orchestration.bypass import past_the_gates_and_report

        key, reason = BatchKey.parse(batch), " ".join(allow_unaccepted.split())
        raise typer.Exit(past_the_gates_and_report(console, data_root(root), key, options, reason))
    if all_batches:
        raise typer.Exit(run_all_and_report(console, data_root(root), batch, options))
    raise typer.Exit(run_and_report(console, data_root(root), BatchKey.parse(batch), options))


@app.command()
def publish(pack: Annotated[str, typer.Argument(help="Pack to publish.")], root: RootOption = None) -> None:
    """Publish a pack's style index and policy from its accepted batches."""
    from aivj_assets.orchestration.commands import publish_and_report

    raise typer.Exit(publish_and_report(console, data_root(root), pack))


app.command("gates")(gates)


@app.command()
def verify(
    batch: Annotated[str, typer.Argument(help="Batch: <pack> or <pack>/batch-0001.")],
    sample: Annotated[int, typer.Option("--sample", min=1, help="So many random presets.")] = 50,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Draw the sample of an earlier call again.")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, max=MAX_WORKERS, help="Browsers at once; by default one a core.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    root: RootOption = None,
) -> None:
    """Render a random sample of a batch again and compare with what is stored; exit status 1 when anything differs."""
    from aivj_assets.render.machine import default_workers, this_machine
    from aivj_assets.render.verify import verify_batch
    from aivj_assets.report.console import require_batch

    place, key = data_root(root), BatchKey.parse(batch)
    require_batch(place, key)
    with nothing_is_made(), counting("Rendering again", quiet=as_json) as progress:
        report = verify_batch(
            place, key, this_machine(os.environ), sample=sample, seed=seed, workers=workers or default_workers(),
            progress=progress,
        )  # fmt: skip
    if as_json:
        typer.echo(json.dumps({**report.to_json(), "equal": report.equal}, indent=2))
    else:
        for line in report.lines():
            say(line)
    raise typer.Exit(0 if report.equal else EXIT_FAILED)


@app.command()
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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
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
    from aivj_assets.orchestration.doctor import DoctorOptions, doctor_and_report

    options = DoctorOptions(
        quick=quick, apply=apply, as_json=as_json, batch=BatchKey.parse(batch) if batch else None, embedder=embedder,
        pretrained=pretrained,
    )  # fmt: skip
    with nothing_is_made():
        status = doctor_and_report(console, data_root(root), options)
    raise typer.Exit(status)


@app.command()
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
    from aivj_assets.orchestration.ui import serve_ui

    status = serve_ui(
        console, data_root(root), port=port, embedder=embedder, pretrained=pretrained, automation=automation
    )
    raise typer.Exit(status)


# Here, and not above: the help lists commands in this order.
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


@pack_app.command("import")
def pack_import(
    source: Annotated[str, typer.Argument(help="Folder of .milk or .json presets, or 'butterchurn-presets'.")],
    pack: Annotated[str, typer.Option("--pack", help="Name of the pack.")],
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Take a random sample of so many usable presets.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of the sample.")] = None,
    dedupe: Annotated[
        bool, typer.Option("--dedupe", help="Keep one of several presets with the same content.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Make the pack anew from another source.")] = False,
    keep_blacklisted: Annotated[
        bool, typer.Option("--keep-blacklisted", help="Take presets too that failed for good in a pack before.")
    ] = False,
    lineage: Annotated[
        str | None,
        typer.Option("--lineage", help="Lineage of its cluster ids, kept in aivj-pack.json; by default main."),
    ] = None,
    root: RootOption = None,
) -> None:
    """Make a pack: copy presets under public/presets/<pack> and write its manifest."""
    from aivj_assets.contracts.pack_settings import set_lineage
    from aivj_assets.packs.importer import import_pack
    from aivj_assets.render.web_engine import ensure_web_engine

    place = data_root(root)
    if lineage is not None:
        place.lineage(lineage)
    origin: str | Path = source
    if source == "butterchurn-presets" and not Path(source).exists():
        origin = ensure_web_engine(web_engine_dir(os.environ), progress=say).package(source)
    with counting("Reading presets") as progress:
        report = import_pack(
            place, origin, pack, limit=limit, seed=seed, dedupe=dedupe, replace=replace,
            keep_blacklisted=keep_blacklisted, progress=progress,
        )  # fmt: skip
    counts = report.counts
    bad = sum(left.reason == "blacklisted" for left in report.left_out)
    of_them = f" ({bad} blacklisted: --keep-blacklisted takes them)" if bad else ""
    copies = sum(len(ids) - 1 for ids in report.duplicates.values())
    console.print(
        f"Pack '{pack}': {counts.included} presets of {counts.scanned} scanned, {counts.left_out} left out{of_them}, "
        f"{copies} copies of others. Manifest: {place.manifest(BatchKey(pack))}",
        highlight=False,
        soft_wrap=True,
    )
    for left in report.left_out[:10]:
        console.print(
            f"  left out: {left.rel_path}: {left.reason} ({left.detail})", highlight=False, markup=False, soft_wrap=True
        )
    if lineage is not None:
        set_lineage(place, pack, lineage)
    # A split pack that has grown gets further batches first.
    console.print(f"Next: aivj {'pack split' if place.is_split(pack) else 'run'} {pack}", highlight=False)


pack_app.command("split")(pack_split)


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


@contextmanager
def nothing_is_made() -> Iterator[None]:
    """Say on Ctrl-C that there is nothing to go on with, in place of what commands that make something say."""
    try:
        yield
    except KeyboardInterrupt:
        Console(stderr=True, soft_wrap=True).print("Stopped. Nothing was changed.")
        raise StoppedError from None


@contextmanager
def counting(title: str, *, quiet: bool = False) -> Iterator[Any]:
    """Show a progress bar, on the error output with `quiet`; yields a callable (done, total)."""
    from aivj_assets.report.console import progress_bar

    with progress_bar(Console(stderr=True) if quiet else console, transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


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


if __name__ == "__main__":
    main()
