"""What `aivj map` does: the asset of the pack in a run of its own, and its result in the terminal."""

from __future__ import annotations

from rich.console import Console

from aivj_assets.contracts.progress import WorkProgress
from aivj_assets.contracts.style_map import StyleMap
from aivj_assets.layout import DataRoot
from aivj_assets.orchestration.commands.pack import make_pack_asset


def map_and_show(console: Console, root: DataRoot, pack: str, *, seed: int | None) -> int:
    """Make the map of a pack and say where it lies; returns the exit status. Raises `UserError` for an unknown pack."""
    made = make_pack_asset(
        console, root, pack, "style_map", {"seed": seed}, progress_file=root.style_map_progress(pack), title=_title,
        stopped="An earlier map stays as it was.",
    )  # fmt: skip
    if not made:
        return 1
    for line in summary(StyleMap.load(root.style_map(pack).files.facts)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"Page: {root.style_map(pack).page}", markup=False, highlight=False, soft_wrap=True)
    return 0


def _title(state: WorkProgress) -> str:
    """Places and thumbnails are told in percent of each."""
    return f"Style map: {'places' if 2 * state.done < state.total else 'thumbnails'}"


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
