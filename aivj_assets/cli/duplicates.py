"""`aivj bench duplicates`: what other thresholds would call near-duplicates, with pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aivj_assets.cli.bench import JsonOption, finish
from aivj_assets.cli.options import RootOption, named_root
from aivj_assets.cli.terminal import console, say
from aivj_assets.contracts.qa_duplicates import DEFAULT_MAX_HASH_DISTANCE, DEFAULT_MIN_COSINE
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey

_SHEET_PAIRS = 24


def sheet_file(path: Path | None) -> Path | None:
    """Return the path; raises `UserError` for one that no picture can be written to."""
    if path is not None and (path.is_dir() or path.suffix.lower() not in {".png", ".webp", ".jpg"}):
        raise UserError(f"--sheet {path} is no picture's name; name a .png, .webp or .jpg file.")
    return path


def bench_duplicates(
    batch: Annotated[str, typer.Argument(help="Batch with clusters: <pack> or <pack>/batch-0001.")],
    max_hash_distance: Annotated[
        int, typer.Option("--max-hash-distance", min=0, max=64, help="Bits of 64 in force, for the sheet.")
    ] = DEFAULT_MAX_HASH_DISTANCE,
    min_cosine: Annotated[
        float, typer.Option("--min-cosine", min=-1, max=1, help="Cosine in force, for the sheet.")
    ] = DEFAULT_MIN_COSINE,
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", help="Draw the pairs just inside and just outside to this file.", callback=sheet_file),
    ] = None,
    json_file: JsonOption = None,
    root: RootOption = None,
) -> None:
    """Count the near-duplicates that thresholds would find in a batch, beside what its titles tell."""
    from aivj_assets.orchestration.bench.duplicates import bench_batch
    from aivj_assets.qa.duplicate_tables import print_duplicate_bench
    from aivj_assets.qa.duplicates import duplicate_thresholds

    thresholds = duplicate_thresholds(max_hash_distance, min_cosine)
    found = bench_batch(named_root(root), BatchKey.parse(batch))
    print_duplicate_bench(console, found.bench, thresholds)
    if sheet is not None:
        try:
            sheet.parent.mkdir(parents=True, exist_ok=True)
            found.sheet(thresholds, _SHEET_PAIRS).save(sheet)
        except OSError as error:
            raise UserError(f"--sheet {sheet} cannot be written: {error.strerror or error}.") from None
        say(f"Pairs: {sheet}")
    finish(found.bench.to_json(), json_file, interrupted=False)
