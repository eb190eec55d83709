"""`aivj bench …`: measure rendering on this machine; `embed` adds embedding."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from aivj_assets.cli.terminal import console, say
from aivj_assets.errors import StoppedError, UserError
from aivj_assets.layout import write_json_atomic

bench_app = typer.Typer(help="Measure rendering and embedding on this machine.", no_args_is_help=True)
NPM_PACKAGE = "butterchurn-presets"
SHEET_PICTURES = 100

SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of the random choice of presets.")]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, max=64, help="Browsers at once; by default one a core, at most 4.")
]
SourceOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--source",
        help="Folder of presets; may be repeated. By default the .milk folders of other programs, where there are "
        f"any. The JSON presets of {NPM_PACKAGE} come to it unless a folder has JSON of its own.",
    ),
]


def file_not_folder(path: Path | None) -> Path | None:
    """Return the path; raises `UserError` for a folder before minutes of measuring are spent."""
    if path is not None and path.is_dir():
        raise UserError(f"--json {path} is a folder; name a file in it.")
    return path


JsonOption = Annotated[
    Path | None, typer.Option("--json", help="Write all figures to this file.", callback=file_not_folder)
]
OutOption = Annotated[Path | None, typer.Option("--out", help="Keep the pictures in this folder; it must be empty.")]


@bench_app.command("render")
def render(
    presets: Annotated[int, typer.Option("--presets", min=1, help="Presets to render.")] = 200,
    source: SourceOption = None,
    seed: SeedOption = 1,
    workers: WorkersOption = None,
    block: Annotated[
        int, typer.Option("--block", min=1, help="Presets of ours, then of the plain loop, in turn.")
    ] = 100,
    plain_presets: Annotated[
        int | None, typer.Option("--plain-presets", min=0, help="Presets for the plain loop; by default all.")
    ] = None,
    json_file: JsonOption = None,
    out: OutOption = None,
) -> None:
    """Compare the renderer with a plain loop on the same random presets: rates, where the time goes, memory."""
    from aivj_assets.contracts.render_parameters import RenderParameters
    from aivj_assets.render.bench.choose import choose_presets
    from aivj_assets.render.bench.speed import bench_render
    from aivj_assets.render.bench.tables import print_render_bench
    from aivj_assets.render.machine import default_workers, this_machine

    environment = this_machine(os.environ)
    chosen = choose_presets(find_sources(source or [], environment.node_modules), presets, seed)
    plain_count = len(chosen) if plain_presets is None else min(plain_presets, len(chosen))
    totals = {"ours": len(chosen), "plain": plain_count}
    with work_folder(out) as folder, bars({"ours": "Ours", "plain": "Plain loop"}, totals) as progress:
        bench = bench_render(
            chosen,
            environment=environment,
            parameters=RenderParameters(),
            seed=seed,
            workers=workers or default_workers(),
            block=block,
            plain_presets=plain_count,
            out_dir=folder,
            progress=progress,
        )
    print_render_bench(console, bench)
    finish(bench.to_json(), json_file, interrupted=bench.interrupted)


@bench_app.command("library")
def library(
    folders: Annotated[list[Path], typer.Argument(help="Folders of .milk or .json presets.")],
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Render a random sample of so many presets of each folder.")
    ] = None,
    seed: SeedOption = 1,
    workers: WorkersOption = None,
    fast: Annotated[bool, typer.Option("--fast", help="Draw four frames a preset: what loads and compiles.")] = False,
    json_file: JsonOption = None,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", help=f"Write a PNG with {SHEET_PICTURES} random pictures.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Keep the results here; the same command then goes on from there.")
    ] = None,
) -> None:
    """Render a whole library and report what of it renders, what does not, and why."""
    from filelock import FileLock, Timeout

    from aivj_assets.contracts.manifest import Manifest
    from aivj_assets.contracts.render_parameters import RenderParameters
    from aivj_assets.layout import DataRoot
    from aivj_assets.render.bench.library import FAST, bench_library, ok_pictures
    from aivj_assets.render.bench.tables import print_library_bench
    from aivj_assets.render.machine import default_workers, this_machine
    from aivj_assets.report.pictures import contact_sheet

    environment = this_machine(os.environ)
    parameters = RenderParameters.model_validate(FAST if fast else {})
    with work_folder(out, reuse=True) as folder:
        root = DataRoot(folder / ("fast" if fast else "full"))
        try:
            with FileLock(folder / ".bench.lock", timeout=0):
                parts = import_library(root, folders, limit=limit, seed=seed)
                total = sum(len(Manifest.load(root.manifest(part.batch)).presets) for part in parts)
                with bars({"": "Rendering"}, {"": total}) as progress:
                    bench = bench_library(
                        root,
                        parts,
                        environment=environment,
                        parameters=parameters,
                        workers=workers or default_workers(),
                        progress=lambda done, failed: progress("", done, failed),
                    )
        except Timeout:
            raise UserError(f"Another benchmark works in {folder}: wait for it, or name another folder.") from None
        if sheet is not None:
            pictures = ok_pictures(root, parts, SHEET_PICTURES, seed)
            sheet.parent.mkdir(parents=True, exist_ok=True)
            contact_sheet(root.path, pictures, columns=10, tile=(160, 90)).save(sheet)
    print_library_bench(console, bench)
    finish(bench.to_json(), json_file, interrupted=bench.interrupted)


@bench_app.command("soak")
def soak(
    presets: Annotated[int, typer.Option("--presets", min=2, help="Presets to render in all.")] = 2000,
    repeat: Annotated[
        int, typer.Option("--repeat", min=1, help="Of them, so many are rendered first and again last.")
    ] = 300,
    source: SourceOption = None,
    seed: SeedOption = 1,
    workers: WorkersOption = None,
    json_file: JsonOption = None,
    out: OutOption = None,
) -> None:
    """Render for long and see whether memory grows and whether the same presets cost more at the end."""
    from aivj_assets.contracts.render_parameters import RenderParameters
    from aivj_assets.render.bench.choose import choose_presets
    from aivj_assets.render.bench.soak import bench_soak, distinct_presets
    from aivj_assets.render.bench.tables import print_soak_bench
    from aivj_assets.render.machine import default_workers, this_machine

    distinct = distinct_presets(presets, repeat)
    environment = this_machine(os.environ)
    chosen = choose_presets(find_sources(source or [], environment.node_modules), distinct, seed)
    with work_folder(out) as folder, bars({"": "Rendering"}, {"": presets}) as progress:
        bench = bench_soak(
            chosen,
            repeat=repeat,
            environment=environment,
            parameters=RenderParameters(),
            seed=seed,
            workers=workers or default_workers(),
            out_dir=folder,
            progress=lambda done, failed: progress("", done, failed),
        )
    print_soak_bench(console, bench)
    finish(bench.to_json(), json_file, interrupted=bench.interrupted)


def find_sources(named: list[Path], node_modules: Path) -> list[Path]:
    """Return the folders to choose presets from: those named, else those known; JSON presets are always among them."""
    from aivj_assets.render.bench.choose import find_preset_files, known_milk_folders

    folders = named or known_milk_folders(sys.platform, os.environ)
    has_json = any(path.suffix.lower() == ".json" for folder in folders for path in find_preset_files(folder))
    return folders if has_json else [*folders, npm_presets(node_modules)]


def npm_presets(node_modules: Path) -> Path:
    """Return the folder of the JSON presets that come with the web engine."""
    return node_modules / NPM_PACKAGE / "presets" / "converted"


def import_library(root: Any, folders: list[Path], *, limit: int | None, seed: int) -> list[Any]:
    """Import each folder as a pack of the work folder; doing it again changes nothing."""
    from aivj_assets.layout import BatchKey
    from aivj_assets.packs.importer import import_pack
    from aivj_assets.render.bench.library import LibraryPart

    parts = []
    for folder in folders:
        pack = library_pack(folder, limit, seed)
        with bars({"": f"Reading {folder.name}"}, {"": None}) as progress:
            report = import_pack(
                root, folder, pack, limit=limit, seed=seed, progress=lambda done, total: progress("", done, 0, total)
            )
        # A sample is of what can be read; in a whole library, what cannot is a preset that does not render.
        left_out = () if limit else report.left_out
        parts.append(LibraryPart(BatchKey(pack), str(folder), left_out))
    return parts


def library_pack(folder: Path, limit: int | None, seed: int) -> str:
    """Return a folder's pack name: another folder, limit or seed is another pack."""
    from aivj_assets.contracts.manifest import preset_slug

    digest = hashlib.sha256(str(folder.expanduser().resolve()).encode("utf-8")).hexdigest()[:6]
    name = f"{preset_slug(folder.resolve().name, 40)}-{digest}"
    return name if limit is None else f"{name}-{limit}-{seed}"


@contextmanager
def work_folder(out: Path | None, *, reuse: bool = False) -> Iterator[Path]:
    """Yield the folder to work in: `out`, which must be empty unless `reuse`, or a temporary one."""
    if out is None:
        with tempfile.TemporaryDirectory(prefix="aivj-bench-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        filled = any(out.iterdir())
    except OSError as error:
        raise UserError(f"--out {out} cannot be used: {error.strerror or error}.") from None
    if filled and not reuse:
        raise UserError(f"--out {out} is not empty: what lies there would be taken for rendered. Name a new folder.")
    yield out.resolve()


@contextmanager
def bars(titles: dict[str, str], totals: Mapping[str, int | None]) -> Iterator[Any]:
    """Show a bar for each name; yields a callable (name, done, failed, total)."""
    from aivj_assets.report.console import progress_bar

    with progress_bar(console, transient=True) as progress:
        tasks = {name: progress.add_task(title, total=totals[name]) for name, title in titles.items()}

        def told(name: str, done: int, failed: int, total: int | None = None) -> None:
            note = f", {failed} failed" if failed else ""
            progress.update(tasks[name], completed=done, total=total or totals[name], description=titles[name] + note)

        yield told


def finish(figures: dict[str, Any], json_file: Path | None, *, interrupted: bool) -> None:
    """Write the figures, if asked for, and end with the status that tells whether it was interrupted."""
    if json_file is not None:
        try:
            write_json_atomic(json_file, figures)
        except OSError as error:
            raise UserError(f"--json {json_file} cannot be written: {error.strerror or error}.") from None
        say(f"Figures: {json_file}")
    if interrupted:
        raise StoppedError
