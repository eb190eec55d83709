"""What `aivj map` does: the asset of the pack in a run of its own, its progress and its result in the terminal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from aivj_assets.contracts.progress import WorkProgress
from aivj_assets.contracts.style_map import StyleMap
from aivj_assets.errors import StoppedError
from aivj_assets.layout import DataRoot
from aivj_assets.orchestration.commands import print_problems, quiet_output
from aivj_assets.orchestration.follow import following
from aivj_assets.orchestration.instance import open_instance, report_dead_runs, storage_errors
from aivj_assets.orchestration.launch import run_style_map
from aivj_assets.report.console import progress_bar, require_pack


def map_and_show(console: Console, root: DataRoot, pack: str, *, seed: int | None) -> int:
    """Make the map of a pack and say where it lies; returns the exit status. Raises `UserError` for an unknown pack."""
    require_pack(root, pack)
    config = {} if seed is None else {"ops": {"style_map": {"config": {"seed": seed}}}}
    log_path = root.dagster_home / "aivj-run.log"
    with (
        storage_errors(root),
        open_instance(root, os.environ) as instance,
        quiet_output(console, log_path) as shown,
    ):
        report_dead_runs(instance, root)
        with _progress(shown, root, pack):
            outcome = run_style_map(instance, pack, config)
    if outcome.interrupted:
        Console(stderr=True).print("Stopped. An earlier map stays as it was.", soft_wrap=True)
        raise StoppedError
    if not outcome.success:
        print_problems(console, outcome)
        return 1
    for line in summary(StyleMap.load(root.style_map(pack).files.facts)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"Page: {root.style_map(pack).page}", markup=False, highlight=False, soft_wrap=True)
    return 0


def summary(made: StyleMap) -> list[str]:
    """Return what is said of a map, a line each."""
    size = f"page {made.page_bytes / 1e6:.1f} MB, {made.side_bytes / 1e6:.1f} MB beside it, {made.duration_s:.0f} s"
    whose = f"lineage {made.lineage} version {made.lineage_version}"
    lines = [f"Style map of {made.presets:,} presets in {made.clusters} clusters, {whose}: {size}."]
    if made.movement is not None and made.movement.p95_fraction == 0:
        lines.append("Every preset lies where it was.")
    elif made.movement is not None:
        lines.append(
            f"{made.movement.known:,} presets were on the map before and moved by "
            f"{made.movement.median_fraction:.1%} of its diagonal in the median, 95 % of them by less than "
            f"{made.movement.p95_fraction:.1%}."
        )
    if made.without_picture:
        lines.append(f"{len(made.without_picture):,} presets have no picture that can be read.")
    lines += [f"Batch {batch} is not on it: {why}" for batch, why in made.left_out.items()]
    return lines


@contextmanager
def _progress(console: Console, root: DataRoot, pack: str) -> Iterator[None]:
    """Show how far places and thumbnails have come, in percent of each."""
    path = root.style_map_progress(pack)
    with progress_bar(console, transient=True) as progress:
        task = progress.add_task("Style map", total=None)

        def look() -> None:
            state = WorkProgress.under_way(path)
            if state is not None:
                what = "places" if 2 * state.done < state.total else "thumbnails"
                progress.update(task, completed=state.done, total=state.total, description=f"Style map: {what}")

        with following(look):
            yield
